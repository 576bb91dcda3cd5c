/** `openclaw identity move` */
import { type Command, Option } from "commander";
import type { StoreName } from "../../../state/secret-store.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function moveCommand(context: Context): Command {
  return defineCommand("move", "put the private key and the device tokens into the keychain, or back into files", [
    "openclaw identity move --to keychain",
    "openclaw identity move --to file --json",
  ])
    .addOption(
      new Option("--to <store>", "where to; what is there already stays")
        .choices(["keychain", "file"])
        .makeOptionMandatory(),
    )
    .action(async ({ to }: { readonly to: StoreName }) => {
      const { moveSecrets } = await import("../../../state/move-secrets.ts");
      const moved = await moveSecrets({
        identityPath: context.paths().identity,
        tokens: await context.tokens(),
        secrets: await context.secrets(),
        to,
        runtime: context.runtime,
      });
      context.output.result(moved, ({ deviceId, from, tokens }) => {
        const place = to === "file" ? "a file" : "the keychain";
        const key =
          from === to ? `The key of ${deviceId} is in ${place} already` : `The key of ${deviceId} is in ${place} now`;
        return `${key}; ${tokens === 0 ? "no token" : `${tokens} token${tokens === 1 ? "" : "s"}`} had to be moved`;
      });
    });
}
