/** An operator's program in a process of its own: connects with a new key and prints how that went. argv: url, secret file, another port. */
import { readFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { once } from "node:events";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { isFailure } from "../../src/errors.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { Secret } from "../../src/secret.ts";

const [url = "", secretFile = "", otherPort = ""] = process.argv.slice(2);
// A second connection to somewhere else makes this program one that could be passing on somebody else's words.
const other = otherPort === "" ? undefined : connectTcp({ host: "127.0.0.1", port: Number(otherPort) });
if (other !== undefined) await once(other, "connect");

const outcome = await connectGateway({
  gateway: { url },
  client: { id: "openclaw-tui", mode: "ui", version: "1", platform: "linux" },
  role: "operator",
  scopes: ["operator.read"],
  identity: createIdentity(systemRuntime.random(32), Date.now()),
  credential: { kind: "token", secret: new Secret(readFileSync(secretFile, "utf8").trim()) },
  timeoutMs: 20_000,
}).then(
  async (session) => {
    await session.close();
    return "admitted";
  },
  (error: unknown) => (isFailure(error) ? error.code : String(error)),
);
other?.destroy();
process.stdout.write(`${outcome}\n`);
