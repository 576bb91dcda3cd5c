/** Every way this project fails on purpose. A program switches on `code`; a person reads `message` and `hint`. */

/**
 * The closed list of failure codes. What each means, causes and costs (its exit code) is written once,
 * in `cli/failure-codes.ts`; a test keeps the two lists equal.
 */
export const failureCodes = [
  // exit 1
  "failed",
  "internal",
  "protocol",
  "invoke-failed",
  "invoke-timeout",
  "state-unreadable",
  "state-unwritable",
  "no-service-manager",
  // exit 2
  "usage",
  "config-invalid",
  // exit 3
  "unreachable",
  "tls-failed",
  "not-a-gateway",
  "timeout",
  "starting",
  "node-offline",
  // exit 4
  "unauthorized",
  "credential-missing",
  "token-mismatch",
  "password-mismatch",
  "device-token-mismatch",
  "device-identity-required",
  "device-signature-refused",
  "clock-skew",
  "bootstrap-invalid",
  "upgrade-refused",
  "insecure-transport",
  "tls-pin-mismatch",
  "host-key-changed",
  "host-key-unknown",
  // exit 5
  "pairing-required",
  "surface-approval-required",
  "pairing-rejected",
  "approval-unconfirmed",
  // exit 6
  "forbidden",
  "scope-missing",
  "command-not-allowed",
  // exit 7
  "rate-limited",
  // exit 8
  "ssh",
  "ssh-auth",
  "ssh-forward",
  // exit 9
  "conflict",
  "not-found",
  "ambiguous",
  "superseded",
  "port-in-use",
  "locked",
  // exit 10
  "incompatible",
] as const;

export type FailureCode = (typeof failureCodes)[number];

/** Whether this is one of our codes, and not one of another version. */
export function isFailureCode(code: unknown): code is FailureCode {
  return failureCodes.some((known) => known === code);
}

export interface FailureOptions {
  /** What a person should do next, as a sentence fragment. */
  readonly hint?: string | undefined;
  /** A command line that can be pasted. */
  readonly fix?: string | undefined;
  /** Facts a program may want: ids, addresses, durations in milliseconds. Never a secret. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly cause?: unknown;
}

/** A failure we foresaw. Anything else that is thrown is our own bug and is reported as `internal`. */
export class OpenClawError extends Error {
  readonly code: FailureCode;
  readonly hint?: string;
  readonly fix?: string;
  readonly details?: Readonly<Record<string, unknown>>;

  constructor(code: FailureCode, message: string, { hint, fix, details, cause }: FailureOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "OpenClawError";
    this.code = code;
    if (hint !== undefined) this.hint = hint;
    if (fix !== undefined) this.fix = fix;
    if (details !== undefined) this.details = details;
  }
}

/** True for a failure with this code (or any of ours, when no code is given). */
export function isFailure(error: unknown, ...codes: FailureCode[]): error is OpenClawError {
  return error instanceof OpenClawError && (codes.length === 0 || codes.includes(error.code));
}

/** The system's error code (`ECONNREFUSED`, `EACCES`, …) of anything thrown, looked for along its causes. */
export function systemCode(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if ("code" in at && typeof at.code === "string" && !(at instanceof OpenClawError)) return at.code;
    if (at instanceof AggregateError && at.errors.length > 0) return systemCode(at.errors[0]);
  }
  return undefined;
}
