/** What the gateway's port answers to plain HTTP: liveness and readiness, and how an upgrade is turned away. protocol.md § 1.2. */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

export interface HttpFacts {
  readonly isReady: () => boolean;
  readonly uptimeMs: () => number;
  /** Told of every request that is turned away. */
  readonly refused: (request: IncomingMessage, status: number, reason: string) => void;
}

/** Answers a request that is no upgrade. No route here asks for a credential or tells anything that needs one. */
export function answerHttp(
  { isReady, uptimeMs, refused }: HttpFacts,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const path = (request.url ?? "/").split("?")[0];
  const isHealth = path === "/health" || path === "/healthz";
  const isReadiness = path === "/ready" || path === "/readyz";
  if (!isHealth && !isReadiness) {
    refused(request, 404, "unknown_path");
    return sendText(response, 404, "Not Found");
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    refused(request, 405, "method_not_allowed");
    response.setHeader("Allow", "GET, HEAD");
    return sendText(response, 405, "Method Not Allowed");
  }
  if (isHealth) return sendJson(response, 200, { ok: true, status: "live" });
  const ready = isReady();
  return sendJson(response, ready ? 200 : 503, {
    ready,
    failing: ready ? [] : ["stopping"],
    uptimeMs: uptimeMs(),
  });
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

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" });
  response.end(text);
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store" });
  response.end(JSON.stringify(value));
}
