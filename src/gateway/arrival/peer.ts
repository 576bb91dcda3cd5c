/** Who is at the other end of a connection, as far as the socket and the HTTP headers tell. */
import type { IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import { AddressList, plainAddress } from "./address-list.ts";
import { readVouching, type Trust, type Vouching } from "./vouching.ts";

export interface Peer extends Vouching {
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

const loopback = new AddressList(["127.0.0.0/8", "::1"]);

/** True for 127.0.0.0/8 and ::1, also when written as an IPv4-mapped address. */
export function isLoopbackAddress(address: string): boolean {
  return loopback.has(address);
}

const forwardingHeader =
  /^(?:forwarded|via|x-real-ip|x-forwarded-.+|tailscale-.+|cf-connecting-ip|true-client-ip|x-client-ip)$/u;
const localHosts = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** What is read of a request; one that is no HTTP has no more than its socket. */
export type HttpRequest = { readonly socket: Pick<Socket, "remoteAddress" | "remotePort"> } & Pick<
  IncomingMessage,
  "headers"
> &
  Partial<Pick<IncomingMessage, "method" | "url" | "rawHeaders">>;

/** Reads the facts of an upgrade request on a gateway that listens on `ownPort`. */
export function readPeer(request: HttpRequest, ownPort: number, trust: Trust): Peer {
  const address = plainAddress(request.socket.remoteAddress ?? "");
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
  const vouching = readVouching(trust, { ...facts, isForwarded: facts.forwarded !== undefined }, request);
  return {
    ...facts,
    ...vouching,
    isDirect: failed === undefined,
    ...(failed === undefined ? {} : { notDirectBecause: failed }),
  };
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

/**
 * A page that this gateway served itself, or one from an origin that it was told to trust. A name that is not localhost may be anybody's,
 * pointed at this address for the occasion: a page is the gateway's own only under an address, or where a trusted proxy has the name.
 */
export function isAllowedOrigin(
  origin: string,
  peer: Pick<Peer, "host" | "isProxied">,
  allowed: readonly string[],
): boolean {
  if (allowed.some((one) => one === "*" || one.toLowerCase() === origin.toLowerCase())) return true;
  if (!isSameHost(origin, peer.host)) return false;
  const name = new URL(origin).hostname.replace(/^\[|\]$/gu, "");
  return peer.isProxied || name === "localhost" || isIP(name) !== 0;
}

function isSameHost(origin: string, host: string | undefined): boolean {
  return host !== undefined && URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}
