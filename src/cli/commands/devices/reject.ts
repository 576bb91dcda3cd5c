/** `openclaw devices reject` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { findRequest, listDevices, showDeviceRequest } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { rejection } from "../../rejection.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function rejectCommand(context: Context): Command {
  return withTarget(
    defineCommand("reject", "turn a device away that waits for approval", [
      "openclaw devices reject 3f2a91c4 --reason 'not one of ours'",
    ])
      .argument("<request>", "its code, request id, device id or name")
      .option("--reason <text>", "told to the device"),
  ).action(async (wanted: string, flags: TargetFlags & { readonly reason?: string }) => {
    const rejected = await asPairingOperator(context, flags, async (session) => {
      const pending = (await listDevices(session)).pending.map(showDeviceRequest);
      const { requestId } = findRequest(wanted, pending, "openclaw devices list");
      return session.call("device.pair.reject", rejection(session, requestId, flags.reason));
    });
    context.output.result(rejected, ({ requestId }) => `Rejected request ${requestId}`);
  });
}
