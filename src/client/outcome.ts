/** Why an attempt or a session ended, and what follows: try again, wait for a person, or give up. Pure. */
import { isFailure, type OpenClawError } from "../errors.ts";
import { closeCodes } from "../protocol/close.ts";
import { findRefusal } from "../protocol/refusals.ts";

export type Outcome =
  /** It may heal by itself: after a back-off, or after the time the gateway asked for. */
  | { readonly kind: "retry"; readonly afterMs?: number }
  /** A person has to approve; ask again now and then. */
  | { readonly kind: "wait" }
  /** The same words will get the same answer. */
  | { readonly kind: "stop" };

/** What a failed attempt means for somebody who wants to be connected for ever. */
export function outcomeOf(error: unknown): Outcome {
  if (!isFailure(error)) return { kind: "stop" };
  const afterMs = retryAfterMs(error);
  switch (error.code) {
    case "unreachable":
    case "timeout":
    case "starting":
    case "failed":
    case "tls-failed":
    case "not-a-gateway": // a tunnel whose far end is still coming up answers with anything
    case "rate-limited":
      return { kind: "retry", ...(afterMs === undefined ? {} : { afterMs }) };
    case "pairing-required":
      return isRejection(error) ? { kind: "stop" } : { kind: "wait" };
    default:
      return findRefusal(error.details?.["code"])?.remedy === "retry" ? { kind: "retry" } : { kind: "stop" };
  }
}

/** True for the refusal of what stands in front of a gateway, to which no credential of the gateway's means anything. */
export function isOfEdge(error: OpenClawError): boolean {
  return error.details?.["edge"] !== undefined;
}

/** True when the person said no. */
export function isRejection(error: OpenClawError): boolean {
  return error.details?.["rejected"] === true;
}

/** What the end of an established session means: nearly everything is worth a reconnect, which then says what is wrong. */
export function outcomeOfClose(code: number, reason: string): Outcome {
  if (code === closeCodes.policy && reason.startsWith("replaced by a newer connection")) return { kind: "stop" };
  return { kind: "retry" };
}

function retryAfterMs(error: OpenClawError): number | undefined {
  const value = error.details?.["retryAfterMs"];
  return typeof value === "number" && value >= 0 ? Math.min(Math.max(value, minWaitMs), maxWaitMs) : undefined;
}

/** Milliseconds before we try again though "now" was answered: a server that always says so would be asked without a pause. */
const minWaitMs = 250;

/** Nobody is obeyed for longer: a date far in the future would mean never, and timers end at 2^31 ms. A day. */
const maxWaitMs = 86_400_000;
