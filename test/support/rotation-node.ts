/**
 * A node that has nothing but its device token, and is meant to be killed while it moves to a new one. argv: gateway's URL, file of tokens,
 * seed of its key in hex, and where it kills itself: `before <n>` or `after <n>` its n-th write of a token.
 */
import { writeSync } from "node:fs";
import type { RememberedToken, TokenKey } from "../../src/client/open-session.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import { runNode } from "../../src/node/index.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { TokenFile } from "../../src/state/token-memory.ts";

const [url = "", tokenPath = "", seed = "", when = "never", number = "0"] = process.argv.slice(2);
let writes = 0;

class MortalTokens extends TokenFile {
  override async remember(key: TokenKey, token: RememberedToken): Promise<void> {
    const isTheOne = ++writes === Number(number);
    if (isTheOne && when === "before") process.kill(process.pid, "SIGKILL");
    await super.remember(key, token);
    if (isTheOne && when === "after") process.kill(process.pid, "SIGKILL");
  }
}

await runNode({
  gateway: { url },
  identity: createIdentity(Buffer.from(seed, "hex"), 0),
  memory: new MortalTokens(tokenPath, systemRuntime),
  handlers: { "system.which": async (params) => params },
  runtime: { ...systemRuntime, sleep: (ms, signal) => systemRuntime.sleep(Math.min(ms, 50), signal) },
  onEvent: (event) => void writeSync(1, `${JSON.stringify(event)}\n`),
});
