/** `openclaw devices clear` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { listDevices } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asOperator } from "../../operator.ts";
import { rejection } from "../../rejection.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly yes?: boolean;
  readonly pending?: boolean;
}

export function clearCommand(context: Context): Command {
  return withTarget(
    defineCommand("clear", "forget every device, or reject every request", [
      "openclaw devices clear --pending --yes",
      "openclaw devices clear --yes",
    ])
      .option("--pending", "only the requests that wait")
      .option("--yes", "really do it"),
  ).action(async (flags: Flags) => {
    if (flags.yes !== true) {
      throw new OpenClawError("usage", "this would end every pairing of the gateway", {
        hint: "add --yes if that is meant",
      });
    }
    const cleared = await asOperator(context, flags, ["operator.pairing", "operator.admin"], async (session) => {
      const { pending, paired } = await listDevices(session);
      for (const { requestId } of pending)
        await session.call("device.pair.reject", rejection(session, requestId, undefined));
      const removed = flags.pending === true ? [] : paired;
      for (const { deviceId } of removed) await session.call("device.pair.remove", { deviceId });
      return { rejected: pending.map(({ requestId }) => requestId), removed: removed.map(({ deviceId }) => deviceId) };
    });
    context.output.result(
      cleared,
      ({ rejected, removed }) => `Rejected ${rejected.length} requests, removed ${removed.length} devices`,
    );
  });
}
