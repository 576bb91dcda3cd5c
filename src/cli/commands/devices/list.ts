/** `openclaw devices list` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { listDevices, nameToShow, showDeviceRequest } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { ago, list } from "../../human.ts";
import { asOperator, noteWhatIsHidden } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function listCommand(context: Context): Command {
  return withTarget(
    defineCommand("list", "devices that are paired, and requests that wait", [
      "openclaw devices list --json",
      "openclaw devices list --local",
    ]).option("--local", "read the state directory itself, as its owner: with or without a gateway that runs"),
  ).action(async (flags: Flags) => {
    const found = flags.local === true ? await listLocally(context, flags) : await askGateway(context, flags);
    const value = { pending: found.pending.map(showDeviceRequest), paired: found.paired };
    context.output.result(value, ({ pending, paired }) =>
      [...pendingPart(context, pending), ...pairedPart(context, paired)].join("\n"),
    );
  });
}

interface Flags extends TargetFlags {
  readonly local?: boolean;
}

type Listed = Awaited<ReturnType<typeof listDevices>>;

function askGateway(context: Context, flags: Flags): Promise<Listed> {
  return asOperator(context, flags, ["operator.pairing"], async (session) => {
    noteWhatIsHidden(context, session);
    return listDevices(session);
  });
}

async function listLocally(context: Context, flags: Flags): Promise<Listed> {
  const { refuseTarget, withLocalRecords } = await import("../../local-records.ts");
  refuseTarget(flags);
  return withLocalRecords(context, (records) => records.list());
}

type Paired = Listed["paired"][number];

/** Whether it is connected, and when it was seen; 2026.3.8 tells neither. */
function presence({ connected, lastSeenAtMs }: Paired, nowMs: number): [connected: string, seen: string] {
  if (connected === undefined) return ["unknown", lastSeenAtMs === undefined ? "unknown" : ago(lastSeenAtMs, nowMs)];
  return connected ? ["yes", "now"] : ["no", ago(lastSeenAtMs, nowMs)];
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
    nameToShow(request),
    request.role,
    list(request.scopes),
    request.remoteIp ?? "",
    ago(request.ts, context.runtime.now()),
  ]);
  return ["Waiting for approval (openclaw devices approve <request>):", context.output.table(columns, rows), ""];
}

function pairedPart(context: Context, paired: readonly Paired[]): string[] {
  if (paired.length === 0) return ["No devices are paired."];
  const columns = ["DEVICE", "NAME", "ROLES", "CONNECTED", "SEEN"].map((title) => ({
    title,
    keep: title === "DEVICE",
  }));
  const rows = paired.map((device) => [
    device.deviceId,
    nameToShow(device),
    list(device.roles),
    ...presence(device, context.runtime.now()),
  ]);
  return ["Paired devices:", context.output.table(columns, rows)];
}
