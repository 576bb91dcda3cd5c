/**
 * The trace of a connection: every gate it came to and what that gate said, in order. What the log line, `onDecision` and every later
 * explanation say about a decision is read from here, and nothing decides it again (auth.md).
 */
import type { AuthStep } from "../pairing/decide-auth.ts";
import type { Runtime } from "../runtime.ts";
import type { ConnectionDecision } from "./options.ts";
import type { Peer } from "./arrival/peer.ts";

/** The gates besides the authentication methods: those of HTTP, then those of the connect; the last one is what the gateway itself failed at. */
export type Gate =
  | "http"
  | "capacity"
  | "upgrade"
  | "frame"
  | "limit"
  | "params"
  | "protocol"
  | "role"
  | "origin"
  | "device-proof"
  | "authentication"
  | "local-peer"
  | "enrolment"
  | "gateway";

/** `passed` had nothing to say, `wrong` is a credential that is not right, `refused` is the end. */
export interface TraceStep {
  readonly method: Gate | AuthStep["method"];
  readonly outcome: AuthStep["outcome"] | "refused";
  readonly reason: string;
}

/** What the gate let through. */
export const accepted = (method: Gate, reason: string): TraceStep => ({ method, outcome: "accepted", reason });
/** What the gate had nothing to say to. */
export const passed = (method: Gate, reason: string): TraceStep => ({ method, outcome: "passed", reason });
/** What the gate turned away. */
export const refused = (method: Gate, reason: string): TraceStep => ({ method, outcome: "refused", reason });

/** The step of an upgrade that was let through with this bearer. */
export function upgradeStep(bearer: string | undefined): TraceStep {
  return bearer === undefined
    ? passed("upgrade", "no Authorization header")
    : accepted("upgrade", "the Authorization header holds a credential of this gateway");
}

export interface DecisionListeners {
  readonly runtime: Runtime;
  readonly onDecision: (decision: ConnectionDecision) => void;
}

export interface RefusalFacts {
  readonly connId: string;
  readonly peer: Peer;
  readonly code: string;
  readonly reason: string;
  readonly trace: readonly TraceStep[];
  /** Further facts for the log line. */
  readonly fields?: Readonly<Record<string, string | number | undefined>>;
}

/** A refusal's one log line, and the same facts for who asked to be told. */
export function reportRefusal({ runtime, onDecision }: DecisionListeners, message: string, facts: RefusalFacts): void {
  const { connId, peer, code, reason, trace, fields } = facts;
  runtime.log("warn", message, { ...whereFields(connId, peer), code, reason, ...fields, trace: traceText(trace) });
  onDecision({ connId, outcome: "refused", code, reason, trace });
}

/** Where a connection comes from, for its log lines. */
export function whereFields(connId: string, peer: Peer): Readonly<Record<string, string | undefined>> {
  const { address, port, clientAddress, forwarded, origin, host, userAgent } = peer;
  return {
    conn: connId,
    peer: `${address}:${port}`,
    remote: clientAddress,
    fwd: forwarded,
    origin,
    host,
    ua: userAgent,
  };
}

/** The trace in one line, for people. */
export function traceText(trace: readonly TraceStep[]): string {
  return trace.map(({ method, outcome, reason }) => `${method}:${outcome}(${reason})`).join(", ");
}
