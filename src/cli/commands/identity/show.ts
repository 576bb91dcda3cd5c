/** `openclaw identity show` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { describeIdentity } from "../../identity-summary.ts";

export function showCommand(context: Context): Command {
  return defineCommand("show", "this machine's device id, fingerprint and public key", [
    "openclaw identity show --json",
  ])
    .option("--show", "the private key too; keep it to yourself")
    .action(async (flags: { readonly show?: boolean }) => {
      const { formatIdentity } = await import("../../../identity/device-identity.ts");
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
      const secret: unknown = flags.show === true ? JSON.parse(formatIdentity(identity)) : undefined;
      context.output.result({ ...summary, ...(secret === undefined ? {} : { identity: secret }) }, () =>
        [
          `device id    ${summary.deviceId}`,
          `fingerprint  ${summary.fingerprint}`,
          `public key   ${summary.publicKey}`,
          `file         ${summary.path}`,
          ...(flags.show === true ? ["", formatIdentity(identity).trimEnd()] : []),
        ].join("\n"),
      );
    });
}
