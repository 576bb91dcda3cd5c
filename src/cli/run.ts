/** One command line: build the tree, run the command, turn whatever comes back into an exit code. */
import { Context, type ContextOptions } from "./context.ts";
import { buildProgram } from "./program.ts";

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
    const { fail } = await import("./fail.ts");
    return await fail(context, argv, error);
  } finally {
    context.close();
  }
}
