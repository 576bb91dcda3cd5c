/** `openclaw pair invite` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { collect, defineCommand } from "../../globals.ts";
import { span } from "../../human.ts";
import type { InviteFlags, MadeInvite } from "../../make-invite.ts";
import { asOperator } from "../../operator.ts";
import { withTarget } from "../../target-options.ts";

export function inviteCommand(context: Context): Command {
  return withTarget(
    defineCommand("invite", "make a code by which one node gets in and is approved: good once, for a few minutes", [
      "openclaw pair invite --public-url wss://gateway.example:18789 --display-name kitchen",
      "openclaw pair invite --public-url wss://gateway.example:18789 --ttl 1h --json",
    ])
      .option("--role <role>", "node: others ask for approval with pair request", "node")
      .option("--ttl <duration>", "how long it is good (default: 10m)")
      .option("--display-name <name>", "what the node is called here, whatever it calls itself")
      .option("--public-url <url>", "the address that goes into the code: where the node reaches this gateway")
      .option("--for <device>", "the id of the only device that may use it")
      .option(
        "--command <command>",
        "the most that it approves of what the node offers; repeatable (default: all)",
        collect,
      ),
  ).action(async (flags: InviteFlags) => {
    const { makeInvite, readInviteFlags } = await import("../../make-invite.ts");
    const wanted = readInviteFlags(flags);
    const made = await asOperator(context, flags, ["operator.admin"], (session) =>
      makeInvite(context, flags, wanted, session),
    );
    const { isLoopbackHost } = await import("../../../config/address.ts");
    const { protocol, hostname } = new URL(made.url);
    if (protocol === "ws:" && !isLoopbackHost(hostname)) {
      context.output.warn(
        "without TLS its secret can be read on the way there: our nodes use it with --insecure-ws only",
      );
    }
    const { stdout } = context.streams;
    const qr = stdout.isTTY === true ? await drawing(made.link, stdout.columns ?? 80) : undefined;
    context.output.result(made, (value) => describe(value, context.runtime.now(), qr));
  });
}

function describe(
  { code, url, expiresAtMs, inviteId, tlsFingerprint, forDeviceId }: MadeInvite,
  nowMs: number,
  qr?: string,
): string {
  const left = expiresAtMs === undefined ? "" : ` for ${span(expiresAtMs - nowMs)}`;
  return [
    ...(qr === undefined ? [] : [qr]),
    `Invite for one node, good once${left}`,
    `  gateway  ${url}`,
    ...(tlsFingerprint === undefined ? [] : [`  pin      ${tlsFingerprint}`]),
    ...(forDeviceId === undefined ? [] : [`  only     device ${forDeviceId}`]),
    ...(inviteId === undefined ? [] : [`  id       ${inviteId}`]),
    "",
    code,
    "",
    "On the other machine: openclaw pair join, which asks for the code; then openclaw node run",
    ...(inviteId === undefined ? [] : [`To take it back: openclaw pair withdraw ${inviteId}`]),
  ].join("\n");
}

/** The link for a camera; undefined where the terminal is too narrow for it. */
async function drawing(link: string, columns: number): Promise<string | undefined> {
  const { renderUnicodeCompact } = await import("uqr");
  const text = renderUnicodeCompact(link, { border: 2 });
  return (text.split("\n")[0]?.length ?? 0) <= columns ? text : undefined;
}
