/** `openclaw tunnel inspect` */
import type { Command } from "commander";
import { parseDuration } from "../../../config/duration.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function inspectCommand(context: Context): Command {
  return defineCommand("inspect", "everything about a running tunnel: SSH, round trips, connections, history", [
    "openclaw tunnel inspect cloud",
    "openclaw tunnel inspect cloud --follow",
  ])
    .argument("<name>", "the tunnel's name, or a unique beginning of it")
    .option("--follow", "go on, with fresh numbers each time")
    .option("--interval <duration>", "how often --follow looks", "1s")
    .action(async (wanted: string, flags: { readonly follow?: boolean; readonly interval: string }) => {
      const { askTunnel } = await import("../../../tunnel/control-client.ts");
      const { findTunnel } = await import("../../tunnel-directory.ts");
      const { describeReport } = await import("../../tunnel-report.ts");
      const everyMs = parseDuration(flags.interval, "--interval");
      const record = await findTunnel(context, wanted);
      if (flags.follow !== true) {
        const report = await askTunnel(record, "report", {}, context.oneShotSignal);
        return context.output.result(report, (shown) => describeReport(context, shown));
      }
      await askTunnel(record, "follow", { everyMs }, context.options.signal, (report) =>
        context.output.frame({ event: "report", ...report }, (shown) => describeReport(context, shown)),
      );
      context.output.event({ event: "stopped" }, () => `tunnel ${record.name} was closed`);
    });
}
