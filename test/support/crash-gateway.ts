/**
 * A gateway that approves and rotates without a pause, and says on stdout what it has promised: one JSON line after each change
 * that was acknowledged. It is meant to be killed in the middle of it. argv: store path, seed of the life's device keys.
 */
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { createGateway } from "../../src/gateway/index.ts";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import { isFailure } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";

const [storePath = "", life = ""] = process.argv.slice(2);
const token = "crash-test-token";
const gateway = await createGateway({ store: storePath, tokenKey: Buffer.alloc(32, 3), auth: { token } });

const credential = { kind: "token", secret: new Secret(token) } as const;
const client = { id: "node-host", mode: "node", version: "1", platform: "linux", deviceFamily: "Linux" };
const node = {
  gateway: { url: gateway.url },
  client,
  role: "node",
  scopes: [],
  credential,
  timeoutMs: 20_000,
} as const;

const operator = await connectGateway({
  gateway: { url: gateway.url },
  client: { id: "gateway-client", mode: "backend", version: "1", platform: "linux" },
  role: "operator",
  scopes: ["operator.admin", "operator.pairing"],
  credential,
  timeoutMs: 20_000,
});

/** Written with a system call of its own: what stands in the pipe was acknowledged, whatever happens next. */
function promise(line: Readonly<Record<string, string>>): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

for (let number = 0; ; number++) {
  const seed = createHash("sha256").update(`${life}/${number}`).digest();
  const identity = createIdentity(seed, Date.now());
  const { deviceId } = identity;
  const refused: unknown = await connectGateway({ ...node, identity }).catch((error: unknown) => error);
  const requestId = isFailure(refused, "pairing-required") ? String(refused.details?.["requestId"]) : "";
  await operator.call("device.pair.approve", { requestId });
  promise({ approved: deviceId });
  for (let rotations = 0; rotations < 3; rotations++) {
    await operator.call("device.token.rotate", { deviceId, role: "node" });
    await using session = await connectGateway({ ...node, identity });
    promise({ device: deviceId, token: session.hello.auth?.deviceToken ?? "" });
  }
}
