/** OpenClawError <-> the error of a response frame, both directions. */
import { type FailureCode, OpenClawError } from "../errors.ts";
import { isObject, type WireError } from "./frame.ts";
import { findRefusal } from "./refusals.ts";
import { protocolRange } from "./vocabulary.ts";

/** A gateway's refusal of one request. `details` may be read by programs; it never holds a secret. */
export class RequestRefused extends Error {
  readonly wire: WireError;

  constructor(wire: WireError) {
    super(wire.message);
    this.name = "RequestRefused";
    this.wire = wire;
  }
}

/** A refusal of a request whose params make no sense to this gateway. */
export function invalidRequest(message: string, details?: Readonly<Record<string, unknown>>): RequestRefused {
  return new RequestRefused({ code: "INVALID_REQUEST", message, ...(details === undefined ? {} : { details }) });
}

/** A refusal that may pass: what is needed is not there at the moment. */
export function unavailable(message: string, details?: Readonly<Record<string, unknown>>): RequestRefused {
  return new RequestRefused({ code: "UNAVAILABLE", message, ...(details === undefined ? {} : { details }) });
}

/** The refusal of a method whose scope the session does not hold, as 2026.9.6 words it. */
export function missingScope(scope: string, required: readonly string[] = [scope]): RequestRefused {
  return new RequestRefused({
    code: "FORBIDDEN",
    message: `missing scope: ${scope}`,
    details: { code: "MISSING_SCOPE", missingScope: scope, requiredScopes: required },
  });
}

/** Anything thrown inside a method -> the error of its response. Our own bugs are not described to the other side. */
export function toWireError(error: unknown): WireError {
  if (error instanceof RequestRefused) return error.wire;
  if (error instanceof OpenClawError) {
    return { code: "UNAVAILABLE", message: error.message, details: { code: error.code } };
  }
  return { code: "UNAVAILABLE", message: "the gateway failed on this request; its log says why" };
}

/** The error of a response -> what it means for the caller. `doing` names the attempt, for the message. */
export function fromWireError(wire: WireError, doing: string): OpenClawError {
  const details: Record<string, unknown> = isObject(wire.details) ? { ...wire.details } : {};
  if (wire.retryAfterMs !== undefined) details["retryAfterMs"] = wire.retryAfterMs;
  details["wireCode"] = wire.code;
  const [, requestId] = awaitingApproval.exec(wire.message) ?? [];
  if (requestId !== undefined) details["requestId"] ??= requestId;
  const code = failureOf(wire, details);
  const advice = adviceFor(code, details);
  // Whoever is refused for want of an approval cannot give it: the command is for another place, whatever led to the gateway from here.
  if (code === "pairing-required" && advice.fix !== undefined) details["fixOn"] = "gateway";
  return new OpenClawError(code, `${doing}: ${wire.message}`, { ...advice, details });
}

/** How 2026.9.6 words it when a node's command list waits: the request's id stands nowhere else. */
const awaitingApproval = /^node capability surface is awaiting .*\bnodes approve ([\w-]+)/u;

/** What to type next, for the failures that one command on the gateway's host can end. */
function adviceFor(
  code: FailureCode,
  { requestId, expectedProtocol, code: refusal }: Readonly<Record<string, unknown>>,
): { hint?: string; fix?: string } {
  switch (code) {
    case "pairing-required":
    case "surface-approval-required": {
      if (typeof requestId !== "string") return {};
      const fix = `openclaw ${code === "pairing-required" ? "devices" : "nodes"} approve ${requestId}`;
      return { hint: "approve the request on the gateway's host, then try again", fix };
    }
    case "credential-missing":
      return refusal === "AUTH_PASSWORD_MISSING"
        ? { hint: "give the gateway's password with --password-file or OPENCLAW_GATEWAY_PASSWORD" }
        : {
            hint: "give the gateway's token with --token-file or OPENCLAW_GATEWAY_TOKEN (openclaw gateway token --show there)",
          };
    case "token-mismatch":
      return {
        hint: "compare it with the gateway's own (gateway.auth.token there), and check that the port leads to that gateway",
      };
    case "password-mismatch":
      return { hint: "compare it with the gateway's own (gateway.auth.password there)" };
    case "device-token-mismatch":
      return {
        hint: "it was rotated or revoked there: come once with the gateway's own token or password (--token-file, --password-file)",
      };
    case "bootstrap-invalid":
      return { hint: "have a new one made on the gateway's host: openclaw pair invite" };
    case "scope-missing":
      return {
        hint: "ask for more with the gateway's token (openclaw pair request --scope … --token-file …), and have it approved",
      };
    case "incompatible": {
      const isNewer = typeof expectedProtocol === "number" && expectedProtocol > protocolRange.max;
      return {
        hint: isNewer ? "the gateway is newer: update openclaw on this side" : "the gateway is older: update it",
      };
    }
    default:
      return {};
  }
}

/** The wire's codes first; its texts only where a product version has nothing else to tell failures apart by. */
function failureOf(wire: WireError, details: Readonly<Record<string, unknown>>): FailureCode {
  const refusal = findRefusal(details["code"]);
  if (refusal !== undefined) return refusal.failure;
  const byDetail = typeof details["code"] === "string" ? methodFailures.get(details["code"]) : undefined;
  if (byDetail !== undefined) return byDetail;
  if (isObject(details["nodeError"])) {
    const nodeCode = details["nodeError"]["code"];
    if (nodeCode === "TIMEOUT") return "invoke-timeout";
    const said = details["nodeError"]["message"];
    if (typeof said === "string" && /^SYSTEM_RUN_(?:DENIED|DISABLED)/u.test(said)) return "command-not-allowed";
    return nodeCode === "DISCONNECTED" ? "node-offline" : "invoke-failed";
  }
  if (typeof details["reason"] === "string" && commandPolicyReasons.has(details["reason"]))
    return "command-not-allowed";
  if (isBetweenStarts(details["reason"]) || wire.message === "gateway starting") return "starting";
  if (details["expectedProtocol"] !== undefined) return "incompatible"; // 2026.3.8 sends no code here
  if (wire.code === "NOT_PAIRED") return "pairing-required";
  if (wire.code === "FORBIDDEN") return "forbidden";
  if (wire.message.startsWith("missing scope: ")) return "scope-missing"; // 2026.3.8 and 2026.5.27 send no details here
  if (/^unauthorized role: | denied$/u.test(wire.message)) return "forbidden";
  if (/^unknown (requestId|deviceId|nodeId)/u.test(wire.message)) return "not-found";
  if (/^unknown method: |^invalid \S+ params: |^node\.invoke does not carry /u.test(wire.message)) return "usage";
  if (wire.message.startsWith("node capability surface is awaiting ")) return "surface-approval-required";
  return wire.code === "UNAVAILABLE" ? "failed" : "protocol";
}

/** What 2026.9.6 says while it takes no connections yet, and while it takes no calls any more. */
function isBetweenStarts(reason: unknown): boolean {
  return reason === "startup-sidecars" || reason === "gateway-restarting";
}

const commandPolicyReasons = new Set([
  "command not allowlisted",
  "command not declared by node",
  "node did not declare commands",
]);

const methodFailures: ReadonlyMap<string, FailureCode> = new Map<string, FailureCode>([
  ["MISSING_SCOPE", "scope-missing"],
  ["SCOPES_NOT_APPROVED", "scope-missing"],
  ["NOT_CONNECTED", "node-offline"],
  ["SURFACE_NOT_APPROVED", "surface-approval-required"],
  ["PAIRING_CHANGED", "surface-approval-required"],
  ["UNKNOWN_REQUEST", "not-found"],
  ["UNKNOWN_DEVICE", "not-found"],
  ["UNKNOWN_NODE", "not-found"],
  ["REQUEST_SUPERSEDED", "superseded"],
  ["REQUEST_RESOLVED", "conflict"],
  ["UNKNOWN_INVITE", "not-found"],
  ["INVITE_ENDED", "conflict"],
  ["PUBLIC_URL_REQUIRED", "usage"],
]);
