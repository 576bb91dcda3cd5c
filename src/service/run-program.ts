/** One run of a service manager's own program: its answer, or that there is no such program. */
import { execFile } from "node:child_process";
import { systemCode } from "../errors.ts";

export interface ProgramResult {
  /** `missing`: there is no such program; `silent`: it did not end in time. */
  readonly code: number | "missing" | "silent";
  readonly stdout: string;
  readonly stderr: string;
}

export type RunProgram = (program: string, words: readonly string[]) => Promise<ProgramResult>;

/** Stopping a service may take it all its time; nothing else takes this long. */
const timeoutMs = 30_000;

/** Runs programs in this environment, in plain English and without a pager. */
export function programsIn(env: Readonly<Record<string, string | undefined>>): RunProgram {
  const plain = { ...env, LC_ALL: "C", SYSTEMD_COLORS: "0", SYSTEMD_PAGER: "" };
  return (program, words) =>
    new Promise((resolve) => {
      execFile(program, [...words], { env: plain, timeout: timeoutMs, windowsHide: true }, (error, stdout, stderr) => {
        resolve({ code: codeOf(error), stdout, stderr: stderr.trim() });
      });
    });
}

function codeOf(error: (Error & { readonly code?: unknown; readonly killed?: boolean }) | null): ProgramResult["code"] {
  if (error === null) return 0;
  if (error.killed === true) return "silent";
  if (systemCode(error) === "ENOENT") return "missing";
  return typeof error.code === "number" ? error.code : 1;
}
