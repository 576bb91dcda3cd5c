/** A program of its own that connects to a gateway as an operator with a device key, prints what became of it, and ends. */
import { createServer } from "node:net";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { isFailure } from "../../src/errors.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { Secret } from "../../src/secret.ts";

const [url = "", token = "", mode = "direct", kind = "token"] = process.argv.slice(2);
if (mode === "listening") await listenTo(createServer());
try {
  await using session = await connectGateway({
    gateway: { url },
    client: { id: "openclaw-linux", mode: "ui", version: "1", platform: "linux", deviceFamily: "Linux" },
    role: "operator",
    scopes: ["operator.read"],
    identity: createIdentity(systemRuntime.random(32), 0),
    credential: { kind: kind === "bootstrapToken" ? kind : "token", secret: new Secret(token) },
    timeoutMs: 10_000,
  });
  process.stdout.write(`in: ${session.hello.auth?.scopes.join(",")}\n`);
} catch (error) {
  process.stdout.write(`out: ${isFailure(error) ? error.code : String(error)}\n`);
}
process.exit(0);

async function listenTo(server: ReturnType<typeof createServer>): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
}
