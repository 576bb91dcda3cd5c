/** `openclaw tunnel drill` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { DrillRow } from "../../../tunnel/drill.ts";
import type { Context } from "../../context.ts";
import { collect, defineCommand } from "../../globals.ts";

/** Four faults, each with the tunnel's patience; a long keepalive needs --timeout. */
const drillMs = 10 * 60_000;

export function drillCommand(context: Context): Command {
  return defineCommand("drill", "break a second connection like the tunnel's on purpose, and measure how it heals", [
    "openclaw tunnel drill cloud",
    "openclaw tunnel drill cloud --fault cut --fault freeze",
  ])
    .argument("<name>", "the tunnel's name, or a unique beginning of it")
    .option("--fault <fault>", "cut, freeze, half-open or restart; repeatable (default: all four)", collect)
    .action(async (wanted: string, flags: { readonly fault?: readonly string[] }) => {
      const { readFaults } = await import("../../../tunnel/drill.ts");
      const { askTunnel } = await import("../../../tunnel/control-client.ts");
      const { findTunnel } = await import("../../tunnel-directory.ts");
      const faults = readFaults(flags.fault);
      const record = await findTunnel(context, wanted);
      context.extendTimeout(drillMs);
      context.output.note(
        `drilling a second connection to ${record.destination}; the tunnel ${record.name} is left alone`,
      );
      const { drills } = await askTunnel(record, "drill", { faults }, context.oneShotSignal, (row) =>
        context.output.note(describeRow(row)),
      );
      const value = { name: record.name, drills };
      const stuck = drills.filter(({ recoveredMs }) => recoveredMs === null);
      if (stuck.length === 0) return context.output.result(value, () => table(context, drills));
      if (!context.output.options.json) context.output.raw(table(context, drills));
      throw new OpenClawError(
        "ssh",
        `a tunnel to ${record.destination} does not recover from ${stuck.map(({ fault }) => fault).join(", ")}`,
        { hint: stuck[0]?.note, details: value },
      );
    });
}

function describeRow({ fault, noticedMs, recoveredMs }: DrillRow): string {
  const noticed = noticedMs === null ? "not noticed" : `noticed after ${milliseconds(noticedMs)}`;
  return `${fault}: ${noticed}, ${recoveredMs === null ? "not recovered" : `recovered after ${milliseconds(recoveredMs)}`}`;
}

function table(context: Context, drills: readonly DrillRow[]): string {
  const titles = ["FAULT", "NOTICED", "RECOVERED", "STREAMS", "LOST", "BYTES LOST", "NOTE"];
  return context.output.table(
    titles.map((title) => ({ title })),
    drills.map(({ fault, noticedMs, recoveredMs, streams, streamsLost, bytesLost, note = "" }) => [
      fault,
      milliseconds(noticedMs),
      milliseconds(recoveredMs),
      String(streams),
      String(streamsLost),
      String(bytesLost),
      note,
    ]),
  );
}

function milliseconds(ms: number | null): string {
  return ms === null ? "never" : `${Math.round(ms)} ms`;
}
