/** `openclaw identity show` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { describeIdentity } from "../../identity-summary.ts";
import { inWords, secretStatus } from "../../secret-status.ts";

export function showCommand(context: Context): Command {
  return defineCommand("show", "this machine's device id, fingerprint and public key, and where its secrets are", [
    "openclaw identity show --json",
  ])
    .option("--show", "the private key too; keep it to yourself")
    .action(async (flags: { readonly show?: boolean }) => {
      const path = context.paths().identity;
      const identity = await context.knownIdentity();
      if (identity === undefined) {
        throw new OpenClawError("not-found", "this machine has no identity yet", {
          hint: "one is made at the first connection, or now",
          fix: "openclaw identity create",
          details: { path },
        });
      }
      const summary = describeIdentity(identity, path);
      const secretStore = await secretStatus(context);
      const whole = flags.show === true ? await wholeIdentity(context) : undefined;
      const secret: unknown = whole === undefined ? undefined : JSON.parse(whole);
      context.output.result({ ...summary, secretStore, ...(secret === undefined ? {} : { identity: secret }) }, () =>
        [
          `device id    ${summary.deviceId}`,
          `fingerprint  ${summary.fingerprint}`,
          `public key   ${summary.publicKey}`,
          `file         ${summary.path}`,
          ...(secretStore === undefined ? [] : [`secrets      ${inWords(secretStore)}`]),
          ...(whole === undefined ? [] : ["", whole.trimEnd()]),
        ].join("\n"),
      );
    });
}

/** The file of this identity as it is when everything is in it. */
async function wholeIdentity(context: Context): Promise<string> {
  const { formatIdentity } = await import("../../../identity/device-identity.ts");
  return formatIdentity(await context.identity());
}
