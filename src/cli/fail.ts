/** The way out of a command line that did not succeed: its report in the form that was asked for, and its exit code. */
import { OpenClawError } from "../errors.ts";
import type { Context } from "./context.ts";
import { describeFailure, describeInterruption } from "./failure.ts";
import { Interruption } from "./signals.ts";
import { suggestCommand } from "./suggest-command.ts";

/** Says what was thrown. Resolves with the exit code; help that was asked for is no failure. */
export async function fail(context: Context, argv: readonly string[], thrown: unknown): Promise<number> {
  const complaint = parserComplaint(thrown);
  if (complaint?.exitCode === 0) return 0;
  const interruption = interruptionOf(context, thrown);
  if (interruption !== undefined) {
    // With exit code 0 nobody reads on, and a document that says otherwise would reach nobody.
    if (interruption.exitCode !== 0) context.output.failure(describeInterruption(interruption));
    return interruption.exitCode;
  }
  const error = complaint === undefined ? thrown : await usageFailure(context, argv, complaint);
  const report = describeFailure(error, context.isDebugging, (command) => context.pasteable(command));
  context.output.failure(report);
  return report.exitCode;
}

/** Whatever a command fails with after it was asked to stop, it fails because of that. */
function interruptionOf({ options: { signal } }: Context, thrown: unknown): Interruption | undefined {
  if (thrown instanceof Interruption) return thrown;
  return signal.aborted && signal.reason instanceof Interruption ? signal.reason : undefined;
}

interface ParserComplaint {
  readonly code: string;
  readonly exitCode: number;
  readonly message: string;
}

/** A `CommanderError`, told by its code: command lines that failed without the parser do not load it for this. */
function parserComplaint(thrown: unknown): ParserComplaint | undefined {
  if (!(thrown instanceof Error && "code" in thrown && "exitCode" in thrown)) return undefined;
  const { code, exitCode, message } = thrown;
  if (typeof code !== "string" || !code.startsWith("commander.") || typeof exitCode !== "number") return undefined;
  return { code, exitCode, message };
}

/** The parser's complaint as one of ours; its suggestion becomes the hint. */
async function usageFailure(
  context: Context,
  argv: readonly string[],
  { code, message }: ParserComplaint,
): Promise<OpenClawError> {
  if (code === "commander.help") {
    return new OpenClawError("usage", "a command is missing here", { hint: "--help lists them" });
  }
  const [first = "", suggestion] = message
    .replace(/^error: /u, "")
    .replace(/\.$/u, "")
    .split("\n");
  const near = suggestion?.replace(/^\(|\)$/gu, "").replace(/^Did/u, "did");
  const elsewhere =
    near === undefined && code === "commander.unknownCommand" ? await suggestCommand(context, argv) : undefined;
  return new OpenClawError("usage", first, {
    hint: near ?? (elsewhere === undefined ? "see --help" : `did you mean openclaw ${elsewhere}?`),
  });
}
