/** What a process has cost so far, as Linux counts it in /proc (proc(5)). */
import { readFileSync } from "node:fs";

/** CPU time of all its threads in milliseconds, in the kernel too, to the nearest hundredth of a second. */
export function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The command name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * (1000 / ticksPerSecond);
}

/** Memory in use now, in MiB: what ps(1) calls rss. */
export function residentMibOf(pid: number): number {
  return statusKib(pid, "VmRSS") / 1024;
}

/** The most memory it ever had in use, in MiB. */
export function peakResidentMibOf(pid: number): number {
  return statusKib(pid, "VmHWM") / 1024;
}

// USER_HZ, which is 100 on every architecture that Node.js runs on.
const ticksPerSecond = 100;

function statusKib(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1]);
}
