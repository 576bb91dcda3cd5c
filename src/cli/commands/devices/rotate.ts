/** `openclaw devices rotate` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { GatewaySession } from "../../../client/gateway-session.ts";
import type { MethodResults, PairedDevice } from "../../../protocol/methods.ts";
import type { Context } from "../../context.ts";
import { findDevice, listDevices } from "../../device-directory.ts";
import { collect, defineCommand } from "../../globals.ts";
import { asOperator } from "../../operator.ts";
import { rotateOwnToken } from "../../own-token.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";
import { oneDevice, roleOf } from "../../token-choice.ts";

interface Flags extends TargetFlags {
  readonly device?: string;
  readonly self?: boolean;
  readonly all?: boolean;
  readonly role?: string;
  readonly scope?: readonly string[];
  readonly scopes?: boolean;
  readonly out?: string;
}

type Rotated = MethodResults["device.token.rotate"];

export function rotateCommand(context: Context): Command {
  return withTarget(
    defineCommand("rotate", "replace a device's token; the old one ends at once", [
      "openclaw devices rotate kitchen-node --role node",
      "openclaw devices rotate --self",
    ])
      .argument("[device]", "device id, prefix or name")
      .option("--device <device>", "the same, as an option")
      .option("--self", "this machine's own token; the new one is stored and proven before this reports success")
      .option("--all", "every token of every device")
      .option("--role <role>", "operator or node; not needed when the device has one role")
      .option("--scope <scope>", "scopes of the new token, within what is approved; repeatable", collect)
      .option("--no-scopes", "a token without scopes")
      .option("--out <file>", "write the new token there, 0600, if the gateway hands it out"),
  ).action(async (wanted: string | undefined, flags: Flags) => {
    const named = [wanted ?? flags.device, flags.self, flags.all].filter((one) => one !== undefined && one !== false);
    if (named.length !== 1) throw new OpenClawError("usage", "name one of: a device, --self, --all");
    if (flags.self === true) return rotateSelf(context, flags);
    if (flags.all === true) return rotateAll(context, flags);
    const rotated = await asOperator(context, flags, ["operator.pairing", "operator.admin"], async (session) => {
      const device = findDevice(oneDevice(wanted, flags.device), (await listDevices(session)).paired);
      return rotate(session, device, flags);
    });
    await writeOut(context, rotated, flags.out);
    return context.output.result(shown(rotated), sentence);
  });
}

async function rotateSelf(context: Context, flags: Flags): Promise<void> {
  const rotated = await rotateOwnToken(context, flags, flags.role ?? "operator", scopesOf(flags));
  await writeOut(context, rotated, flags.out);
  context.output.result({ ...shown(rotated), delivered: true }, sentence);
}

async function rotateAll(context: Context, flags: Flags): Promise<void> {
  const rotated = await asOperator(context, flags, ["operator.pairing", "operator.admin"], async (session) => {
    const { paired } = await listDevices(session);
    const results: Rotated[] = [];
    for (const device of paired) {
      for (const { role, revokedAtMs } of device.tokens) {
        const isMeant = revokedAtMs === undefined && (flags.role === undefined || flags.role === role);
        if (isMeant) results.push(await rotate(session, device, { ...flags, role }));
      }
    }
    return results;
  });
  context.output.result({ rotated: rotated.map(shown) }, ({ rotated: all }) =>
    all.length === 0 ? "No tokens to rotate" : all.map(sentence).join("\n"),
  );
}

function rotate(session: GatewaySession, device: PairedDevice, flags: Flags): Promise<Rotated> {
  const scopes = scopesOf(flags);
  return session.call("device.token.rotate", {
    deviceId: device.deviceId,
    role: roleOf(device, flags.role),
    ...(scopes === undefined ? {} : { scopes: [...scopes] }),
  });
}

/** Commander keeps `--scope` and `--no-scopes` apart by name; together they contradict each other. */
function scopesOf({ scope, scopes }: Flags): readonly string[] | undefined {
  if (scopes !== false) return scope;
  if (scope !== undefined) throw new OpenClawError("usage", "--scope and --no-scopes contradict each other");
  return [];
}

async function writeOut(context: Context, { token }: Rotated, path: string | undefined): Promise<void> {
  if (path === undefined) return;
  if (token === undefined) {
    context.output.warn(`the gateway hands a token only to its own device, so ${path} was not written`);
    return;
  }
  await context.writeSecretFile(path, token);
}

/** Without the token: it was stored, or written to --out, and is not for the eyes of whoever reads this terminal. */
function shown({ token: _token, ...rest }: Rotated): Omit<Rotated, "token"> {
  return rest;
}

function sentence({ deviceId, role }: Omit<Rotated, "token">): string {
  return `Rotated the ${role} token of ${deviceId}; sessions with the old one are closed`;
}
