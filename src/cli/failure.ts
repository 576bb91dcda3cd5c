/** From anything thrown to what the shell sees: exit code, the lines on stderr, the object under --json. Pure. */
import { formatDuration } from "../config/duration.ts";
import { OpenClawError } from "../errors.ts";
import { exitCodes, exitNames } from "./exit-codes.ts";
import type { Interruption } from "./signals.ts";

export interface FailureReport {
  readonly exitCode: number;
  /** The value of `error` under --json. */
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly hint?: string;
    readonly fix?: string;
    readonly details?: Readonly<Record<string, unknown>>;
  };
  /** `openclaw: …`, `hint: …`, `fix: …`. */
  readonly lines: readonly string[];
}

/**
 * What is not an `OpenClawError` is our own bug, and is called that; its stack shows with `debug`. `pasteable` makes the command of the
 * fix lead to where this one went; one for the gateway's host (`details.fixOn`) stays as it is.
 */
export function describeFailure(
  thrown: unknown,
  debug = false,
  pasteable = (command: string) => command,
): FailureReport {
  const failure = thrown instanceof OpenClawError ? thrown : internal(thrown);
  const { code, message, details } = failure;
  const hint = withWait(failure);
  const isForElsewhere = details?.["fixOn"] === "gateway";
  const fix = failure.fix === undefined || isForElsewhere ? failure.fix : pasteable(failure.fix);
  const stack = debug ? stackLines(thrown) : [];
  return {
    exitCode: exitCodes[exitNames[code]],
    error: {
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
      ...(fix === undefined ? {} : { fix }),
      ...(details === undefined ? {} : { details }),
    },
    lines: [
      `openclaw: ${message}`,
      ...(hint === undefined ? [] : [`hint: ${hint}`]),
      ...(fix === undefined ? [] : [`fix: ${fix}`]),
      ...stack,
    ],
  };
}

/** A command that was told to stop before it had its answer. Who pressed Ctrl-C knows; who reads JSON is told. */
export function describeInterruption({ message, signal, exitCode }: Interruption): FailureReport {
  return { exitCode, error: { code: "failed", message, details: { signal } }, lines: [] };
}

/** The hint of a failure after which one has to wait says for how long, too. */
function withWait({ code, hint, details }: OpenClawError): string | undefined {
  const waitMs = details?.["retryAfterMs"];
  if (code !== "rate-limited" || typeof waitMs !== "number") return hint;
  const wait = `try again in ${formatDuration(Math.ceil(waitMs / 1000) * 1000)}`;
  return hint === undefined ? wait : `${hint}; ${wait}`;
}

function internal(thrown: unknown): OpenClawError {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new OpenClawError("internal", `this is a bug in openclaw: ${text}`, {
    hint: "run the command again with --debug and report what it prints",
    cause: thrown,
  });
}

function stackLines(thrown: unknown): string[] {
  const lines: string[] = [];
  for (let at = thrown, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    lines.push(`${depth === 0 ? "" : "caused by: "}${at.stack ?? at.message}`);
  }
  return lines;
}
