/** `openclaw devices rotate` */
import type { Command } from "commander";
import { parseDuration } from "../../../config/duration.ts";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { collect, defineCommand } from "../../globals.ts";
import type { MovedToken, RotationOrder } from "../../rotation.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";
import { oneDevice, readRole } from "../../token-choice.ts";

interface Flags extends TargetFlags {
  readonly device?: string;
  readonly self?: boolean;
  readonly all?: boolean;
  readonly role?: string;
  readonly scope?: readonly string[];
  readonly scopes?: boolean;
  readonly overlap?: string;
  readonly now?: boolean;
  readonly critical?: readonly string[];
  readonly yes?: boolean;
  readonly out?: string;
}

/** Long enough for a node that restarts, short enough for a token that somebody may have seen. */
const defaultOverlapMs = 10 * 60_000;
/** A device that is not connected has to come first: a laptop in a drawer should not be locked out by the time it is opened. */
const defaultAwayOverlapMs = 7 * 24 * 60 * 60_000;

export function rotateCommand(context: Context): Command {
  return withTarget(
    defineCommand("rotate", "replace a device's token; the old one ends when the device uses the new one", [
      "openclaw devices rotate kitchen-node --role node",
      "openclaw devices rotate --all --role node --overlap 24h --critical kitchen-node",
      "openclaw devices rotate kitchen-node --now",
      "openclaw devices rotate --self",
    ])
      .argument("[device]", "device id, prefix or name")
      .option("--device <device>", "the same, as an option")
      .option("--self", "this machine's own token; the new one is stored and proven before this reports success")
      .option("--all", "every token of every device")
      .option("--role <role>", "operator or node; not needed when the device has one role")
      .option("--scope <scope>", "scopes of the new token, within what is approved; repeatable", collect)
      .option("--no-scopes", "a token without scopes")
      .option(
        "--overlap <duration>",
        "how long the old token works beside a new one that is not used yet (default: 10m, and 7d for a device that is away)",
      )
      .option("--now", "no overlap: the old token ends at once")
      .option(
        "--critical <device>",
        "its old token stays valid until it has moved; fails if it did not move in time; repeatable",
        collect,
      )
      .option("--yes", "go on where the gateway can only cut devices off")
      .option("--out <file>", "write the new token there, 0600, if the gateway hands it out"),
  ).action(async (wanted: string | undefined, flags: Flags) => {
    const named = [wanted ?? flags.device, flags.self, flags.all].filter((one) => one !== undefined && one !== false);
    if (named.length !== 1) throw new OpenClawError("usage", "name one of: a device, --self, --all");
    const order = readOrder(flags);
    const rotation = await import("../../rotation.ts");
    if (flags.all === true) return reportAll(context, await rotation.rotateAll(context, flags, order));
    const moved =
      flags.self === true
        ? await rotation.rotateSelf(context, flags, order)
        : await rotation.rotateDevice(context, flags, order, oneDevice(wanted, flags.device));
    await report(context, flags, moved);
  });
}

function readOrder(flags: Flags): RotationOrder {
  const { overlap, now = false, critical = [], yes = false } = flags;
  if (now && overlap !== undefined) throw new OpenClawError("usage", "--now and --overlap contradict each other");
  if (now && critical.length > 0) {
    throw new OpenClawError("usage", "--now and --critical contradict each other", {
      hint: "--now ends the old token at once, --critical keeps it until the device has moved",
    });
  }
  const given = overlap === undefined ? undefined : parseDuration(overlap, "--overlap");
  return {
    role: flags.role === undefined ? undefined : readRole(flags.role),
    scopes: scopesOf(flags),
    overlapMs: now ? 0 : (given ?? defaultOverlapMs),
    overlapAwayMs: now ? 0 : (given ?? defaultAwayOverlapMs),
    mustOverlap: overlap !== undefined || critical.length > 0,
    critical,
    isAgreed: yes,
  };
}

/** Commander keeps `--scope` and `--no-scopes` apart by name; together they contradict each other. */
function scopesOf({ scope, scopes }: Flags): readonly string[] | undefined {
  if (scopes !== false) return scope;
  if (scope !== undefined) throw new OpenClawError("usage", "--scope and --no-scopes contradict each other");
  return [];
}

async function report(context: Context, flags: Flags, moved: MovedToken): Promise<void> {
  const wasWritten = await writeOut(context, moved, flags.out);
  const nowMs = context.runtime.now();
  const delivered = wasWritten || moved.isOwn || (moved.state !== undefined && moved.state !== "pending");
  context.output.result({ ...shown(moved), delivered }, () => sentence(moved, nowMs));
  if (!delivered && moved.state === undefined) {
    context.output.note("the device gets its new token when it next comes with the gateway's own one");
  }
}

function reportAll(context: Context, moved: readonly MovedToken[]): void {
  const nowMs = context.runtime.now();
  const devices = moved.map(({ deviceId, name, role, state, overlapUntilMs, isOwn }) => ({
    deviceId,
    ...(name === undefined ? {} : { name }),
    role,
    state: state ?? (isOwn ? ("confirmed" as const) : ("pending" as const)),
    ...(overlapUntilMs === undefined ? {} : { overlapUntilMs }),
  }));
  const count = (wanted: string) => devices.filter(({ state }) => state === wanted).length;
  const summary = { confirmed: count("confirmed"), delivered: count("delivered"), pending: count("pending") };
  context.output.result({ rotated: moved.map(shown), devices, summary }, () =>
    moved.length === 0
      ? "No tokens to rotate"
      : [
          ...moved.map((one) => sentence(one, nowMs)),
          `${moved.length} rotated: ${summary.confirmed} confirmed, ${summary.delivered} delivered, ${summary.pending} pending`,
        ].join("\n"),
  );
}

/** Whether the new token went anywhere. */
async function writeOut(context: Context, { token }: MovedToken, path: string | undefined): Promise<boolean> {
  if (path === undefined) return false;
  if (token === undefined) {
    context.output.warn(`the gateway hands a token only to its own device, so ${path} was not written`);
    return false;
  }
  await context.writeSecretFile(path, token);
  return true;
}

/** Without the token: it was stored, or written to --out, and is not for the eyes of whoever reads this terminal. */
function shown({ token: _token, name: _name, isOwn: _isOwn, isCritical: _isCritical, ...rest }: MovedToken) {
  return rest;
}

function sentence(moved: MovedToken, nowMs: number): string {
  return `Rotated the ${moved.role} token of ${moved.deviceId}; ${whatFollows(moved, nowMs)}`;
}

/** 2026.3.8 lets a session live that the old token opened; gateways that close it say how the new one was delivered. */
function whatFollows({ state, tokenDelivery, overlapUntilMs = 0, isCritical }: MovedToken, nowMs: number): string {
  if (state === undefined) {
    return tokenDelivery === undefined ? "the old one opens no new session" : "sessions with the old one are closed";
  }
  if (state === "confirmed") return "confirmed: it uses the new one, and the old one is void";
  const has = state === "delivered" ? "delivered, and not used yet" : "pending: it has not taken the new one yet";
  if (isCritical) return `${has}; the old one works until it does`;
  return overlapUntilMs <= nowMs
    ? `${has}; the old one is void`
    : `${has}; the old one works until ${new Date(overlapUntilMs).toISOString()}`;
}
