/** What a handler of an invoke is given, and how it answers with an error. */
import type { Runtime } from "../../runtime.ts";

export interface InvokeContext {
  /** Aborted when nobody waits for the answer any more: session gone, invoke cancelled, node stopping. */
  readonly signal: AbortSignal;
  /** Milliseconds after which the gateway answers the operator without us. */
  readonly timeoutMs: number;
  readonly runtime: Runtime;
  /** Sends a `node.event`. */
  emit(event: string, payload: unknown): void;
}

/** Takes an invoke's params as they came, gives its payload; throws `InvokeError` to answer with an error. */
export type InvokeHandler = (params: unknown, context: InvokeContext) => Promise<unknown>;

/** The answer `{code, message}` to an invoke; `code` is the wire's, such as INVALID_REQUEST or UNAVAILABLE. */
export class InvokeError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.name = "InvokeError";
    this.code = code;
  }
}

/** The error for params that make no sense. */
export function invalidRequest(message: string): InvokeError {
  return new InvokeError("INVALID_REQUEST", message);
}
