/** `openclaw devices service-account …` */
import type { Command } from "commander";
import { shellWord } from "../../../shell-word.ts";
import type { Context } from "../../context.ts";
import { collect, defineCommand, defineGroup } from "../../globals.ts";

interface Flags {
  readonly scope?: readonly string[];
  readonly out?: string;
  readonly url?: string;
  readonly tlsFingerprint?: string;
}

export function serviceAccountCommand(context: Context): Command {
  return defineGroup(
    context,
    undefined,
    "service-account",
    "keys of their own for programs that work without a person",
    ["openclaw devices service-account create backup --scope operator.read"],
    { create: createCommand },
  );
}

function createCommand(context: Context): Command {
  return defineCommand(
    "create",
    "on the gateway's host, as its owner: make a key, approve it, and write it with its token to a state directory, for --state-dir or OPENCLAW_STATE_DIR",
    [
      "openclaw devices service-account create backup --scope operator.read",
      "openclaw devices service-account create ci --scope operator.write --out /etc/ci/openclaw --url wss://gw.example:18789",
    ],
  )
    .argument("<name>", "what it is called in devices list")
    .option("--scope <scope>", "what it may do, such as operator.read; repeatable", collect)
    .option("--out <directory>", "the state directory to make, 0700; it must not exist (default: ./<name>)")
    .option("--url <url>", "how the program reaches the gateway (default: this machine's own way)")
    .option("--tls-fingerprint <sha256>", "the only certificate that it accepts there")
    .action(async (name: string, { scope = [], ...flags }: Flags) => {
      const { makeServiceAccount } = await import("../../make-service-account.ts");
      const made = await makeServiceAccount(context, { name, scopes: scope, ...flags });
      const use = `openclaw gateway status --state-dir ${shellWord(made.stateDir)}`;
      context.output.result({ ...made, use }, ({ deviceId, scopes, stateDir, url }) =>
        [
          `Made ${name}, device ${deviceId}, with ${scopes.join(", ")}`,
          `  state    ${stateDir} (toolkit/identity has its key and its token, 0600)`,
          `  gateway  ${url}`,
          `  try it   ${use}`,
        ].join("\n"),
      );
    });
}
