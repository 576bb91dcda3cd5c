/** `openclaw devices approve` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { listDevices, showDeviceRequest } from "../../device-directory.ts";
import type { MethodResults } from "../../../protocol/methods.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly latest?: boolean;
  readonly yes?: boolean;
  readonly local?: boolean;
}

export function approveCommand(context: Context): Command {
  return withTarget(
    defineCommand("approve", "let a device in that waits for approval", [
      "openclaw devices approve 3f2a91c4",
      "openclaw devices approve --latest --yes",
      "openclaw devices approve 3f2a91c4 --local",
    ])
      .argument("[request]", "its code, request id, device id or name; without one the newest request is shown")
      .option("--latest", "the newest request")
      .option("--yes", "approve the newest request without looking at it first")
      .option("--local", "decide on the state directory itself, as its owner: with or without a gateway that runs"),
  ).action(async (wanted: string | undefined, flags: Flags) => {
    const { chooseRequest, requestsOf } = await import("../../choose-request.ts");
    if (flags.local === true) return approveLocally(context, wanted, flags);
    const approved = await asPairingOperator(context, flags, async (session) => {
      const pending = (await listDevices(session)).pending.map(showDeviceRequest);
      const { requestId } = await chooseRequest(requestsOf(session), { pending, group: "devices" }, wanted, flags);
      return session.call("device.pair.approve", { requestId });
    });
    report(context, approved);
  });
}

/** No gateway can lock out who owns its host (auth.md § 4). */
async function approveLocally(context: Context, wanted: string | undefined, flags: Flags): Promise<void> {
  const { chooseRequest } = await import("../../choose-request.ts");
  const { refuseTarget, withLocalRecords } = await import("../../local-records.ts");
  refuseTarget(flags);
  const approved = await withLocalRecords(context, async (records) => {
    const index = { makesCodes: true, lookUp: (request: string) => records.lookUp(request) };
    const pending = records.list().pending.map(showDeviceRequest);
    const { requestId } = await chooseRequest(index, { pending, group: "devices" }, wanted, flags);
    return { requestId, device: await records.approve(requestId) };
  });
  report(context, approved);
}

function report(context: Context, approved: MethodResults["device.pair.approve"]): void {
  context.output.result(
    approved,
    ({ device }) => `Approved ${device.displayName ?? device.clientId} (${device.deviceId})`,
  );
}
