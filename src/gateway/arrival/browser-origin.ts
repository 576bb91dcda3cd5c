/** Web pages that send HTTP requests: whose they are, and what their browsers are told (the Fetch standard's CORS protocol). */
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { isAllowedOrigin, type Peer } from "./peer.ts";
import { accepted, passed, refused, type TraceStep } from "../trace.ts";

/** Whether the page, if there is one behind the request, may ask here at all. */
export function originStep(
  peer: Peer,
  { headers }: Pick<IncomingMessage, "headers">,
  allowed: readonly string[],
): TraceStep {
  const { origin } = peer;
  if (origin === undefined) {
    // Browsers leave Origin out where a page only loads something; newer ones say so here.
    const site = headers["sec-fetch-site"];
    const isForeign = site === "cross-site" || site === "same-site";
    return isForeign ? refused("origin", "loaded by a page of another site") : passed("origin", "no Origin header");
  }
  return isAllowedOrigin(origin, peer, allowed)
    ? accepted("origin", "allowed")
    : refused("origin", "not the gateway's own, and not in gateway.controlUi.allowedOrigins");
}

/** What lets the page read the answer; to be used for an allowed origin only. */
export function corsHeaders({ origin }: Peer): OutgoingHttpHeaders {
  return origin === undefined ? {} : { "Access-Control-Allow-Origin": origin, Vary: "Origin" };
}

/** True for the browser's own question before a page's request. It carries no credential. */
export function isPreflight({ method, headers }: IncomingMessage): boolean {
  return method === "OPTIONS" && headers.origin !== undefined && "access-control-request-method" in headers;
}

/** The answer to that question. Credentials are headers like any other here, and no cookies. */
export function preflightHeaders(peer: Peer, { headers }: IncomingMessage): OutgoingHttpHeaders {
  const asked = headers["access-control-request-headers"];
  return {
    ...corsHeaders(peer),
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    ...(typeof asked === "string" ? { "Access-Control-Allow-Headers": asked } : {}),
    "Access-Control-Max-Age": 600,
  };
}
