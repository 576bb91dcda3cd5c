/** Whether the process that wrote something down still lives: a pid alone may have passed to another one. */
import { readFile } from "node:fs/promises";
import { systemCode } from "../errors.ts";

export interface ProcessMark {
  readonly pid: number;
  /** What the system says about when the process began; empty where it does not say. */
  readonly processStart: string;
}

/** What this process writes down about itself. */
export async function ownMark(): Promise<ProcessMark> {
  return { pid: process.pid, processStart: (await statusOf(process.pid)).start };
}

/** True while the very process lives. Where the system tells no start times, true while any process has the pid. */
export async function isAlive({ pid, processStart }: ProcessMark): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (systemCode(error) !== "EPERM") return false;
  }
  const { state, start } = await statusOf(pid);
  // A process that ended keeps its pid until its parent has asked how.
  if (state === "Z" || state === "X") return false;
  return processStart === "" || start === processStart;
}

/** True where the system says that a process is stopped (SIGSTOP, or Ctrl-Z): it keeps what it has, and answers nobody. */
export async function isStopped(pid: number): Promise<boolean> {
  return (await statusOf(pid)).state === "T";
}

/** Fields 3 and 22 of /proc/<pid>/stat: state, and clock ticks from boot to the process's start (proc(5)). Empty where there is no /proc. */
async function statusOf(pid: number): Promise<{ readonly state: string; readonly start: string }> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The command name in parentheses may hold spaces and parentheses itself.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", start: fields[19] ?? "" };
}
