/** `openclaw node start` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function startCommand(context: Context): Command {
  return defineCommand(
    "start",
    "start the service of this machine's node, now and whenever its user's session begins",
    ["openclaw node start", "openclaw node start cloud --json"],
  )
    .argument("[name]", "the name that the service was installed with")
    .action(async (label: string | undefined) => {
      const { bringUp } = await import("../../service-steps.ts");
      await bringUp(context, label, "start");
    });
}
