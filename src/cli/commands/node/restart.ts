/** `openclaw node restart` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function restartCommand(context: Context): Command {
  return defineCommand("restart", "stop the service of this machine's node and start it anew", [
    "openclaw node restart",
    "openclaw node restart cloud --json",
  ])
    .argument("[name]", "the name that the service was installed with")
    .action(async (label: string | undefined) => {
      const { bringUp } = await import("../../service-steps.ts");
      await bringUp(context, label, "restart");
    });
}
