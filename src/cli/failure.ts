/** From anything thrown to what the shell sees: exit code, the lines on stderr, the object under --json. Pure. */
import { OpenClawError } from "../errors.ts";
import { exitCodes, exitNames } from "./exit-codes.ts";

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

/** What is not an `OpenClawError` is our own bug, and is called that; its stack shows with `debug`. */
export function describeFailure(thrown: unknown, debug = false): FailureReport {
  const failure = thrown instanceof OpenClawError ? thrown : internal(thrown);
  const { code, message, hint, fix, details } = failure;
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
