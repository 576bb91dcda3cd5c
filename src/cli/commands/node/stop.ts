/** `openclaw node stop` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function stopCommand(context: Context): Command {
  return defineCommand(
    "stop",
    "stop the service of this machine's node, until it is started or the next session begins",
    ["openclaw node stop", "openclaw node stop cloud --json"],
  )
    .argument("[name]", "the name that the service was installed with")
    .action(async (label: string | undefined) => {
      const { requireService, serviceName, steeredManager, viewService } = await import("../../service-host.ts");
      const { moved } = await import("../../service-steps.ts");
      const manager = steeredManager(context);
      const owner = await requireService(context, manager, serviceName(label));
      await manager.stop(owner.name);
      moved(context, await viewService(manager, owner));
    });
}
