/** One request on its way to a local service and the answer on its way back: both as they come, neither kept (auth.md § 7). */
import {
  type ClientRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request as requestHttp,
  type ServerResponse,
} from "node:http";
import { request as requestHttps } from "node:https";
import type { Socket } from "node:net";
import { pipeline } from "node:stream";
import type { Runtime } from "../../runtime.ts";
import { hasBody } from "./forward-headers.ts";

export interface Forward {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly upstream: URL;
  /** Path and query. */
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  /** The headers for the client, made of the upstream's answer. */
  readonly answerHeaders: (answer: IncomingMessage) => OutgoingHttpHeaders;
  readonly runtime: Runtime;
  /** Called when there will be no answer, while one can still be given instead. */
  readonly failed: (error: Error) => void;
}

/** Until a service takes the connection; what it then makes of the request may take any time. */
const connectTimeoutMs = 15_000;

/** Silence after which the system asks whether the other end is still there. */
const keepAliveProbeMs = 15_000;

/**
 * Passes the request on. Whichever end is lost takes the other one with it, and nobody is read faster than the other one reads. The returned
 * function lets go of the service at once.
 */
export function forwardRequest(forward: Forward): () => void {
  const { request, response, upstream, path, headers, failed } = forward;
  const send = upstream.protocol === "https:" ? requestHttps : requestHttp;
  const outgoing = send(upstream, {
    method: request.method ?? "GET",
    path,
    headers,
    // A connection of its own: one that is kept may end just as it is used again, and only some requests could be repeated.
    agent: false,
  });
  request.socket.setKeepAlive(true, keepAliveProbeMs);
  outgoing.once("socket", (socket) => watchSocket(forward, outgoing, socket));
  // Of use to who asked for it only; others might take it for the answer.
  if (headers["expect"] !== undefined) outgoing.on("continue", () => response.writeContinue());
  outgoing.once("response", (answer) => passBack(forward, answer));
  const giveUp = (error: Error) => {
    request.unpipe(outgoing);
    if (!response.headersSent && !response.destroyed) failed(error);
  };
  outgoing.on("error", giveUp);
  outgoing.once("close", () => giveUp(new Error("the connection ended without an answer")));
  const letGo = () => void outgoing.destroy();
  response.once("close", letGo);
  if (hasBody(request)) {
    outgoing.flushHeaders(); // the body may be a long time coming
    request.pipe(outgoing);
  } else outgoing.end();
  return letGo;
}

function watchSocket({ runtime, upstream }: Forward, outgoing: ClientRequest, socket: Socket): void {
  socket.setKeepAlive(true, keepAliveProbeMs);
  const giveUp = () =>
    outgoing.destroy(new Error(`${upstream.host} did not take the connection within ${connectTimeoutMs} ms`));
  const stopWaiting = runtime.after(connectTimeoutMs, giveUp);
  socket.once(upstream.protocol === "https:" ? "secureConnect" : "connect", stopWaiting);
  socket.once("close", stopWaiting);
}

function passBack({ request, response, answerHeaders, failed }: Forward, answer: IncomingMessage): void {
  const { statusCode = 0 } = answer;
  try {
    // A client that was told no instead of 100 may leave its body out: what came next on the connection could be taken for it.
    const isUnclear = request.headers.expect !== undefined && !request.complete;
    response.writeHead(statusCode, { ...answerHeaders(answer), ...(isUnclear ? { connection: "close" } : {}) });
    response.flushHeaders(); // the first event of a stream may be a long time coming
  } catch (error) {
    answer.destroy();
    return failed(error instanceof Error ? error : new Error(String(error)));
  }
  pipeline(answer, response, () => {}); // an answer that breaks off breaks off for the client too
}
