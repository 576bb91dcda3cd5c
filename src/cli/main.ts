/** argv -> exit code. The only way into the CLI and the only way out of it. */
import { writeSync } from "node:fs";
import { version } from "../version.ts";
import type { ContextOptions } from "./context.ts";
import { readyHelp } from "./ready-help.ts";

/** Runs this process's command line and sets its exit code. */
export async function main(): Promise<void> {
  const argv = process.argv.slice(2);
  const ready = asksForVersion(argv) ? `openclaw ${version}\n` : readyHelp(argv);
  if (ready !== undefined) return writeReady(ready);
  const { runProcess } = await import("./process.ts");
  await runProcess(argv);
}

/** Runs one command line in this process: what `main` does, without touching the process. Returns the exit code. */
export async function runCli(argv: readonly string[], options: ContextOptions): Promise<number> {
  if (asksForVersion(argv)) {
    options.streams.stdout.write(`openclaw ${version}\n`);
    return 0;
  }
  const { runCommandLine } = await import("./run.ts");
  return runCommandLine(argv, options);
}

function asksForVersion(argv: readonly string[]): boolean {
  return argv.length === 1 && (argv[0] === "--version" || argv[0] === "-V");
}

/** Straight to the file descriptor: making a stream of it takes longer than all the rest. */
function writeReady(text: string): void {
  try {
    writeSync(1, text);
  } catch {
    // nobody reads it
  }
}
