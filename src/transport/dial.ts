/**
 * Reaching a gateway: TCP, then TLS and its pin, then the HTTP upgrade that carries the token. Each step fails with its own
 * error, and nothing secret is sent before the step in front of it has held.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { connect as connectTcp, type Socket } from "node:net";
import { isFailure, OpenClawError, systemCode } from "../errors.ts";
import { maxPayloadBytes } from "../protocol/limits.ts";
import type { Secret } from "../secret.ts";
import { type CloseInfo, FrameSocket, type FrameSocketListener } from "./frame-socket.ts";
import type { TlsChoices } from "./tls.ts";
import { isTlsAlert, speaksTls, tlsNotPlain } from "./tls-mismatch.ts";
import { givenUp, hostOf, hungUp, portOf, type Step, timedOut, unreachable } from "./unreachable.ts";

export interface DialOptions extends TlsChoices {
  /** `ws://` or `wss://`, host, port and path. Never with credentials. */
  readonly url: string;
  /** Sent as `Authorization: Bearer` on the upgrade. */
  readonly bearer?: Secret | undefined;
  readonly headers?: readonly (readonly [name: string, value: Secret])[];
  /** Where the URL's host is really dialled: the near end of a tunnel to it. */
  readonly dialAt?: DialAddress | undefined;
  /** Milliseconds for all steps together. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface DialAddress {
  readonly host: string;
  readonly port: number;
}

/** Opens a WebSocket. Fails with `unreachable`, `timeout`, `tls-failed`, `tls-pin-mismatch`, `upgrade-refused`, `rate-limited` or `not-a-gateway`. */
export async function dial(options: DialOptions, listener: FrameSocketListener): Promise<FrameSocket> {
  const url = new URL(options.url);
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
  let socket: Socket | undefined;
  let step: Step = "tcp-connect";
  try {
    socket = await openTcp(url, options.dialAt, signal);
    if (url.protocol === "wss:") {
      step = "tls-handshake";
      const { openTls } = await import("./tls.ts");
      assertStillOpen(socket, url, signal);
      socket = await openTls(socket, url, options, signal);
    }
    step = "http-upgrade";
    return await upgrade(socket, url, options, signal, listener);
  } catch (error) {
    socket?.destroy();
    if (options.signal?.aborted === true) throw givenUp(url, step, options.signal.reason);
    if (deadline.aborted) throw timedOut(url, step, options.timeoutMs, error);
    const mayAsk = step === "http-upgrade" && url.protocol === "ws:" && options.dialAt === undefined;
    if (mayAsk && mayBeTls(error) && (await speaksTls(url, signal))) throw tlsNotPlain(url, error);
    throw error;
  }
}

/** A TLS server that is asked in plain text hangs up (OpenSSL), answers with an alert, or with a 400 in words of its own. */
function mayBeTls(error: unknown): boolean {
  if (!isFailure(error, "unreachable", "not-a-gateway")) return false;
  const status = error.details?.["status"];
  return status === 400 || (status === undefined && (error.code === "unreachable" || isTlsAlert(error.cause)));
}

function openTcp(url: URL, dialAt: DialAddress | undefined, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    // noDelay from the first byte: frames are small, and Nagle would hold them back.
    const { host, port } = dialAt ?? { host: hostOf(url), port: portOf(url) };
    const socket = connectTcp({ host, port, noDelay: true, keepAlive: true });
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
        pinged: () => listener.pinged?.(),
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
      void import("./upgrade-refusal.ts")
        .then(({ upgradeRefusal }) => upgradeRefusal(url, response, options))
        .then((error) => {
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

function brokenUpgrade(url: URL, cause: Error): OpenClawError {
  const code = systemCode(cause);
  if (code === "ECONNRESET" || code === "EPIPE" || /hang up/u.test(cause.message)) return hungUp(url, cause);
  return new OpenClawError("not-a-gateway", `${url.host} does not speak WebSocket: ${cause.message}`, {
    hint: "check the port: something else listens there",
    cause,
    details: { systemCode: code },
  });
}
