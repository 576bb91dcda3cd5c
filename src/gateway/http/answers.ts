/** How the gateway's port says something over plain HTTP: errors as JSON (auth.md § 7), and how an upgrade is turned away. */
import { STATUS_CODES, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Runtime } from "../../runtime.ts";

export interface HttpError {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly headers?: OutgoingHttpHeaders;
}

/** `error.type`: what sort of answer it is, where `error.code` says which. */
const errorTypes: Readonly<Record<number, string>> = {
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  405: "method_not_allowed",
  429: "rate_limited",
  500: "internal_error",
  502: "bad_gateway",
  503: "unavailable",
};

/** Answers with `{"error":{"message","type","code"}}`. */
export function sendError(response: ServerResponse, { status, code, message, headers = {} }: HttpError): void {
  sendJson(response, status, { error: { message, type: errorTypes[status] ?? "invalid_request", code } }, headers);
}

export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: OutgoingHttpHeaders = {},
): void {
  sendText(response, status, JSON.stringify(value), { "Content-Type": "application/json", ...headers });
}

export function sendText(
  response: ServerResponse,
  status: number,
  text: string,
  headers: OutgoingHttpHeaders = {},
): void {
  // A client that gets this in place of 100 may leave its body out: what came next on the connection could be taken for it.
  const isUnclear = response.req.headers.expect !== undefined;
  response.writeHead(status, {
    "Cache-Control": "no-store",
    "Content-Length": Buffer.byteLength(text),
    ...(isUnclear ? { Connection: "close" } : {}),
    ...headers,
  });
  response.end(text);
}

/** How long the rest of a body that nobody wants is taken in, before its connection is cut. */
const maxUnwantedMs = 10_000;

/** To be called behind an answer. What is left of the body is thrown away, so that the client comes to read the answer, but not for ever. */
export function discardRest(request: IncomingMessage, runtime: Runtime): void {
  if (request.complete || request.destroyed) return;
  request.unpipe();
  request.resume();
  const stopWaiting = runtime.after(maxUnwantedMs, () => request.destroy());
  request.once("close", stopWaiting);
}

/** Turns an upgrade away before a WebSocket exists: status, JSON body with message, type and code, and the socket's end. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  error: { readonly message: string; readonly type: string; readonly code?: string; readonly hint?: string },
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = JSON.stringify({ error });
  writeResponse(socket, status, "application/json", body, headers);
}

/** The same with a line of plain text, where the product has one. */
export function refuseUpgradeWithText(socket: Duplex, status: number, text: string): void {
  writeResponse(socket, status, "text/plain; charset=utf-8", text, {});
}

function writeResponse(
  socket: Duplex,
  status: number,
  type: string,
  body: string,
  headers: Readonly<Record<string, string>>,
): void {
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    "Connection: close",
    "Cache-Control: no-store",
    `Content-Type: ${type}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  socket.on("error", () => {}); // a client that hung up already is told nothing
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
}
