/** `openclaw devices list` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { listDevices, showDeviceRequest } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { ago, list } from "../../human.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function listCommand(context: Context): Command {
  return withTarget(
    defineCommand("list", "devices that are paired, and requests that wait", ["openclaw devices list --json"]),
  ).action(async (flags: TargetFlags) => {
    const found = await asOperator(context, flags, ["operator.pairing"], listDevices);
    const value = { pending: found.pending.map(showDeviceRequest), paired: found.paired };
    context.output.result(value, ({ pending, paired }) =>
      [...pendingPart(context, pending), ...pairedPart(context, paired)].join("\n"),
    );
  });
}

type Shown = ReturnType<typeof showDeviceRequest>;

function pendingPart(context: Context, pending: readonly Shown[]): string[] {
  if (pending.length === 0) return [];
  const columns = ["REQUEST", "DEVICE", "NAME", "ROLE", "SCOPES", "FROM", "ASKED"].map((title) => ({
    title,
    keep: title === "REQUEST" || title === "DEVICE",
  }));
  const rows = pending.map((request) => [
    request.requestId,
    request.fingerprint,
    request.displayName ?? request.clientId,
    request.role,
    list(request.scopes),
    request.remoteIp ?? "",
    ago(request.ts, context.runtime.now()),
  ]);
  return ["Waiting for approval (openclaw devices approve <request>):", context.output.table(columns, rows), ""];
}

function pairedPart(context: Context, paired: Awaited<ReturnType<typeof listDevices>>["paired"]): string[] {
  if (paired.length === 0) return ["No devices are paired."];
  const columns = ["DEVICE", "NAME", "ROLES", "CONNECTED", "SEEN"].map((title) => ({
    title,
    keep: title === "DEVICE",
  }));
  const rows = paired.map((device) => [
    device.deviceId,
    device.operatorLabel ?? device.displayName ?? device.clientId,
    list(device.roles),
    device.connected ? "yes" : "no",
    device.connected ? "now" : ago(device.lastSeenAtMs, context.runtime.now()),
  ]);
  return ["Paired devices:", context.output.table(columns, rows)];
}
