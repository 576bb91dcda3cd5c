/** `openclaw tunnel list` */
import type { Command } from "commander";
import { formatDuration } from "../../../config/duration.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { bytes } from "../../human.ts";
import type { ListedTunnel } from "../../tunnel-directory.ts";

export function listCommand(context: Context): Command {
  return defineCommand("list", "the tunnels that run on this machine, and what passed through them", [
    "openclaw tunnel list",
    "openclaw tunnel list --json",
  ]).action(async () => {
    const { listTunnels } = await import("../../tunnel-directory.ts");
    const { describeForward } = await import("../../tunnel-events.ts");
    const tunnels = await listTunnels(context);
    context.output.result({ tunnels }, (shown) => {
      if (shown.tunnels.length === 0) return "No tunnels run here.";
      const rows = shown.tunnels.flatMap((tunnel) => rowsOf(tunnel, describeForward));
      return context.output.table(columns, rows);
    });
  });
}

const columns = ["NAME", "STATE", "PID", "UP", "LOST", "FORWARD", "OPEN", "IN", "OUT"].map((title) => ({
  title,
  keep: title === "NAME" || title === "PID",
}));

type Describe = typeof import("../../tunnel-events.ts").describeForward;

/** A row for each forward; only the first one says which tunnel it is of. */
function rowsOf({ name, state, pid, uptimeMs, reconnects, forwards, problem }: ListedTunnel, describe: Describe) {
  const tunnel = [name, state, String(pid), formatDuration(uptimeMs), String(reconnects)];
  if (forwards.length === 0) return [[...tunnel, problem ?? "", "", "", ""]];
  return forwards.map((forward, at) => [
    ...(at === 0 ? tunnel : tunnel.map(() => "")),
    `${describe(forward)}${forward.problem === undefined ? "" : ` (${forward.problem})`}`,
    String(forward.activeConnections),
    bytes(forward.bytesIn),
    bytes(forward.bytesOut),
  ]);
}
