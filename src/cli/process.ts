/** This process as the home of one command line: its signals, its streams, its exit code. */
import { runCommandLine } from "./run.ts";
import { listenForSignals } from "./signals.ts";

/** Runs the command line and sets the exit code. */
export async function runProcess(argv: readonly string[]): Promise<void> {
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
  const exitCode = await runCommandLine(argv, {
    env: process.env,
    streams: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr },
    signal: signals.signal,
  });
  process.exitCode ||= exitCode;
  signals.stop();
}
