/** `openclaw devices rename` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { findDevice, listDevices } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function renameCommand(context: Context): Command {
  return withTarget(
    defineCommand("rename", "give a device a name that people know it by", ["openclaw devices rename 3f2a91c4 kitchen"])
      .argument("<device>", "device id, prefix or name")
      .argument("<name>", "the new name, at most 64 characters"),
  ).action(async (wanted: string, name: string, flags: TargetFlags) => {
    const renamed = await asPairingOperator(context, flags, async (session) => {
      const { deviceId } = findDevice(wanted, (await listDevices(session)).paired);
      return session.call("device.pair.rename", { deviceId, label: name });
    });
    const value = { deviceId: renamed.deviceId, label: renamed.label, displayName: renamed.label };
    context.output.result(value, ({ deviceId, label }) => `Renamed ${deviceId} to ${label}`);
  });
}
