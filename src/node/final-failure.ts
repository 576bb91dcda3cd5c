/** The failures that end a node host, with what a person can do about them. */
import { isRejection } from "../client/outcome.ts";
import { isFailure, OpenClawError } from "../errors.ts";

/** The time for approvals is over. */
export function notApprovedInTime(requestId: string | undefined, layer: "device" | "surface"): OpenClawError {
  const approve = `openclaw ${layer === "device" ? "devices" : "nodes"} approve ${requestId ?? ""}`.trim();
  return new OpenClawError("pairing-required", "nobody approved this node in time", {
    hint: `approve it on the gateway's host (${approve}) and start it again, or wait longer with --approval-timeout`,
    fix: approve,
    details: { layer, ...(requestId === undefined ? {} : { requestId }) },
  });
}

/** True when a device that had the node role lacks it now: told by gateways of ours, and by the product as a role to be approved. */
export function isRevocation({ details = {} }: OpenClawError): boolean {
  return typeof details["revokedAtMs"] === "number" || details["reason"] === "role-upgrade";
}

/** The role was taken away while the node was connected. */
export function revoked(error: OpenClawError): OpenClawError {
  return new OpenClawError("device-token-mismatch", "the gateway revoked this device's node role", {
    hint: "if that was not meant, start the node again and have it approved",
    details: { ...error.details },
    cause: error,
  });
}

/** What ended the attempts, in the node's words. */
export function finalFailure(error: unknown): unknown {
  if (!isFailure(error, "pairing-required") || !isRejection(error)) return error;
  const reason = error.details?.["rejectedReason"];
  return new OpenClawError(
    "pairing-rejected",
    `the gateway's owner rejected this device${typeof reason === "string" ? `: ${reason}` : ""}`,
    {
      hint: "ask the gateway's owner; starting again makes a new request",
      details: { ...error.details },
      cause: error,
    },
  );
}
