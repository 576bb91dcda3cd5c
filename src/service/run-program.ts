/** One run of a service manager's own program: its answer, or that there is no such program. */
import { execFile } from "node:child_process";
import { isFailure, OpenClawError, systemCode } from "../errors.ts";

export interface ProgramResult {
  /** `missing`: there is no such program. */
  readonly code: number | "missing";
  readonly stdout: string;
  readonly stderr: string;
}

export type RunProgram = (program: string, words: readonly string[]) => Promise<ProgramResult>;

/**
 * Runs programs in this environment, in plain English and without a pager. When `signal` (asked for at each run) is aborted, the program is
 * ended and the run rejects with the signal's reason; a `timeout` names the program that did not answer.
 */
export function programsIn(env: Readonly<Record<string, string | undefined>>, signal: () => AbortSignal): RunProgram {
  const plain = { ...env, LC_ALL: "C", SYSTEMD_COLORS: "0", SYSTEMD_PAGER: "" };
  return async (program, words) => {
    const until = signal();
    until.throwIfAborted();
    return new Promise((resolve, reject) => {
      const options = { env: plain, signal: until, windowsHide: true };
      const child = execFile(program, [...words], options, (error, stdout, stderr) => {
        if (error !== null && until.aborted) {
          // It was told to end; one that will not is not waited for.
          child.unref();
          reject(unanswered([program, ...words].join(" "), until.reason));
        } else resolve({ code: codeOf(error), stdout, stderr: stderr.trim() });
      });
    });
  };
}

function unanswered(command: string, reason: unknown): unknown {
  if (!isFailure(reason, "timeout")) return reason;
  return new OpenClawError("timeout", `${command} did not answer in time`, {
    hint: "what keeps this machine's services hangs, or what it was asked to do takes long: give it longer with --timeout 60s",
    details: { ...reason.details, command },
    cause: reason,
  });
}

function codeOf(error: (Error & { readonly code?: unknown }) | null): ProgramResult["code"] {
  if (error === null) return 0;
  if (systemCode(error) === "ENOENT") return "missing";
  return typeof error.code === "number" ? error.code : 1;
}
