/** An authenticated connection: typed calls, events, a watchdog, and an end that says why. */
import { isFailure, OpenClawError } from "../errors.ts";
import { closeCodes } from "../protocol/close.ts";
import { decodeFrame, type EventFrame } from "../protocol/frame.ts";
import type { HelloOk } from "../protocol/handshake.ts";
import type { Method, MethodParams, MethodResults } from "../protocol/methods.ts";
import type { Runtime } from "../runtime.ts";
import { Calls } from "../transport/calls.ts";
import type { CloseInfo, FrameSocket } from "../transport/frame-socket.ts";
import { givenUp } from "../transport/unreachable.ts";
import type { HandshakeInbox } from "./handshake-inbox.ts";

export interface CallOptions {
  /** Milliseconds to wait for the response; the session's own default, or 10 s, unless told otherwise. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

interface SessionParts {
  readonly socket: FrameSocket;
  readonly hello: HelloOk;
  readonly runtime: Runtime;
  readonly onEvent: ((event: EventFrame) => void) | undefined;
  readonly liveness: Liveness | undefined;
  readonly callDefaults: CallOptions | undefined;
  readonly url: string;
}

/** When silence becomes the connection's end. */
export interface Liveness {
  /** Milliseconds of silence after which we ask for a sign of life. */
  readonly quietMs: number;
  /** Milliseconds that it may take to come. */
  readonly pongDeadlineMs: number;
}

const defaultLiveness: Liveness = { quietMs: 15_000, pongDeadlineMs: 10_000 };
const maxWatchMs = 2_500;
const defaultCallMs = 10_000;

export class GatewaySession implements AsyncDisposable {
  readonly hello: HelloOk;
  readonly url: string;
  /** Resolves when the connection is over, whatever ended it. Never rejects. */
  readonly closed: Promise<CloseInfo>;
  readonly #socket: FrameSocket;
  readonly #runtime: Runtime;
  readonly #calls: Calls;
  readonly #onEvent: ((event: EventFrame) => void) | undefined;
  readonly #liveness: Liveness;
  readonly #callDefaults: CallOptions;
  readonly #stopWatching: () => void;
  #heardAtMs: number;
  #pingedAtMs: number | undefined;

  constructor(
    { socket, hello, runtime, onEvent, liveness, callDefaults = {}, url }: SessionParts,
    inbox: HandshakeInbox,
  ) {
    this.hello = hello;
    this.url = url;
    this.#socket = socket;
    this.#runtime = runtime;
    this.#onEvent = onEvent;
    this.#calls = new Calls((text) => socket.send(text));
    this.#heardAtMs = runtime.now();
    this.#liveness = liveness ?? defaultLiveness;
    this.#callDefaults = callDefaults;
    const timer = setInterval(() => this.#watch(), Math.min(maxWatchMs, this.#liveness.quietMs)).unref();
    this.#stopWatching = () => clearInterval(timer);
    const { promise, resolve } = Promise.withResolvers<CloseInfo>();
    this.closed = promise;
    inbox.handOver({
      text: (text) => this.#hear(text),
      alive: () => this.#alive(),
      closed: (info) => {
        this.#stopWatching();
        this.#calls.failAll(connectionLost(info));
        resolve(info);
      },
    });
  }

  /** Calls a method of the table. Fails with what the gateway's refusal means; `incompatible` where this gateway has no such method. */
  async call<M extends Method>(
    method: M,
    params: MethodParams<M>,
    options: CallOptions = {},
  ): Promise<MethodResults[M]> {
    try {
      // The gateway's side of the same table produces this shape; real gateways send a superset of it.
      return (await this.request(method, params, options)) as MethodResults[M];
    } catch (error) {
      throw this.#lacks(method) && isFailure(error, "usage", "scope-missing") ? this.#tooOld(method, error) : error;
    }
  }

  /** Calls any method, known to us or not. */
  request(method: string, params: unknown, options: CallOptions = {}): Promise<unknown> {
    const timeoutMs = options.timeoutMs ?? this.#callDefaults.timeoutMs ?? defaultCallMs;
    const signal = options.signal ?? this.#callDefaults.signal;
    return this.#calls.call(method, params, timeoutMs, signal).catch((error: unknown) => {
      throw givenUp(new URL(this.url), `call ${method}`, error);
    });
  }

  /** Says goodbye and resolves when the connection is gone. */
  async close(code: number = closeCodes.normal, reason = ""): Promise<void> {
    this.#socket.close(code, reason);
    await this.closed;
  }

  /** Drops the connection at once, without a goodbye. */
  terminate(): void {
    this.#socket.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** True when the gateway listed what it can do, and this is not there: 2026.3.8 says "missing scope" of methods that it has not. */
  #lacks(method: string): boolean {
    const { methods } = this.hello.features;
    return methods.length > 0 && !methods.includes(method);
  }

  #tooOld(method: string, cause: OpenClawError): OpenClawError {
    const { version } = this.hello.server;
    return new OpenClawError("incompatible", `the gateway (version ${version}) has no ${method}`, {
      hint: "a newer version of the gateway may have it: update it there",
      details: { method, gatewayVersion: version },
      cause,
    });
  }

  #hear(text: string): void {
    this.#alive();
    try {
      const frame = decodeFrame(text);
      if (frame.type === "res") this.#calls.settle(frame);
      else if (frame.type === "event") this.#onEvent?.(frame);
    } catch (error) {
      // One frame that we cannot read is no reason to lose the connection.
      this.#runtime.log("warn", "unreadable frame", { error: isFailure(error) ? error.message : String(error) });
    }
  }

  #alive(): void {
    this.#heardAtMs = this.#runtime.now();
    this.#pingedAtMs = undefined;
  }

  /**
   * A connection whose other end is gone (half open, or the machine slept) shows only as silence. Ask first, then give up: after a
   * sleep the connection may be fine.
   */
  #watch(): void {
    const nowMs = this.#runtime.now();
    const { quietMs, pongDeadlineMs } = this.#liveness;
    if (this.#pingedAtMs !== undefined) {
      if (nowMs - this.#pingedAtMs < pongDeadlineMs) return;
      this.#socket.close(closeCodes.tickTimeout, "tick timeout");
      this.#socket.terminate();
    } else if (nowMs - this.#heardAtMs >= quietMs) {
      this.#pingedAtMs = nowMs;
      this.#socket.ping();
    }
  }
}

function connectionLost({ code, reason }: CloseInfo): OpenClawError {
  return new OpenClawError(
    "unreachable",
    `the connection to the gateway ended (close code ${code}${reason === "" ? "" : `, ${reason}`})`,
    {
      details: { closeCode: code, closeReason: reason },
    },
  );
}
