/** Who is at the other end of a connection, as far as the socket and the HTTP headers tell. */
import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";

export interface Peer {
  /** The socket's address, IPv4-mapped ones as IPv4. */
  readonly address: string;
  readonly port: number;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly userAgent: string | undefined;
  /** What claims to have forwarded this connection, if anything does. */
  readonly forwarded: string | undefined;
  readonly isLoopback: boolean;
  /** Loopback address, our own port as Host, nothing forwarded, no foreign Origin (auth.md §§ 2, 4). */
  readonly isDirect: boolean;
  /** Which of these tests failed. */
  readonly notDirectBecause?: "not-loopback" | "host-differs" | "host-port-differs" | "forwarded" | "foreign-origin";
}

/** ::1, and 127.0.0.0/8 written as IPv4-mapped addresses. */
const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** True for 127.0.0.0/8 and ::1, also when written as an IPv4-mapped address. */
function isLoopbackAddress(address: string): boolean {
  const family = isIP(address);
  return family === 4 ? address.startsWith("127.") : family === 6 && loopback.check(address, "ipv6");
}

const forwardingHeader = /^(?:forwarded|via|x-real-ip|x-forwarded-.+|tailscale-.+|cf-connecting-ip)$/u;
const localHosts = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** What is read of a request; one that is no HTTP has no more than its socket. */
export type HttpRequest = Pick<IncomingMessage, "socket" | "headers"> &
  Partial<Pick<IncomingMessage, "method" | "url">>;

/** Reads the facts of an upgrade request on a gateway that listens on `ownPort`. */
export function readPeer(request: HttpRequest, ownPort: number): Peer {
  const address = (request.socket.remoteAddress ?? "").replace(/^::ffff:(?=\d+\.)/u, "");
  const { host, origin } = request.headers;
  const forwarded = Object.keys(request.headers)
    .filter((name) => forwardingHeader.test(name))
    .map((name) => `${name}=${String(request.headers[name]).slice(0, 100)}`)
    .join(" ");
  const facts = {
    address,
    port: request.socket.remotePort ?? 0,
    host,
    origin,
    userAgent: request.headers["user-agent"]?.slice(0, 200),
    forwarded: forwarded === "" ? undefined : forwarded,
    isLoopback: isLoopbackAddress(address),
  };
  const failed = failedTest(facts, ownPort);
  return { ...facts, isDirect: failed === undefined, ...(failed === undefined ? {} : { notDirectBecause: failed }) };
}

function failedTest(
  facts: Pick<Peer, "isLoopback" | "host" | "origin" | "forwarded">,
  ownPort: number,
): NonNullable<Peer["notDirectBecause"]> | undefined {
  if (!facts.isLoopback) return "not-loopback";
  const [, name = "", port = "80"] = /^(.*?)(?::(\d+))?$/u.exec(facts.host ?? "") ?? [];
  if (!localHosts.has(name.toLowerCase())) return "host-differs";
  if (Number(port) !== ownPort) return "host-port-differs";
  if (facts.forwarded !== undefined) return "forwarded";
  if (facts.origin !== undefined && !isSameHost(facts.origin, facts.host)) return "foreign-origin";
  return undefined;
}

/** A page that this gateway served itself, or one from an origin that it was told to trust. */
export function isAllowedOrigin(origin: string, host: string | undefined, allowed: readonly string[]): boolean {
  return isSameHost(origin, host) || allowed.includes("*") || allowed.includes(origin.toLowerCase());
}

function isSameHost(origin: string, host: string | undefined): boolean {
  return host !== undefined && URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}
