/** `openclaw node install` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { addNodeOptions, type NodeFlags } from "../../node-options.ts";
import { addSshOptions } from "../../ssh-options.ts";

interface Flags extends NodeFlags {
  readonly start: boolean;
}

export function installCommand(context: Context): Command {
  const command = defineCommand(
    "install",
    "keep openclaw node run going as a service of this user (systemd, launchd), its secrets in a 0600 file; run it again with all its options to change one",
    [
      "openclaw node install --url wss://gateway.example --token-file token --header-file edge-headers",
      "openclaw node install cloud --tunnel me@cloud.example --token-file token --allow git",
      "openclaw node install --pair-file invite.txt --no-start",
    ],
  ).argument("[name]", "a name of its own, for a second service beside the first");
  addNodeOptions(command, "7d").option("--no-start", "only write the service's files; openclaw node start starts it");
  return addSshOptions(command).action(async (label: string | undefined, flags: Flags) => {
    const { planService } = await import("../../service-plan.ts");
    const { ownService, serviceName, steeredManager } = await import("../../service-host.ts");
    const { droppedSecrets, installed, noteLimits, startedService, writeService } =
      await import("../../service-steps.ts");
    const name = serviceName(label);
    const manager = steeredManager(context);
    const known = await ownService(context, manager, name);
    const plan = await planService(context, name, command, flags);
    if (flags.start) await manager.assertReachable();
    const dropped = known === undefined ? [] : await droppedSecrets(plan);
    await writeService(manager, plan);
    const made = {
      updated: known !== undefined,
      gateway: plan.gateway,
      secrets: Object.keys(plan.secrets),
      ...(dropped.length === 0 ? {} : { dropped }),
    };
    const start = flags.start ? await startedService(context, manager, name, "restart") : undefined;
    await noteLimits(context, manager, plan);
    await installed(context, manager, plan.spec.owner, made, start);
  });
}
