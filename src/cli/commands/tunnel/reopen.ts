/** `openclaw tunnel reopen` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function reopenCommand(context: Context): Command {
  return defineCommand("reopen", "replace a tunnel's SSH connection without losing a byte", [
    "openclaw tunnel reopen cloud",
    "openclaw tunnel reopen cloud --reason 'new key'",
  ])
    .argument("<name>", "the tunnel's name, or a unique beginning of it")
    .option("--reason <text>", "what to write into the tunnel's history", "asked for by tunnel reopen")
    .action(async (wanted: string, { reason }: { readonly reason: string }) => {
      const { askTunnel } = await import("../../../tunnel/control-client.ts");
      const { findTunnel } = await import("../../tunnel-directory.ts");
      // A whole new connection, with whatever it takes to log in.
      context.extendTimeout(30_000);
      const record = await findTunnel(context, wanted);
      await askTunnel(record, "reopen", { reason }, context.oneShotSignal);
      const report = await askTunnel(record, "report", {}, context.oneShotSignal);
      const { name, pid, state, draining, ssh } = report;
      context.output.result({ name, pid, state, draining, ...(ssh === undefined ? {} : { ssh }) }, (shown) =>
        shown.draining === 0
          ? `${shown.name} has a new connection`
          : `${shown.name} has a new connection; ${shown.draining} streams end on the old one`,
      );
    });
}
