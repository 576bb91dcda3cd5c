/** What proxies in front of the gateway say of a caller, read from the socket and the headers; `pairing/vouched.ts` judges it. */
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import {
  judgeProxy,
  judgeTailscale,
  type ProxyPolicy,
  type TailscaleFacts,
  type TailscaleMode,
  type Vouched,
} from "../../pairing/vouched.ts";
import { AddressList, plainAddress } from "./address-list.ts";

/** Who is believed, compiled once for each configuration. */
export interface Trust {
  readonly proxies: AddressList;
  readonly proxy: ProxyPolicy;
  readonly tailscale: TailscaleMode;
}

/** Asks the tailnet who has an address. */
export type Whois = (address: string) => Promise<TailscaleFacts["whois"]>;

/** What is said of the caller of one connection. */
export interface Vouching {
  /** The client's address: the socket's, or what a trusted proxy says. */
  readonly clientAddress: string;
  /** The socket's peer is a trusted proxy whose word on the client's address counts. */
  readonly isProxied: boolean;
  readonly proxy: Vouched;
  readonly isFromTailnet: boolean;
  /** Resolves once the tailnet has confirmed its user, or not. */
  readonly tailscale: (whois: Whois | undefined) => Promise<Vouched>;
}

interface SocketFacts {
  readonly address: string;
  readonly isLoopback: boolean;
  readonly isForwarded: boolean;
}

/** Addresses of a tailnet (Tailscale: 100.64.0.0/10 of RFC 6598, and its own part of RFC 4193). */
const tailnet = new AddressList(["100.64.0.0/10", "fd7a:115c:a1e0::/48"]);

export function readVouching(
  trust: Trust,
  { address, isLoopback, isForwarded }: SocketFacts,
  request: Partial<Pick<IncomingMessage, "rawHeaders">>,
): Vouching {
  const isTrusted = !trust.proxies.isEmpty && trust.proxies.has(address);
  // Nearly every connection: nobody stands in front of the gateway, and nobody says so.
  if (!isTrusted && !isForwarded) return { ...straight, clientAddress: address };
  const { rawHeaders = [] } = request;
  const valuesOf = (name: string) => headerValues(rawHeaders, name);
  const facts = {
    isTrusted,
    isListedLiterally: trust.proxies.names(address),
    isLoopback,
    isOwnInterface: isTrusted && !isLoopback && isOwnAddress(address),
    isForwarded,
    valuesOf,
  };
  const proxy = judgeProxy(trust.proxy, facts);
  const isProxied = isTrusted && (!isLoopback || (trust.proxy.allowLoopback ?? facts.isListedLiterally));
  const forwardedFor = entriesOf(valuesOf("x-forwarded-for"));
  const logins = valuesOf("tailscale-user-login");
  const nearest = forwardedFor.at(-1);
  const isFromTailnet =
    rawHeaders.some((name, at) => at % 2 === 0 && /^tailscale-/iu.test(name)) ||
    (nearest !== undefined && tailnet.has(nearest));
  return {
    clientAddress: isProxied ? clientBehind(trust.proxies, address, forwardedFor) : address,
    isProxied,
    proxy,
    isFromTailnet,
    tailscale: isFromTailnet
      ? askerOf(trust.tailscale, { isLoopback, isFromTailnet, logins }, nearest)
      : notFromTailnet,
  };
}

/** One function for all of them holds on to nothing. */
const notFromTailnet: Vouching["tailscale"] = async () => elsewhere;
const elsewhere: Vouched = { ok: false, reason: "not from the tailnet" };

const straight: Omit<Vouching, "clientAddress"> = {
  isProxied: false,
  proxy: { ok: false, reason: "trusted_proxy_untrusted_source" },
  isFromTailnet: false,
  tailscale: notFromTailnet,
};

function askerOf(
  mode: TailscaleMode,
  said: Omit<TailscaleFacts, "whois">,
  nearest: string | undefined,
): Vouching["tailscale"] {
  return async (whois) => {
    const preliminary = judgeTailscale(mode, { ...said, whois: undefined });
    // Only what has passed every other test is worth a question.
    if (preliminary.ok || preliminary.reason !== "tailscale_whois_unavailable" || nearest === undefined) {
      return preliminary;
    }
    return judgeTailscale(mode, { ...said, whois: (await whois?.(nearest)) ?? "unavailable" });
  };
}

/** Whether a proxy that has vouched for a user would still be believed. */
export function stillVouches(
  { proxies, proxy }: Trust,
  { address, isLoopback }: Pick<SocketFacts, "address" | "isLoopback">,
  user: string,
): boolean {
  const isBelieved = proxies.has(address) && (!isLoopback || (proxy.allowLoopback ?? proxies.names(address)));
  return isBelieved && (proxy.allowUsers.length === 0 || proxy.allowUsers.includes(user));
}

/** The right-most entry that is no trusted proxy itself (auth.md § 3); what is no address is nobody's word. */
function clientBehind(proxies: AddressList, peer: string, entries: readonly string[]): string {
  let client = peer;
  for (const entry of entries.toReversed()) {
    if (isIP(entry) === 0) return client;
    client = entry;
    if (!proxies.has(entry)) return client;
  }
  return client;
}

/** The addresses of a forwarding header, without ports, brackets and zones. */
function entriesOf(values: readonly string[]): readonly string[] {
  return values
    .flatMap((value) => value.split(","))
    .map((entry) => entry.trim().replace(/^"|"$/gu, ""))
    .filter((entry) => entry !== "")
    .map((entry) => /^\[([^\]]+)\](?::\d+)?$/u.exec(entry)?.[1] ?? entry.replace(/^([\d.]+):\d+$/u, "$1"))
    .map((entry) => plainAddress(entry.replace(/%.*$/u, "")));
}

/** Node joins repeated headers: here each stays what it was. */
function headerValues(rawHeaders: readonly string[], name: string): readonly string[] {
  const values: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === name) values.push(rawHeaders[at + 1] ?? "");
  }
  return values;
}

function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some((own) => plainAddress(own.address) === address),
  );
}
