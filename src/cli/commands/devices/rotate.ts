/** `openclaw devices rotate` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { GatewaySession } from "../../../client/gateway-session.ts";
import type { MethodResults, PairedDevice } from "../../../protocol/methods.ts";
import type { Role } from "../../../protocol/vocabulary.ts";
import type { Context } from "../../context.ts";
import { findDevice, listDevices } from "../../device-directory.ts";
import { collect, defineCommand } from "../../globals.ts";
import { asOperator, asPairingOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";
import { oneDevice, onlyRoleOf, readRole } from "../../token-choice.ts";

interface Flags extends TargetFlags {
  readonly device?: string;
  readonly self?: boolean;
  readonly all?: boolean;
  readonly role?: string;
  readonly scope?: readonly string[];
  readonly scopes?: boolean;
  readonly out?: string;
}

/** Which tokens, and what the new ones may do; without scopes they may do what the old ones could. */
interface Change {
  readonly role: Role | undefined;
  readonly scopes: readonly string[] | undefined;
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
    const change = { role: flags.role === undefined ? undefined : readRole(flags.role), scopes: scopesOf(flags) };
    if (flags.self === true) return rotateSelf(context, flags, change);
    if (flags.all === true) return rotateAll(context, flags, change);
    const device = oneDevice(wanted, flags.device);
    const rotated = await asPairingOperator(context, flags, async (session) =>
      rotate(session, findDevice(device, (await listDevices(session)).paired), change),
    );
    const delivered = await writeOut(context, rotated, flags.out);
    context.output.result({ ...shown(rotated), delivered }, sentence);
    if (!delivered) context.output.note("the device gets its new token when it next comes with the gateway's own one");
  });
}

async function rotateSelf(context: Context, flags: Flags, { role = "operator", scopes }: Change): Promise<void> {
  const { rotateOwnToken } = await import("../../own-token.ts");
  const rotated = await rotateOwnToken(context, flags, role, scopes);
  await writeOut(context, rotated, flags.out);
  context.output.result({ ...shown(rotated), delivered: true }, sentence);
}

async function rotateAll(context: Context, flags: Flags, change: Change): Promise<void> {
  const rotated = await asOperator(context, flags, ["operator.pairing", "operator.admin"], async (session) => {
    const { paired } = await listDevices(session);
    const results: Rotated[] = [];
    for (const device of paired) {
      for (const { role, revokedAtMs } of device.tokens) {
        const isMeant = revokedAtMs === undefined && (change.role === undefined || change.role === role);
        if (isMeant) results.push(await rotate(session, device, { ...change, role: readRole(role) }));
      }
    }
    return results;
  });
  context.output.result({ rotated: rotated.map(shown) }, ({ rotated: all }) =>
    all.length === 0 ? "No tokens to rotate" : all.map(sentence).join("\n"),
  );
}

function rotate(session: GatewaySession, device: PairedDevice, { role, scopes }: Change): Promise<Rotated> {
  return session.call("device.token.rotate", {
    deviceId: device.deviceId,
    role: role ?? onlyRoleOf(device),
    ...(scopes === undefined ? {} : { scopes: [...scopes] }),
  });
}

/** Commander keeps `--scope` and `--no-scopes` apart by name; together they contradict each other. */
function scopesOf({ scope, scopes }: Flags): readonly string[] | undefined {
  if (scopes !== false) return scope;
  if (scope !== undefined) throw new OpenClawError("usage", "--scope and --no-scopes contradict each other");
  return [];
}

/** Whether the new token went anywhere. */
async function writeOut(context: Context, { token }: Rotated, path: string | undefined): Promise<boolean> {
  if (path === undefined) return false;
  if (token === undefined) {
    context.output.warn(`the gateway hands a token only to its own device, so ${path} was not written`);
    return false;
  }
  await context.writeSecretFile(path, token);
  return true;
}

/** Without the token: it was stored, or written to --out, and is not for the eyes of whoever reads this terminal. */
function shown({ token: _token, ...rest }: Rotated): Omit<Rotated, "token"> {
  return rest;
}

/** 2026.3.8 lets a session live that the old token opened; gateways that close it say how the new one was delivered. */
function sentence({ deviceId, role, tokenDelivery }: Omit<Rotated, "token">): string {
  const end = tokenDelivery === undefined ? "the old one opens no new session" : "sessions with the old one are closed";
  return `Rotated the ${role} token of ${deviceId}; ${end}`;
}
