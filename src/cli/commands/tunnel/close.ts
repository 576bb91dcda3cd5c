/** `openclaw tunnel close` */
import type { Command } from "commander";
import { isFailure, OpenClawError } from "../../../errors.ts";
import type { TunnelRecord } from "../../../state/tunnel-record.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function closeCommand(context: Context): Command {
  return defineCommand("close", "close a running tunnel", [
    "openclaw tunnel close cloud",
    "openclaw tunnel close --all",
  ])
    .argument("[name]", "the tunnel's name, or a unique beginning of it")
    .option("--all", "every tunnel that runs on this machine")
    .action(async (wanted: string | undefined, { all = false }: { readonly all?: boolean }) => {
      const { findTunnel, recordsOf } = await import("../../tunnel-directory.ts");
      if (all === (wanted !== undefined)) {
        throw new OpenClawError("usage", all ? "a name and --all are both given" : "which tunnel is to be closed?", {
          hint: "name one, or give --all; openclaw tunnel list shows them",
        });
      }
      const records = wanted === undefined ? await recordsOf(context) : [await findTunnel(context, wanted)];
      const ends = await Promise.allSettled(records.map((record) => closeOne(context, record)));
      const failed = ends.find((end) => end.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      const closed = records.map(({ name, pid }) => ({ name, pid }));
      // Who named one reads its answer where other commands have it.
      const value = { ...(wanted === undefined ? {} : closed[0]), closed };
      context.output.result(value, (shown) =>
        shown.closed.length === 0
          ? "No tunnels run here."
          : shown.closed.map(({ name }) => `Closed ${name}`).join("\n"),
      );
    });
}

/** Closes it; one that ended by itself meanwhile is closed as well. */
async function closeOne(context: Context, record: TunnelRecord): Promise<void> {
  const { closeTunnel } = await import("../../../tunnel/control-client.ts");
  const { recordsOf, silentTunnel } = await import("../../tunnel-directory.ts");
  const { isStopped } = await import("../../../store/process-life.ts");
  if (await isStopped(record.pid)) throw await silentTunnel(record);
  try {
    await closeTunnel(record, context.oneShotSignal);
  } catch (error) {
    if (isFailure(error, "timeout")) throw await silentTunnel(record, error);
    const remaining = isFailure(error, "not-found") ? await recordsOf(context) : [record];
    if (!remaining.some(({ nonce }) => nonce === record.nonce)) return;
    throw isFailure(error, "not-found") ? await silentTunnel(record, error) : error;
  }
}
