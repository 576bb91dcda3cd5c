/** `openclaw devices remove` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { findDevice, listDevices } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function removeCommand(context: Context): Command {
  return withTarget(
    defineCommand("remove", "forget a device, with all its roles and tokens", [
      "openclaw devices remove kitchen-node",
    ]).argument("<device>", "device id, prefix or name"),
  ).action(async (wanted: string, flags: TargetFlags) => {
    const removed = await asPairingOperator(context, flags, async (session) => {
      const { deviceId } = findDevice(wanted, (await listDevices(session)).paired);
      return session.call("device.pair.remove", { deviceId });
    });
    context.output.result(removed, ({ deviceId }) => `Removed ${deviceId}`);
  });
}
