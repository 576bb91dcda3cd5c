/** `openclaw pair verify` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { SetupCode } from "../../../protocol/setup-code.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { span } from "../../human.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly codeFile?: string;
  readonly online?: boolean;
}

export function verifyCommand(context: Context): Command {
  return withTarget(
    defineCommand("verify", "look at an invite without using it: where it leads, until when, with which certificate", [
      "openclaw pair verify --code-file invite.txt",
      "openclaw pair verify --code-file invite.txt --online",
    ])
      .argument(
        "[code]",
        "the code, or its oc-pair:// link; - reads it from standard input; asked for when it is missing",
      )
      .option("--code-file <path>", "a file with the code, or - for stdin")
      .option("--online", "also ask the gateway whether it is still good"),
  ).action(async (text: string | undefined, flags: Flags) => {
    const { assertNotExpired, readCodeArgument } = await import("../../setup-code-option.ts");
    const { digest } = await import("../../../secret.ts");
    const code = await readCodeArgument(context, text, flags.codeFile);
    const nowMs = context.runtime.now();
    assertNotExpired(code, nowMs);
    const { bootstrapToken, ...shown } = code;
    const invite = flags.online === true ? await ask(context, flags, code) : undefined;
    const value = { ...shown, digest: digest(bootstrapToken), ...(invite === undefined ? {} : { invite }) };
    context.output.result(value, () => describe(code, value.digest, nowMs, invite));
  });
}

/** What the gateway says of it. A dead one is `bootstrap-invalid`, with the gateway's reason. */
async function ask(context: Context, flags: TargetFlags, code: SetupCode) {
  const { gatewayOfCode } = await import("../../code-target.ts");
  const { inspectInvite } = await import("../../inspect-invite.ts");
  const { target } = await gatewayOfCode(context, flags, code);
  const invite = await inspectInvite(context, target, code.bootstrapToken);
  const mine = await context.knownIdentity();
  const { forDeviceId } = invite;
  if (forDeviceId === undefined || mine === undefined || forDeviceId === mine.deviceId) return invite;
  throw new OpenClawError("bootstrap-invalid", `the invite is for another key (device ${forDeviceId.slice(0, 8)})`, {
    hint: `this machine is device ${mine.deviceId.slice(0, 8)}; have one made with --for ${mine.deviceId}`,
    details: { forDeviceId, deviceId: mine.deviceId },
  });
}

type Invite = Awaited<ReturnType<typeof ask>>;

function describe(code: SetupCode, secretDigest: string, nowMs: number, invite: Invite | undefined): string {
  const { url, urls, expiresAtMs, tlsFingerprint } = code;
  const others = urls.filter((other) => other !== url);
  const left = expiresAtMs === undefined ? "not said" : `in ${span(expiresAtMs - nowMs)}`;
  return [
    `gateway   ${url}`,
    ...others.map((other) => `  or      ${other}`),
    `expires   ${left}`,
    `pin       ${tlsFingerprint ?? "none"}`,
    `secret    ${secretDigest}`,
    ...(invite === undefined ? [] : describeInvite(invite)),
  ].join("\n");
}

function describeInvite({ role, displayName, forDeviceId, commands }: Invite): readonly string[] {
  return [
    `invite    good, for a ${role}${displayName === undefined ? "" : ` that is to be called ${displayName}`}`,
    ...(forDeviceId === undefined ? [] : [`  only    device ${forDeviceId}`]),
    ...(commands === undefined ? [] : [`  may     ${commands.join(", ")}`]),
  ];
}
