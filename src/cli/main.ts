/** argv -> exit code. The only way into the CLI and the only way out of it. */
import { CommanderError } from "commander";
import { OpenClawError } from "../errors.ts";
import { version } from "../version.ts";
import { Context, type ContextOptions } from "./context.ts";
import { describeFailure } from "./failure.ts";
import { buildProgram } from "./program.ts";
import { Interruption, listenForSignals } from "./signals.ts";

/** Runs this process's command line and sets its exit code. */
export async function main(): Promise<void> {
  const argv = process.argv.slice(2);
  // A closed pipe (`openclaw … | head`) is the reader's decision and no failure of ours.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(process.exitCode ?? 0);
    });
  }
  const signals = listenForSignals(process);
  process.exitCode = await runCli(argv, {
    env: process.env,
    streams: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr },
    signal: signals.signal,
  });
  signals.stop();
}

/** Runs one command line in this process: what `main` does, without touching the process. Returns the exit code. */
export async function runCli(argv: readonly string[], options: ContextOptions): Promise<number> {
  if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-V")) {
    options.streams.stdout.write(`openclaw ${version}\n`);
    return 0;
  }
  const context = new Context(options, argv);
  try {
    const program = await buildProgram(context, argv);
    if (argv.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync([...argv], { from: "user" });
    return 0;
  } catch (error) {
    return fail(context, error);
  } finally {
    await context.close();
  }
}

function fail(context: Context, error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    return fail(context, usageFailure(error));
  }
  if (error instanceof Interruption) return error.exitCode;
  if (context.options.signal.aborted && context.options.signal.reason instanceof Interruption) {
    return context.options.signal.reason.exitCode;
  }
  const report = describeFailure(error, context.isDebugging);
  context.output.failure(report);
  return report.exitCode;
}

/** Commander's complaint as one of ours; its suggestion becomes the hint. */
function usageFailure(error: CommanderError): OpenClawError {
  if (error.code === "commander.help") {
    return new OpenClawError("usage", "a command is missing here", { hint: "--help lists them" });
  }
  const [first = "", suggestion] = error.message.replace(/^error: /u, "").split("\n");
  const hint = suggestion?.replace(/^\(|\)$/gu, "").replace(/^Did/u, "did");
  return new OpenClawError("usage", first, { hint: hint ?? "see --help" });
}
