/** `openclaw tunnel check` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { ForwardCheck } from "../../../tunnel/report.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function checkCommand(context: Context): Command {
  return defineCommand("check", "try every forward of a tunnel from end to end", ["openclaw tunnel check cloud"])
    .argument("<name>", "the tunnel's name, or a unique beginning of it")
    .action(async (wanted: string) => {
      const { askTunnel } = await import("../../../tunnel/control-client.ts");
      const { findTunnel } = await import("../../tunnel-directory.ts");
      const { describeForward } = await import("../../tunnel-events.ts");
      const record = await findTunnel(context, wanted);
      const { forwards } = await askTunnel(record, "check", {}, context.oneShotSignal);
      const value = { name: record.name, forwards };
      const table = () =>
        context.output.table(
          ["FORWARD", "OK", "TOOK", "WHY"].map((title) => ({ title })),
          forwards.map((forward) => [describeForward(forward), ...verdict(forward)]),
        );
      const broken = forwards.filter(({ ok }) => !ok);
      if (broken.length === 0) return context.output.result(value, table);
      if (!context.output.options.json) context.output.raw(table());
      throw new OpenClawError(
        "ssh-forward",
        `${broken.length} of ${forwards.length} forwards of ${record.name} do not reach their targets`,
        { hint: broken[0]?.problem, fix: `openclaw tunnel inspect ${record.name}`, details: value },
      );
    });
}

function verdict({ ok, latencyMs, problem, note }: ForwardCheck): [ok: string, took: string, why: string] {
  return [ok ? "yes" : "no", latencyMs === undefined ? "" : `${Math.round(latencyMs)} ms`, problem ?? note ?? ""];
}
