/** Where a gateway can be reached from elsewhere, as far as it knows itself. */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";

export interface Endpoint {
  /** The address that it is bound to. */
  readonly host: string;
  readonly port: number;
  readonly scheme: "ws" | "wss";
  /** Its own certificate, lower-case hex SHA-256. */
  readonly tlsFingerprint: string | undefined;
}

/** The SHA-256 of the first certificate in a PEM text, lower-case hex: the one that the server shows. */
export function certificateFingerprint(pem: string): string {
  return new X509Certificate(pem).fingerprint256.replaceAll(":", "").toLowerCase();
}

/** An address that other machines may know it by, or undefined for one that is bound to loopback. */
export function reachableUrl({ host, port, scheme }: Endpoint): string | undefined {
  const address = host === "0.0.0.0" || host === "::" ? ownAddress() : host;
  if (address === undefined || address === "::1" || address === "localhost" || address.startsWith("127."))
    return undefined;
  return `${scheme}://${isIP(address) === 6 ? `[${address}]` : address}:${port}`;
}

/** The pin that goes with an address: our own certificate, where it is ours that answers there and no proxy's. */
export function pinFor(url: string, endpoint: Endpoint, isOwn: boolean): string | undefined {
  const { protocol, port } = new URL(url);
  const leadsHere = isOwn || Number(port === "" ? 443 : port) === endpoint.port;
  return protocol === "wss:" && leadsHere ? endpoint.tlsFingerprint : undefined;
}

/** This machine's first address that others can dial; IPv6 link-local ones would need a zone. */
function ownAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((one) => one ?? []);
  const outside = all.filter(({ internal, address }) => !internal && !/^fe[89ab]/iu.test(address));
  return (outside.find(({ family }) => family === "IPv4") ?? outside[0])?.address;
}
