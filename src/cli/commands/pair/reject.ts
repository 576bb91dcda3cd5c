/** `openclaw pair reject` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { findRequest } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { listPending } from "../../pending-requests.ts";
import { rejection } from "../../rejection.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function rejectCommand(context: Context): Command {
  return withTarget(
    defineCommand("reject", "turn a request of either layer down", [
      "openclaw pair reject 3f2a91c4 --reason 'unknown machine'",
    ])
      .argument("<request>", "its code, request id, device id or name")
      .option("--reason <text>", "told to the device"),
  ).action(async (wanted: string, flags: TargetFlags & { readonly reason?: string }) => {
    const rejected = await asPairingOperator(context, flags, async (session) => {
      const request = findRequest(wanted, await listPending(session), "openclaw pair list");
      const params = rejection(session, request.requestId, flags.reason);
      if (request.layer === "surface") await session.call("node.pair.reject", params);
      else await session.call("device.pair.reject", params);
      return { requestId: request.requestId, deviceId: request.deviceId, layer: request.layer };
    });
    context.output.result(rejected, ({ requestId }) => `Rejected request ${requestId}`);
  });
}
