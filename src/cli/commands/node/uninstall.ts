/** `openclaw node uninstall` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function uninstallCommand(context: Context): Command {
  return defineCommand("uninstall", "stop the service of this machine's node and remove it with its secrets", [
    "openclaw node uninstall",
    "openclaw node uninstall cloud --json",
  ])
    .argument("[name]", "the name that the service was installed with")
    .action(async (label: string | undefined) => {
      const { leftService, ownService, requireService, serviceName, steeredManager } =
        await import("../../service-host.ts");
      const { removeService } = await import("../../service-steps.ts");
      const manager = steeredManager(context);
      const name = serviceName(label);
      const known = (await ownService(context, manager, name)) ?? leftService(context, name);
      const owner = known ?? (await requireService(context, manager, name));
      const { unit } = manager.unitOf(name);
      context.output.result({ unit, ...(await removeService(context, manager, owner)) }, ({ removed, stopped }) =>
        [`${stopped ? "stopped and removed" : "removed"} ${unit}`, ...removed.map((path) => `  ${path}`)].join("\n"),
      );
    });
}
