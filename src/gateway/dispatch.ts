/** A request of a session on its way to its method: known? this role? this scope? these params? Then the handler, then the answer. */
import * as v from "valibot";
import { isFailure } from "../errors.ts";
import { isObject, type RequestFrame, type WireError } from "../protocol/frame.ts";
import { describeIssues } from "../protocol/handshake.ts";
import type { RpcFault } from "../protocol/json-rpc.ts";
import { findMethod, type MethodHandlers, type MethodRule } from "../protocol/methods.ts";
import { holdsScope } from "../protocol/vocabulary.ts";
import { missingScope, RequestRefused, toWireError } from "../protocol/wire-error.ts";
import type { Runtime } from "../runtime.ts";
import { rotatesOwnToken } from "./methods/callers.ts";
import type { Session } from "./session.ts";

/** What a method may do once its answer is on the wire: close the sessions that it made void, its own among them. */
export interface CallContext {
  readonly session: Session;
  readonly afterReply: (action: () => void) => void;
}

type AnyHandler = (context: CallContext, params: unknown) => unknown;

/** A method that only one dialect has. */
export interface FurtherMethod {
  readonly rule: MethodRule;
  readonly handler: AnyHandler;
}
export type FurtherMethods = ReadonlyMap<string, FurtherMethod>;

/** A method whose handler gets what its own schema has read. */
export function furtherMethod<Schema extends v.GenericSchema>(
  params: Schema,
  handler: (context: CallContext, params: v.InferOutput<Schema>) => unknown,
): FurtherMethod {
  return { rule: { params }, handler: (context, read) => handler(context, v.parse(params, read)) };
}

export class Dispatcher {
  readonly #handlers: Readonly<Record<string, AnyHandler>>;
  readonly #runtime: Runtime;

  constructor(handlers: MethodHandlers<CallContext>, runtime: Runtime) {
    // The params that each handler takes are the ones its own schema in the method table lets through.
    this.#handlers = handlers as unknown as Readonly<Record<string, AnyHandler>>;
    this.#runtime = runtime;
  }

  /** Answers one request, now or later; it never throws. `further` are the methods that only this session's dialect has. */
  dispatch(session: Session, { id, method, params }: RequestFrame, further?: FurtherMethods): void {
    const more = further?.get(method);
    const rule = more?.rule ?? findMethod(method);
    const handler = rule === undefined ? undefined : (more?.handler ?? this.#handlers[method]);
    if (rule === undefined || handler === undefined) {
      const isSecond = method === "connect";
      return session.refuse(
        id,
        invalid(isSecond ? "connect is only the first request" : `unknown method: ${method.slice(0, 128)}`),
        isSecond ? "invalid-request" : "unknown-method",
      );
    }
    if (rule.role !== undefined && rule.role !== session.facts.role) {
      session.unauthorizedCalls++;
      this.#refused(session, method, `unauthorized role: ${session.facts.role}`);
      return session.refuse(id, invalid(`unauthorized role: ${session.facts.role}`));
    }
    const isOwn = method === "device.token.rotate" && isObject(params) && rotatesOwnToken(session, params);
    if (rule.scope !== undefined && !isOwn && !holdsScope(session.facts.scopes, rule.scope)) {
      this.#refused(session, method, `missing scope: ${rule.scope}`);
      return session.refuse(id, lacksScope(session, rule.scope));
    }
    const read = v.safeParse(rule.params, params);
    if (!read.success) {
      const problem = `invalid ${method} params: ${describeIssues(read.issues)}`;
      return session.refuse(id, invalid(problem), "invalid-params");
    }
    this.#run(session, id, method, handler, read.output);
    return undefined;
  }

  #run(session: Session, id: string, method: string, handler: AnyHandler, params: unknown): void {
    const after: (() => void)[] = [];
    const context: CallContext = { session, afterReply: (action) => void after.push(action) };
    const answer = (payload: unknown) => {
      session.respond(id, payload);
      for (const action of after) action();
    };
    try {
      const result = handler(context, params);
      if (result instanceof Promise) result.then(answer, (error: unknown) => this.#fail(session, id, method, error));
      else answer(result);
    } catch (error) {
      this.#fail(session, id, method, error);
    }
  }

  #fail(session: Session, id: string, method: string, error: unknown): void {
    if (!(error instanceof RequestRefused)) {
      const stack = error instanceof Error ? error.stack : undefined;
      this.#runtime.log("error", "method failed", { conn: session.facts.connId, method, error: String(error), stack });
    }
    session.refuse(id, toWireError(error), faultOf(error));
  }

  #refused(session: Session, method: string, reason: string): void {
    const { connId, deviceId, remoteAddress } = session.facts;
    this.#runtime.log("warn", "call refused", {
      conn: connId,
      remote: remoteAddress,
      device: deviceId,
      method,
      reason,
    });
  }
}

/** What nobody refused on purpose is a failure of ours. */
function faultOf(error: unknown): RpcFault | undefined {
  return error instanceof RequestRefused || isFailure(error) ? undefined : "internal";
}

/** Who asked for the scope and did not get it is told why once more: many clients show nothing of their hello. */
function lacksScope({ removedScopes }: Session, scope: string): WireError {
  const { wire } = missingScope(scope);
  if (removedScopes === undefined || !holdsScope(removedScopes.scopes, scope)) return wire;
  return { ...wire, message: `${wire.message} (${removedScopes.why})` };
}

function invalid(message: string): WireError {
  return { code: "INVALID_REQUEST", message };
}
