/** `openclaw devices approve` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { listDevices, showDeviceRequest } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly latest?: boolean;
  readonly yes?: boolean;
}

export function approveCommand(context: Context): Command {
  return withTarget(
    defineCommand("approve", "let a device in that waits for approval", [
      "openclaw devices approve 3f2a91c4",
      "openclaw devices approve --latest --yes",
    ])
      .argument("[request]", "its code, request id, device id or name; without one the newest request is shown")
      .option("--latest", "the newest request")
      .option("--yes", "approve the newest request without looking at it first"),
  ).action(async (wanted: string | undefined, flags: Flags) => {
    const { chooseRequest } = await import("../../choose-request.ts");
    const approved = await asPairingOperator(context, flags, async (session) => {
      const pending = (await listDevices(session)).pending.map(showDeviceRequest);
      const { requestId } = await chooseRequest(session, { pending, group: "devices" }, wanted, flags);
      return session.call("device.pair.approve", { requestId });
    });
    context.output.result(
      approved,
      ({ device }) => `Approved ${device.displayName ?? device.clientId} (${device.deviceId})`,
    );
  });
}
