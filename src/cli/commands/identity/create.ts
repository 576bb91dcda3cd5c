/** `openclaw identity create` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { describeIdentity } from "../../identity-summary.ts";

export function createCommand(context: Context): Command {
  return defineCommand("create", "make this machine's identity now; one that is there is never replaced", [
    "openclaw identity create",
    "openclaw identity create --secret-store keychain",
  ]).action(async () => {
    const { createIdentityFile } = await import("../../../state/identity-file.ts");
    const path = context.paths().identity;
    const secrets = await context.secrets();
    const identity = await createIdentityFile(path, context.runtime, secrets);
    const value = { ...describeIdentity(identity, path), secretStore: await secrets.placement() };
    context.output.result(value, ({ deviceId }) => `Created device ${deviceId}`);
    const { store, why } = value.secretStore;
    context.output.note(`its private key is in ${store === "file" ? "a file" : "the keychain"}: ${why}`);
  });
}
