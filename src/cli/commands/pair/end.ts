/** `openclaw pair end` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function endCommand(context: Context): Command {
  return withTarget(
    defineCommand(
      "end",
      "be one end of a link, over standard input and output; started by pair link on both machines",
      ["openclaw pair end --port 18789"],
    ),
  ).action(async (flags: TargetFlags) => {
    const { LinkEnd } = await import("../../link-end.ts");
    const { serveLine } = await import("../../../link/end-line.ts");
    await context.untilStopped(async () => {
      await using end = new LinkEnd(context, flags);
      const { stdin, stdout } = context.streams;
      await Promise.race([serveLine(stdin, stdout, end.methods()), context.untilSignal()]);
    });
  });
}
