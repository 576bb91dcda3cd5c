/** argv -> exit code. The only way into the CLI and the only way out of it. */
import { writeSync } from "node:fs";
import { version } from "../version.ts";
import type { ContextOptions } from "./context.ts";
import { listenForSignals } from "./signals.ts";

/** Runs this process's command line and sets its exit code. */
export async function main(): Promise<void> {
  const argv = process.argv.slice(2);
  if (asksForVersion(argv)) return writeVersion();
  const signals = listenForSignals(process);
  let isLost = false;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // A closed pipe (`openclaw … | head`) is the reader's decision and no failure of ours; a full disk is one.
      if (error.code === "EPIPE") return signals.interrupt("SIGPIPE");
      if (!isLost) process.stderr.write(`openclaw: cannot write the output (${error.code})\n`);
      isLost = true;
      process.exitCode = 1;
    });
  }
  const exitCode = await runCli(argv, {
    env: process.env,
    streams: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr },
    signal: signals.signal,
  });
  process.exitCode ||= exitCode;
  signals.stop();
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
function writeVersion(): void {
  try {
    writeSync(1, `openclaw ${version}\n`);
  } catch {
    // nobody reads it
  }
}
