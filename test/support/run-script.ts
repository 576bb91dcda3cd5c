/** Starting scripts of this directory as processes of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";

/** A running script; its standard output is there to be read, what it complains about goes to ours. */
export function startScript(name: string, ...args: string[]) {
  return spawn(process.execPath, [join(import.meta.dirname, name), ...args], { stdio: ["ignore", "pipe", "inherit"] });
}

/** Runs a script to its end and returns what it printed. */
export async function runScript(name: string, ...args: string[]): Promise<string> {
  const child = startScript(name, ...args);
  const [printed, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  if (code !== 0) throw new Error(`${name} ended with ${code}`);
  return printed;
}

/** Kills a process the hard way and resolves once it is gone. */
export async function killNow(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/** The lines a script prints, as they come. */
export function linesOf(child: ReturnType<typeof startScript>): AsyncIterable<string> {
  return createInterface({ input: child.stdout });
}
