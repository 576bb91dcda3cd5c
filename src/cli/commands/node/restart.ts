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
      const { requireService, serviceName, steeredManager, viewService } = await import("../../service-host.ts");
      const { moved, startedService } = await import("../../service-steps.ts");
      const manager = steeredManager(context);
      const owner = await requireService(context, manager, serviceName(label));
      const { node, state } = await startedService(context, manager, owner.name, "restart");
      moved(context, await viewService(manager, owner, state), node);
    });
}
