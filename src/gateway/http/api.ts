/**
 * Plain HTTP on the gateway's port (auth.md § 7): liveness for everyone, and behind the gateway's authentication its readiness, its metrics
 * and the services of `gateway.http.routes`. A request passes path, origin, credential, scope and method, in this order.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { systemCode } from "../../errors.ts";
import { holdsScope } from "../../protocol/vocabulary.ts";
import type { LogFields } from "../../runtime.ts";
import { corsHeaders, isPreflight, originStep, preflightHeaders } from "../arrival/browser-origin.ts";
import { requestHeaders, responseHeaders } from "./forward-headers.ts";
import { forwardRequest } from "./forward-request.ts";
import {
  authenticateRequest,
  callerLost,
  showsCredential,
  type HttpAuth,
  type HttpAuthHouse,
  type HttpCaller,
  isOwnAuthorization,
} from "./auth.ts";
import { findRoute, ownPaths, readTarget, type Route, type Target, upstreamTarget } from "./routes.ts";
import { discardRest, type HttpError, sendError, sendJson, sendText } from "./answers.ts";
import { type Metrics, metricsType } from "./metrics.ts";
import type { OpenRequests } from "./open-requests.ts";
import type { Peer } from "../arrival/peer.ts";
import { type DecisionListeners, refused, type TraceStep, whereFields } from "../trace.ts";
import { reportHttp } from "../arrival/upgrade.ts";

export interface HttpHouse extends HttpAuthHouse, DecisionListeners {
  /** As they are at this moment. */
  readonly routes: () => readonly Route[];
  readonly requests: OpenRequests;
  readonly metrics: Metrics;
  readonly metricsText: () => string;
  readonly isReady: () => boolean;
  readonly uptimeMs: () => number;
  readonly peerOf: (request: IncomingMessage) => Peer;
  /** Told of each request whose sender has shown who it is. */
  readonly known: (request: IncomingMessage) => void;
}

/** One request, and what is known of it so far. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly peer: Peer;
  readonly trace: TraceStep[];
  /** What it is counted under: a path of ours, a route's, or none. */
  place: string;
  /** For the browser of an allowed page. */
  cors: OutgoingHttpHeaders;
}

/** Answers a request that is no upgrade, now or later; it never throws. */
export function answerHttp(house: HttpHouse, request: IncomingMessage, response: ServerResponse): void {
  const exchange: Exchange = { request, response, peer: house.peerOf(request), trace: [], place: "", cors: {} };
  response.once("finish", () => discardRest(request, house.runtime));
  response.once("close", () =>
    house.metrics.answered(exchange.place, response.headersSent ? response.statusCode : "aborted"),
  );
  answer(house, exchange).catch((error: unknown) => {
    house.runtime.log("error", "request failed", { path: pathOf(request), error: String(error) });
    if (response.headersSent) response.destroy();
    else sendError(response, { status: 500, code: "internal_error", message: "the gateway's log says what failed" });
  });
}

async function answer(house: HttpHouse, exchange: Exchange): Promise<void> {
  const { request, response, peer, trace } = exchange;
  const malformed = problemOf(request);
  if (malformed !== undefined) return refuse(house, exchange, malformed);
  const target = readTarget(request.url);
  if (target === undefined) return refuse(house, exchange, badPath);
  const own = ownPaths.get(target.path);
  if (own !== undefined) exchange.place = `/${own}`;
  if (own === "health") return answerOwn(house, exchange, () => sendJson(response, 200, { ok: true, status: "live" }));

  trace.push(originStep(peer, request, house.policy.allowedOrigins));
  if (trace.at(-1)?.outcome === "refused") return refuse(house, exchange, foreignOrigin);
  exchange.cors = corsHeaders(peer);
  if (isPreflight(request)) return void response.writeHead(204, preflightHeaders(peer, request)).end();
  // Whoever watches over the process on its own machine needs no secret to ask whether it is ready.
  if (own === "ready" && peer.isDirect && !showsCredential(request))
    return answerOwn(house, exchange, () => sendReadiness(house, exchange));
  const auth = await authenticateRequest(house, peer, request, trace);
  if (!auth.ok) return refuse(house, exchange, unauthenticated(auth));
  house.known(request);
  if (response.destroyed) return undefined; // the client is gone

  const { caller } = auth;
  switch (own) {
    case "ready":
      return answerOwn(house, exchange, () => sendReadiness(house, exchange));
    case "metrics":
      if (!holdsScope(caller.scopes, "operator.read")) return refuse(house, exchange, lacking("operator.read"));
      return answerOwn(house, exchange, () =>
        sendText(response, 200, house.metricsText(), { "Content-Type": metricsType, ...exchange.cors }),
      );
    case undefined:
      return answerByRoute(house, exchange, target, caller);
  }
}

function answerByRoute(house: HttpHouse, exchange: Exchange, target: Target, caller: HttpCaller): void {
  const route = findRoute(house.routes(), target);
  if (route === undefined) return refuse(house, exchange, unknownPath);
  exchange.place = `${route.prefix}/`;
  if (!holdsScope(caller.scopes, route.scope)) return refuse(house, exchange, lacking(route.scope));
  if (!house.isReady()) return refuse(house, exchange, stopping);
  const { request, response, peer } = exchange;
  const lostBecause = () => callerLost(house, caller, peer) ?? routeLost(house.routes(), target, caller);
  const lost = lostBecause(); // since it was asked who it is
  if (lost !== undefined) return refuse(house, exchange, noLonger(lost));
  const { runtime } = house;
  const fields = { ...whereFields(runtime.uuid(), peer), method: request.method, path: pathOf(request), by: caller.by };
  const facts = { ...fields, device: caller.deviceId, user: caller.user, upstream: route.upstream.host };
  const letGo = forwardRequest({
    request,
    response,
    upstream: route.upstream,
    path: upstreamTarget(route, target),
    headers: requestHeaders(request, {
      userHeader: house.policy.trust.proxy.userHeader,
      route,
      peer,
      caller,
      isOwnAuthorization: isOwnAuthorization(house, request),
    }),
    answerHeaders: (upstreamAnswer) => ({
      ...responseHeaders(upstreamAnswer, route),
      ...corsOf(exchange, upstreamAnswer),
    }),
    runtime,
    failed: (error) => {
      const why = systemCode(error) ?? error.message;
      runtime.log("warn", "upstream failed", { ...facts, why });
      sendError(response, { ...badGateway(route, why), headers: exchange.cors });
    },
  });
  watchOver(house, exchange, { lostBecause, letGo, facts });
}

/** A request that was passed on. */
interface UnderWay {
  readonly lostBecause: () => string | undefined;
  /** Lets go of the service. */
  readonly letGo: () => void;
  /** What its log lines say of it. */
  readonly facts: LogFields;
}

/** Until it is over: ends it when its sender would be turned away. */
function watchOver({ requests, runtime }: HttpHouse, { response, cors }: Exchange, underWay: UnderWay): void {
  const { lostBecause, letGo, facts } = underWay;
  const end = (why: string) => {
    runtime.log("info", "request ended", { ...facts, why });
    letGo();
    const error = noLonger(why);
    if (response.headersSent || response.destroyed) response.destroy();
    else sendError(response, { ...error, headers: { ...cors, ...error.headers } });
  };
  const isOver = requests.add({ lostBecause, end });
  response.once("close", () => {
    isOver();
    runtime.log("debug", "forwarded", { ...facts, status: response.statusCode });
  });
}

/** Why a request that was passed on would not be now. */
function routeLost(routes: readonly Route[], target: Target, { scopes }: HttpCaller): string | undefined {
  const route = findRoute(routes, target);
  if (route === undefined) return "nothing answers at its path now";
  return holdsScope(scopes, route.scope) ? undefined : `its path needs ${route.scope} now`;
}

/** GET and HEAD, which is all that the gateway's own paths know. */
function answerOwn(house: HttpHouse, exchange: Exchange, send: () => void): void {
  const { method } = exchange.request;
  if (method === "GET" || method === "HEAD") return send();
  return refuse(house, exchange, {
    status: 405,
    code: "method_not_allowed",
    message: `${method ?? "that"} is not possible here`,
    headers: { Allow: "GET, HEAD" },
  });
}

function sendReadiness({ isReady, uptimeMs }: HttpHouse, { response, cors }: Exchange): void {
  const ready = isReady();
  const body = { ready, failing: ready ? [] : ["stopping"], uptimeMs: uptimeMs() };
  sendJson(response, ready ? 200 : 503, body, cors);
}

/** Says no, in one answer, one line and one decision. The query stays out of them: people put secrets there. */
function refuse(house: HttpHouse, { request, response, peer, trace, cors }: Exchange, error: HttpError): void {
  const { status, code } = error;
  if (trace.at(-1)?.outcome !== "refused") trace.push(refused("http", code));
  reportHttp(house, peer, status, code, trace, { method: request.method, path: pathOf(request) });
  sendError(response, { ...error, headers: { ...cors, ...error.headers } });
}

/** What is wrong with a request whatever it asks for. */
function problemOf(request: IncomingMessage): HttpError | undefined {
  const repeated = ["host", "authorization", "x-openclaw-token", "origin"].find(
    (name) => (request.headersDistinct[name]?.length ?? 0) > 1,
  );
  if (repeated !== undefined) {
    return { status: 400, code: "repeated_header", message: `there is more than one ${repeated} header` };
  }
  const coding = request.headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked") {
    return { status: 501, code: "unknown_transfer_coding", message: "no transfer coding but chunked is understood" };
  }
  const { expect } = request.headers;
  if (request.httpVersion === "1.1" && expect !== undefined && expect.toLowerCase() !== "100-continue") {
    return { status: 417, code: "expectation_failed", message: "nothing but 100-continue can be expected" };
  }
  // It would send back what it was sent, our word on the caller included.
  if (request.method === "TRACE") {
    return {
      status: 405,
      code: "method_not_allowed",
      message: "TRACE is not possible here",
      headers: { Allow: "GET" },
    };
  }
  return undefined;
}

const badPath: HttpError = {
  status: 400,
  code: "bad_path",
  message: "the path has to be plain: no dot segments, empty segments, bad escapes, nor another form of target",
};
const foreignOrigin: HttpError = {
  status: 403,
  code: "origin_not_allowed",
  message: "pages of this origin may not ask here; gateway.controlUi.allowedOrigins names those that may",
};
const unknownPath: HttpError = { status: 404, code: "unknown_path", message: "nothing answers here" };
const stopping: HttpError = { status: 503, code: "stopping", message: "the gateway is stopping" };

function unauthenticated({ status, code, message, retryAfterMs }: HttpAuth & { readonly ok: false }): HttpError {
  const seconds = Math.ceil((retryAfterMs ?? 0) / 1000);
  const headers = status === 401 ? { "WWW-Authenticate": "Bearer" } : { "Retry-After": String(Math.max(1, seconds)) };
  return { status, code, message, headers };
}

/** What let it in has ended while it was under way. */
function noLonger(why: string): HttpError {
  const message = `the request was ended: ${why}`;
  return { status: 401, code: "no_longer_allowed", message, headers: { "WWW-Authenticate": "Bearer" } };
}

function lacking(scope: string): HttpError {
  const challenge = `Bearer error="insufficient_scope", scope="${scope}"`; // RFC 6750 § 3.1
  return {
    status: 403,
    code: "missing_scope",
    message: `missing scope: ${scope}`,
    headers: { "WWW-Authenticate": challenge },
  };
}

function badGateway({ prefix }: Route, why: string): HttpError {
  return { status: 502, code: "upstream_failed", message: `the service behind ${prefix}/ gave no answer (${why})` };
}

/** The answer differs by origin, and by what the service says it does. */
function corsOf({ cors }: Exchange, upstreamAnswer: IncomingMessage): OutgoingHttpHeaders {
  if (cors["Vary"] === undefined) return {};
  const { Vary: _vary, ...others } = cors;
  return { ...others, vary: [...(upstreamAnswer.headersDistinct["vary"] ?? []), "Origin"].join(", ") };
}

function pathOf(request: IncomingMessage): string | undefined {
  return request.url?.split("?")[0]?.slice(0, 100);
}
