/** `openclaw devices revoke` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { findDevice, listDevices } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";
import { oneDevice, onlyRoleOf, readRole } from "../../token-choice.ts";

interface Flags extends TargetFlags {
  readonly device?: string;
  readonly role?: string;
}

export function revokeCommand(context: Context): Command {
  return withTarget(
    defineCommand("revoke", "end a role of a device at once; it has to be approved again", [
      "openclaw devices revoke kitchen-node --role node",
    ])
      .argument("[device]", "device id, prefix or name")
      .option("--device <device>", "the same, as an option")
      .option("--role <role>", "operator or node; not needed when the device has one role"),
  ).action(async (wanted: string | undefined, flags: Flags) => {
    const named = oneDevice(wanted, flags.device);
    const role = flags.role === undefined ? undefined : readRole(flags.role);
    const revoked = await asPairingOperator(context, flags, async (session) => {
      const device = findDevice(named, (await listDevices(session)).paired);
      return session.call("device.token.revoke", { deviceId: device.deviceId, role: role ?? onlyRoleOf(device) });
    });
    context.output.result(revoked, ({ deviceId, role }) => `Revoked the ${role} token of ${deviceId}`);
  });
}
