/** Invokes as they arrive: find the handler, give it the time that is left, answer with what it says. protocol.md § 7.3. */
import { setImmediate as nextTurn } from "node:timers/promises";
import * as v from "valibot";
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure } from "../errors.ts";
import { type EventFrame, isObject } from "../protocol/frame.ts";
import { defaultInvokeTimeoutMs, maxInvokeTimeoutMs } from "../protocol/limits.ts";
import { type InvokeRequest, invokeRequest } from "../protocol/methods.ts";
import type { Runtime } from "../runtime.ts";
import { InvokeError, type InvokeHandler } from "./handlers/index.ts";
import { SleepWatch } from "./sleep-watch.ts";

/** One invoke, for the log of whoever runs the node. */
export interface InvokeReport {
  readonly id: string;
  readonly command: string;
  readonly ok: boolean;
  readonly durationMs: number;
}

export interface InvokeServerOptions {
  readonly session: Pick<GatewaySession, "request">;
  readonly handlers: Readonly<Record<string, InvokeHandler>>;
  readonly runtime: Runtime;
  readonly report: (report: InvokeReport) => void;
}

type Answer =
  | { readonly ok: true; readonly payloadJSON: string }
  | { readonly ok: false; readonly error: { readonly code: string; readonly message: string } };

export class InvokeServer {
  readonly #options: InvokeServerOptions;
  readonly #running = new Map<string, AbortController>();
  readonly #answers = new Set<Promise<void>>();
  readonly #sleep: SleepWatch;

  constructor(options: InvokeServerOptions) {
    this.#options = options;
    this.#sleep = new SleepWatch(options.runtime);
  }

  /** Takes an event in; whatever is no invoke, or cancels none, is somebody else's. */
  hear({ event, payload }: EventFrame): void {
    if (event === "node.invoke.request") {
      const read = v.safeParse(invokeRequest, payload);
      if (!read.success) return;
      const answer = this.#serve(read.output).finally(() => this.#answers.delete(answer));
      this.#answers.add(answer);
    } else if (event === "node.invoke.cancel" && isObject(payload)) {
      const id = payload["id"] ?? payload["invokeId"];
      if (typeof id === "string") this.#running.get(id)?.abort(new Error("cancelled"));
    }
  }

  /** Ends what runs, since nobody could be told its result any more. Resolves when all of it is over. */
  async stop(): Promise<void> {
    this.#sleep[Symbol.dispose]();
    for (const running of this.#running.values()) running.abort(new Error("the session ended"));
    await Promise.all(this.#answers);
  }

  async #serve(request: InvokeRequest): Promise<void> {
    const { session, runtime, report } = this.#options;
    const { id, command } = request;
    if (this.#running.has(id)) return;
    const startedAtMs = runtime.now();
    const controller = new AbortController();
    this.#running.set(id, controller);
    const answer = this.#tooLate(request) ?? (await this.#answer(request, controller.signal));
    this.#running.delete(id);
    report({ id, command, ok: answer.ok, durationMs: runtime.now() - startedAtMs });
    // The gateway knows this node by its device id, whatever name the request used.
    const nodeId = request.nodeId ?? "";
    await session.request("node.invoke.result", { id, nodeId, ...answer }).catch((error: unknown) => {
      runtime.log("warn", "an answer did not reach the gateway", { invoke: id, error: String(error) });
    });
  }

  /**
   * The refusal of an invoke that arrived while this process slept for longer than the operator waits. Who asked has been told that it
   * did not run, and may have gone another way since; gateways before 2026.9.6 send no cancel.
   */
  #tooLate(request: InvokeRequest): Answer | undefined {
    const sleptMs = this.#sleep.sleptMs();
    const timeoutMs = timeoutOf(request);
    if (timeoutMs <= 0 || sleptMs < timeoutMs) return undefined;
    this.#options.runtime.log("warn", "an invoke came too late to be run", { invoke: request.id, sleptMs });
    return refused("TIMEOUT", `not run: the node was asleep for ${sleptMs} ms, and the invoke's time is over`);
  }

  async #answer(request: InvokeRequest, signal: AbortSignal): Promise<Answer> {
    const { handlers, runtime, session } = this.#options;
    const { command } = request;
    // A cancel that arrived together with its invoke, as after a stall of the network, is heard before anything is started.
    await nextTurn();
    if (signal.aborted) return refused("CANCELLED", "not run: it was cancelled before it started");
    const handler = Object.hasOwn(handlers, command) ? handlers[command] : undefined;
    if (handler === undefined) return refused("INVALID_REQUEST", `this node has no command ${command}`);
    const params = readParams(request);
    if (!params.ok) return refused("INVALID_REQUEST", "paramsJSON is not JSON");
    const timeoutMs = timeoutOf(request);
    const emit = (event: string, payload: unknown) => {
      const told = session.request("node.event", { event, payloadJSON: JSON.stringify(payload) });
      told.catch((error: unknown) => runtime.log("debug", "node event not taken", { event, error: String(error) }));
    };
    try {
      const payload = await handler(params.value, { signal, timeoutMs, runtime, emit });
      return { ok: true, payloadJSON: JSON.stringify(payload ?? null) };
    } catch (error) {
      if (error instanceof InvokeError) return refused(error.code, error.message);
      if (isFailure(error)) return refused("UNAVAILABLE", error.message);
      runtime.log("error", "a command of this node failed", { command, error: String(error) });
      return refused("UNAVAILABLE", `${command} failed on the node; its log says why`);
    }
  }
}

function timeoutOf({ timeoutMs }: InvokeRequest): number {
  return Math.min(timeoutMs ?? defaultInvokeTimeoutMs, maxInvokeTimeoutMs);
}

function refused(code: string, message: string): Answer {
  return { ok: false, error: { code, message } };
}

function readParams(request: InvokeRequest): { readonly ok: true; readonly value: unknown } | { readonly ok: false } {
  if (typeof request.paramsJSON !== "string") return { ok: true, value: request.params ?? {} };
  try {
    return { ok: true, value: JSON.parse(request.paramsJSON) };
  } catch {
    return { ok: false };
  }
}
