/** Which headers pass between a client and the service behind a route, and which are the gateway's own word (RFC 9110 § 7.6, auth.md § 7). */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { HttpCaller } from "./auth.ts";
import { publicLocation, type Route } from "./routes.ts";
import type { Peer } from "../arrival/peer.ts";

/** Meant for the next hop only (RFC 9110 § 7.6.1), besides those that Connection names. */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** What the gateway decides itself on the way in: framing, the address, browser origins, and its own credential. */
const replaced = new Set([
  "host",
  "content-length",
  "origin",
  "x-openclaw-token",
  "x-openclaw-method",
  "x-openclaw-device",
  "x-openclaw-user",
  "x-openclaw-scopes",
]);

/** What proxies and servers take for somebody's identity, address or path: from a client it is no more than a claim. */
const claims =
  /^(?:forwarded|proxy|x-forwarded(?:-.+)?|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-.+|tailscale-.+|x-auth-request-.+|x-authentik-.+|x-amzn-oidc-.+|x-goog-(?:authenticated-user|iap)-.+|x-ms-client-principal.*|(?:x-)?remote-(?:user|groups|name|email)|x-authenticated-.+|x-webauth-.+|x-original-(?:url|uri|host)|x-rewrite-url|access-control-request-.+)$/u;

export interface ForwardedRequest {
  /** The header by which a trusted proxy names the user: the gateway's word stands in its place. */
  readonly userHeader?: string | undefined;
  readonly route: Route;
  readonly peer: Peer;
  readonly caller: HttpCaller;
  /** The Authorization header is for the gateway, and ends here. */
  readonly isOwnAuthorization: boolean;
}

/** The headers that the upstream gets: the client's, without what was for us or is only claimed, and what the gateway knows about the caller. */
export function requestHeaders(request: IncomingMessage, forwarded: ForwardedRequest): OutgoingHttpHeaders {
  const { route, peer, caller, isOwnAuthorization, userHeader } = forwarded;
  const named = namedByConnection(request.headers);
  const passed = Object.entries(request.headersDistinct).filter(([name]) => {
    const plain = name.replaceAll("_", "-"); // CGI and its heirs make one variable of both
    if (plain === "authorization" && isOwnAuthorization) return false;
    if (plain === userHeader?.replaceAll("_", "-")) return false;
    if (plain === "expect" && request.httpVersion !== "1.1") return false; // RFC 9110 § 10.1.1
    return !replaced.has(plain) && !claims.test(plain) && !hopByHop.has(plain) && !named.has(name);
  });
  return {
    ...Object.fromEntries(passed),
    ...framing(request),
    host: route.upstream.host,
    via: [...(request.headersDistinct["via"] ?? []), `${request.httpVersion} openclaw`].join(", "),
    "x-forwarded-for": peer.clientAddress,
    "x-forwarded-proto": "encrypted" in request.socket ? "https" : "http",
    ...(peer.host === undefined ? {} : { "x-forwarded-host": peer.host }),
    "x-openclaw-method": caller.by,
    "x-openclaw-scopes": caller.scopes.join(","),
    ...(caller.deviceId === undefined ? {} : { "x-openclaw-device": caller.deviceId }),
    ...(caller.user === undefined ? {} : { "x-openclaw-user": asVisible(caller.user) }),
  };
}

/** The headers that the client gets. Which web pages may read them is the gateway's to say. */
export function responseHeaders(answer: IncomingMessage, route: Route): OutgoingHttpHeaders {
  const named = namedByConnection(answer.headers);
  const passed = Object.entries(answer.headersDistinct)
    .filter(([name]) => !hopByHop.has(name) && !named.has(name) && !name.startsWith("access-control-"))
    .map(([name, values = []]) =>
      name === "location" ? [name, values.map((value) => publicLocation(route, value))] : [name, values],
    );
  return Object.fromEntries(passed);
}

/** True when the request has a body (RFC 9112 § 6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  const { "content-length": length, "transfer-encoding": coding } = headers;
  return coding !== undefined || (length !== undefined && Number(length) > 0);
}

/** A body stays as it was announced: of a known length, or in chunks. */
function framing({ headers }: IncomingMessage): OutgoingHttpHeaders {
  const { "content-length": length, "transfer-encoding": coding } = headers;
  if (coding !== undefined) return { "transfer-encoding": "chunked" };
  return length === undefined ? {} : { "content-length": length };
}

function namedByConnection({ connection = "" }: IncomingHttpHeaders): ReadonlySet<string> {
  const names = connection.split(",").map((name) => name.trim().toLowerCase());
  return new Set(names);
}

/** Whatever a user is called, on one line of ASCII. */
function asVisible(user: string): string {
  return user.toWellFormed().replace(/[^\u0021-\u007e]+/gu, encodeURIComponent);
}
