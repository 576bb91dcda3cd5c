/**
 * Reaching a gateway: TCP, then TLS and its pin, then the HTTP upgrade that carries the token. Each step fails with its own
 * error, and nothing secret is sent before the step in front of it has held.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { OpenClawError, systemCode } from "../errors.ts";
import { maxPayloadBytes } from "../protocol/limits.ts";
import type { Secret } from "../secret.ts";
import { type CloseInfo, FrameSocket, type FrameSocketListener } from "./frame-socket.ts";
import { hostOf, hungUp, portOf, unreachable } from "./unreachable.ts";

export interface DialOptions {
  /** `ws://` or `wss://`, host, port and path. Never with credentials. */
  readonly url: string;
  /** Sent as `Authorization: Bearer` on the upgrade. */
  readonly bearer?: Secret | undefined;
  readonly headers?: readonly (readonly [name: string, value: Secret])[];
  /** SHA-256 of the certificate, hex; colons and case do not count. With a pin no certificate authority is asked. */
  readonly tlsFingerprint?: string | undefined;
  /** Milliseconds for all steps together. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Opens a WebSocket. Fails with `unreachable`, `timeout`, `tls-failed`, `tls-pin-mismatch`, `upgrade-refused`, `rate-limited` or `not-a-gateway`. */
export async function dial(options: DialOptions, listener: FrameSocketListener): Promise<FrameSocket> {
  const url = new URL(options.url);
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
  let socket: Socket | undefined;
  try {
    socket = await openTcp(url, signal);
    if (url.protocol === "wss:") socket = await openTls(socket, url, options.tlsFingerprint, signal);
    return await upgrade(socket, url, options, signal, listener);
  } catch (error) {
    socket?.destroy();
    if (options.signal?.aborted === true) throw options.signal.reason;
    if (deadline.aborted) throw timedOut(url, options.timeoutMs);
    throw error;
  }
}

function openTcp(url: URL, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    // noDelay from the first byte: frames are small, and Nagle would hold them back.
    const socket = connectTcp({ host: hostOf(url), port: portOf(url), noDelay: true, keepAlive: true });
    const stop = () => socket.destroy(new Error("aborted"));
    signal.addEventListener("abort", stop, { once: true });
    socket.once("connect", () => {
      signal.removeEventListener("abort", stop);
      resolve(socket);
    });
    // Stays after the connect: the connection may break while the next step is still loading.
    socket.once("error", (error) => {
      signal.removeEventListener("abort", stop);
      reject(unreachable(url, error));
    });
  });
}

async function openTls(tcp: Socket, url: URL, pin: string | undefined, signal: AbortSignal): Promise<TLSSocket> {
  const tls = await import("node:tls");
  assertStillOpen(tcp, url, signal);
  const host = hostOf(url);
  const socket = tls.connect({
    socket: tcp,
    host, // what the certificate has to be for; the connection itself is there already
    ...(isIP(host) === 0 ? { servername: host } : {}),
    rejectUnauthorized: pin === undefined,
    checkServerIdentity: pin === undefined ? tls.checkServerIdentity : () => undefined,
  });
  await new Promise<void>((resolve, reject) => {
    const stop = () => socket.destroy(new Error("aborted"));
    signal.addEventListener("abort", stop, { once: true });
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    socket.once("error", (error) => {
      signal.removeEventListener("abort", stop);
      reject(tlsFailed(url, error));
    });
  });
  if (pin !== undefined) assertPin(socket, url, pin);
  return socket;
}

/** The token leaves only after this has held. */
function assertPin(socket: TLSSocket, url: URL, pin: string): void {
  const plain = (hex: string) => hex.replaceAll(":", "").toLowerCase();
  const seen = plain(socket.getPeerCertificate().fingerprint256 ?? "");
  if (seen === plain(pin)) return;
  throw new OpenClawError("tls-pin-mismatch", `the certificate of ${url.host} is not the pinned one`, {
    hint: `it has SHA-256 ${seen}; if the certificate was replaced on purpose, pass that as --tls-fingerprint`,
    details: { expected: plain(pin), seen },
  });
}

async function upgrade(
  socket: Socket,
  url: URL,
  options: DialOptions,
  signal: AbortSignal,
  listener: FrameSocketListener,
): Promise<FrameSocket> {
  const { WebSocket } = await import("ws");
  assertStillOpen(socket, url, signal);
  const headers = Object.fromEntries((options.headers ?? []).map(([name, value]) => [name, value.reveal()]));
  if (options.bearer !== undefined) headers["Authorization"] = `Bearer ${options.bearer.reveal()}`;
  return new Promise((resolve, reject) => {
    const web = new WebSocket(url, {
      createConnection: () => socket,
      headers,
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: maxPayloadBytes,
    });
    let isOpen = false;
    const closed = (info: CloseInfo) => isOpen && listener.closed(info);
    const frames = new FrameSocket(
      web,
      {
        // Handed on one by one: a listener may be an object of a class, whose methods a spread would lose.
        text: (text) => listener.text(text),
        binary: () => listener.binary?.(),
        alive: () => listener.alive?.(),
        closed,
      },
      socket,
    );
    const stop = () => web.terminate();
    signal.addEventListener("abort", stop, { once: true });
    const settle = (action: () => void) => {
      signal.removeEventListener("abort", stop);
      action();
    };
    web.once("open", () => {
      isOpen = true;
      settle(() => resolve(frames));
    });
    web.once("unexpected-response", (_request: ClientRequest, response: IncomingMessage) => {
      void refusal(url, response).then((error) => {
        socket.destroy();
        settle(() => reject(error));
      });
    });
    web.once("error", (error) => settle(() => reject(brokenUpgrade(url, error))));
  });
}

/** What happened while a step was loading its code is no longer told by an event. */
function assertStillOpen(socket: Socket, url: URL, signal: AbortSignal): void {
  signal.throwIfAborted();
  if (socket.destroyed || socket.readableEnded) throw hungUp(url, socket.errored ?? undefined);
}

/** What an HTTP answer instead of an upgrade means. The body is read as far as it can explain anything. */
async function refusal(url: URL, response: IncomingMessage): Promise<OpenClawError> {
  const status = response.statusCode ?? 0;
  const { said, code } = explanation(await readBody(response));
  const details: Record<string, unknown> = {
    status,
    ...(said === undefined ? {} : { said }),
    ...(code === undefined ? {} : { code }),
  };
  const suffix = said === undefined ? "" : `: ${said}`;
  if (status === 401 || status === 403) {
    return new OpenClawError("upgrade-refused", `${url.host} refused the upgrade with HTTP ${status}${suffix}`, {
      hint: "the gateway, or a proxy in front of it, wants other credentials: check --token, or --header for an access proxy",
      details,
    });
  }
  if (status >= 300 && status < 400) {
    const to = response.headers.location;
    return new OpenClawError("upgrade-refused", `${url.host} answered the upgrade with a redirect (HTTP ${status})`, {
      hint: "that is what a login proxy does; give it its service token with --header. Redirects are not followed: they could carry the token elsewhere",
      details: { ...details, ...(to === undefined ? {} : { location: to.slice(0, 200) }) },
    });
  }
  if (status === 429) {
    const seconds = Number(response.headers["retry-after"]);
    const retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : undefined;
    return new OpenClawError("rate-limited", `${url.host} asks to wait before another try${suffix}`, {
      details: { ...details, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
    });
  }
  if (status === 502 || status === 503 || status === 504) {
    return new OpenClawError("unreachable", `${url.host} is not ready to take connections (HTTP ${status})${suffix}`, {
      details,
    });
  }
  return new OpenClawError("not-a-gateway", `${url.host} answered HTTP ${status} instead of a WebSocket upgrade`, {
    hint: "check the port and the path: something else listens there",
    details,
  });
}

const maxExplanationBytes = 8 * 1024;

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response) {
      chunks.push(Buffer.from(chunk));
      size += Buffer.byteLength(chunk);
      if (size > maxExplanationBytes) break;
    }
  } catch {
    // The connection broke while it was explaining itself; what came so far has to do.
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The sentence in a refusal's body: JSON `error.message` with its `error.code`, or one line of plain text. HTML explains nothing. */
function explanation(body: string): { readonly said?: string | undefined; readonly code?: string } {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null && "error" in parsed) {
      const { error } = parsed;
      if (typeof error === "object" && error !== null && "message" in error) {
        const code = "code" in error && typeof error.code === "string" ? { code: error.code.slice(0, 100) } : {};
        return { said: String(error.message).slice(0, 300), ...code };
      }
    }
  } catch {
    // Not JSON: perhaps a sentence.
  }
  const line = body.trim().split("\n")[0] ?? "";
  return line === "" || line.startsWith("<") || line.startsWith("{") ? {} : { said: line.slice(0, 200) };
}

function timedOut(url: URL, timeoutMs: number): OpenClawError {
  return new OpenClawError("timeout", `${url.host} did not answer within ${timeoutMs} ms`, {
    hint: "check the address and any firewall between, or give it longer with --timeout",
    details: { timeoutMs },
  });
}

function tlsFailed(url: URL, cause: Error): OpenClawError {
  const code = systemCode(cause) ?? "no code";
  return new OpenClawError("tls-failed", `no TLS connection to ${url.host}: ${cause.message} (${code})`, {
    hint: "a self-signed certificate needs --tls-fingerprint; a gateway without TLS needs ws:// instead of wss://",
    cause,
    details: { systemCode: code },
  });
}

function brokenUpgrade(url: URL, cause: Error): OpenClawError {
  const code = systemCode(cause);
  if (code === "ECONNRESET" || code === "EPIPE" || /hang up/u.test(cause.message)) return hungUp(url, cause);
  return new OpenClawError("not-a-gateway", `${url.host} does not speak WebSocket: ${cause.message}`, {
    hint: "check the port: something else listens there",
    cause,
    details: { systemCode: code },
  });
}
