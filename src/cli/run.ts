/** One command line: build the tree, run the command, turn whatever comes back into an exit code. */
import { CommanderError } from "commander";
import { OpenClawError } from "../errors.ts";
import { Context, type ContextOptions } from "./context.ts";
import { buildProgram } from "./program.ts";
import { Interruption } from "./signals.ts";

/** Runs one command line in this process: failures come out as their report. Returns the exit code. */
export async function runCommandLine(argv: readonly string[], options: ContextOptions): Promise<number> {
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
    return await fail(context, error);
  } finally {
    context.close();
  }
}

async function fail(context: Context, error: unknown): Promise<number> {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    return fail(context, usageFailure(error));
  }
  if (error instanceof Interruption) return error.exitCode;
  if (context.options.signal.aborted && context.options.signal.reason instanceof Interruption) {
    return context.options.signal.reason.exitCode;
  }
  const { describeFailure } = await import("./failure.ts");
  const report = describeFailure(error, context.isDebugging);
  context.output.failure(report);
  return report.exitCode;
}

/** Commander's complaint as one of ours; its suggestion becomes the hint. */
function usageFailure(error: CommanderError): OpenClawError {
  if (error.code === "commander.help") {
    return new OpenClawError("usage", "a command is missing here", { hint: "--help lists them" });
  }
  const [first = "", suggestion] = error.message
    .replace(/^error: /u, "")
    .replace(/\.$/u, "")
    .split("\n");
  const hint = suggestion?.replace(/^\(|\)$/gu, "").replace(/^Did/u, "did");
  return new OpenClawError("usage", first, { hint: hint ?? "see --help" });
}
