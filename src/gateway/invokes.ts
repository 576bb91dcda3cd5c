/** Invokes on their way: operator -> gateway -> node -> gateway -> operator, with a deadline each. */
import type { InvokeOutcome, MethodParams } from "../protocol/methods.ts";
import { unavailable } from "../protocol/wire-error.ts";
import type { Runtime } from "../runtime.ts";
import type { Session } from "./session.ts";

type NodeResult = MethodParams<"node.invoke.result">;

interface Pending {
  readonly node: Session;
  readonly command: string;
  readonly answered: (result: NodeResult) => void;
  readonly failed: (error: Error) => void;
}

export interface InvokeCall {
  readonly command: string;
  readonly params: unknown;
  readonly timeoutMs: number;
  readonly idempotencyKey: string;
}

/** Outcomes remembered by idempotency key, so that a call repeated after a lost answer does not run twice. */
const maxRemembered = 1024;

const receiptDelayMs = 2;

export class Invokes {
  readonly #runtime: Runtime;
  readonly #ended: (outcome: "ok" | "failed") => void;
  readonly #pending = new Map<string, Pending>();
  readonly #byKey = new Map<string, Promise<InvokeOutcome>>();
  #receipts: Promise<void> | undefined;

  /** `ended` is told how each of them came to its end. */
  constructor(runtime: Runtime, ended: (outcome: "ok" | "failed") => void) {
    this.#runtime = runtime;
    this.#ended = ended;
  }

  /** Sends a command to a node and resolves with its answer; the same idempotency key on the same node joins the first call. */
  invoke(node: Session, call: InvokeCall): Promise<InvokeOutcome> {
    const key = `${node.facts.deviceId ?? ""} ${call.command} ${call.idempotencyKey}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const outcome = this.#send(node, call);
    this.#remember(key, outcome);
    outcome.then(
      () => this.#ended("ok"),
      () => {
        this.#byKey.delete(key); // a call that failed may be tried again under the same key
        this.#ended("failed");
      },
    );
    return outcome;
  }

  /** A node's answer. False for one that nobody waits for any more. */
  answer(node: Session, result: NodeResult): boolean {
    const pending = this.#pending.get(result.id);
    if (pending === undefined || pending.node !== node) return false;
    pending.answered(result);
    return true;
  }

  /**
   * When to tell nodes that their answers arrived: a moment later, and all of them together. Nobody waits for it, while the operator, who has
   * the answer already, may send the next invoke, which would have to wait until this was written.
   */
  receipts(): Promise<void> {
    this.#receipts ??= new Promise((resolve) => {
      this.#runtime.after(receiptDelayMs, () => {
        this.#receipts = undefined;
        resolve();
      });
    });
    return this.#receipts;
  }

  /** True while an answer of this node is waited for. */
  isBusy(node: Session): boolean {
    return [...this.#pending.values()].some((pending) => pending.node === node);
  }

  /** Fails what waits for a node that is gone. */
  nodeGone(node: Session): void {
    for (const pending of this.#pending.values()) {
      if (pending.node === node) pending.failed(nodeError("DISCONNECTED", "the node disconnected before it answered"));
    }
  }

  #send(node: Session, { command, params, timeoutMs, idempotencyKey }: InvokeCall): Promise<InvokeOutcome> {
    const id = this.#runtime.uuid();
    const nodeId = node.facts.deviceId ?? "";
    return new Promise((resolve, reject) => {
      const done = () => {
        cancelTimer();
        this.#pending.delete(id);
      };
      const failed = (error: Error) => {
        done();
        reject(error);
      };
      const cancelTimer = this.#runtime.after(timeoutMs, () => {
        node.event("node.invoke.cancel", { id, nodeId, reason: "timeout" });
        failed(nodeError("TIMEOUT", `the node did not answer within ${timeoutMs} ms`));
      });
      const answered = (result: NodeResult) => {
        done();
        if (result.ok) resolve(outcomeOf(nodeId, command, result));
        else reject(nodeError(result.error?.code ?? "UNAVAILABLE", result.error?.message ?? "the node gave no reason"));
      };
      this.#pending.set(id, { node, command, answered, failed });
      const paramsJSON = params === undefined ? null : JSON.stringify(params);
      const wasSent = node.event("node.invoke.request", { id, nodeId, command, paramsJSON, timeoutMs, idempotencyKey });
      if (!wasSent) failed(nodeError("DISCONNECTED", "the node's connection is closing"));
    });
  }

  #remember(key: string, outcome: Promise<InvokeOutcome>): void {
    const [oldest] = this.#byKey.keys();
    if (this.#byKey.size >= maxRemembered && oldest !== undefined) this.#byKey.delete(oldest);
    this.#byKey.set(key, outcome);
  }
}

function nodeError(code: string, message: string): Error {
  return unavailable(`${code}: ${message}`, { nodeError: { code, message } });
}

/** A node answers with `payload` or with `payloadJSON`; the operator gets both. */
function outcomeOf(nodeId: string, command: string, result: NodeResult): InvokeOutcome {
  if (typeof result.payloadJSON === "string") {
    return { ok: true, nodeId, command, payload: parsed(result.payloadJSON), payloadJSON: result.payloadJSON };
  }
  const payload = result.payload ?? null;
  return { ok: true, nodeId, command, payload, payloadJSON: JSON.stringify(payload) };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null; // the operator still has the text
  }
}
