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
      const { requireService, serviceName, steeredManager, viewService } = await import("../../service-host.ts");
      const { moved, startedService } = await import("../../service-steps.ts");
      const manager = steeredManager(context);
      const owner = await requireService(context, manager, serviceName(label));
      const { node, state } = await startedService(context, manager, owner.name, "start");
      moved(context, await viewService(manager, owner, state), node);
    });
}
