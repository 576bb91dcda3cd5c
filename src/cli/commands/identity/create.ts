/** `openclaw identity create` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { describeIdentity } from "../../identity-summary.ts";

export function createCommand(context: Context): Command {
  return defineCommand("create", "make this machine's identity now; one that is there is never replaced", [
    "openclaw identity create",
  ]).action(async () => {
    const { createIdentityFile } = await import("../../../state/identity-file.ts");
    const path = context.paths().identity;
    const identity = await createIdentityFile(path, context.runtime);
    context.output.result(describeIdentity(identity, path), ({ deviceId }) => `Created device ${deviceId}`);
  });
}
