/** This machine's own device token at a gateway: rotate it, write it down, prove it. */
import { connectGateway } from "../client/connect-gateway.ts";
import { originOf } from "../client/open-session.ts";
import { OpenClawError } from "../errors.ts";
import { describePlatform } from "../node/platform.ts";
import type { MethodResults } from "../protocol/methods.ts";
import type { Role } from "../protocol/vocabulary.ts";
import { Secret } from "../secret.ts";
import { version } from "../version.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

/**
 * Rotates over a session that the old token opened, which is the one case in which a gateway hands out the new one; stores it before
 * anything else can fail, then proves it with a fresh connection.
 */
export async function rotateOwnToken(
  context: Context,
  flags: TargetFlags,
  role: Role,
  scopes: readonly string[] | undefined,
): Promise<MethodResults["device.token.rotate"]> {
  const target = await context.target(flags);
  const identity = await context.identity();
  const memory = await context.tokens();
  const key = { gateway: originOf(target.address.url), deviceId: identity.deviceId, role };
  const remembered = await memory.recall(key);
  if (remembered === undefined) {
    throw new OpenClawError("credential-missing", `this machine holds no ${role} token of ${key.gateway}`, {
      hint: "ask for pairing first, and have it approved",
      fix: `openclaw pair request --role ${role}`,
    });
  }
  const connect = (secret: Secret) =>
    connectGateway({
      gateway: target.address,
      client: {
        id: role === "node" ? "node-host" : "cli",
        mode: role === "node" ? "node" : "cli",
        version,
        ...describePlatform(process.platform),
      },
      role,
      scopes: role === "operator" ? remembered.scopes : [],
      identity,
      credential: { kind: "deviceToken", secret },
      timeoutMs: context.timeoutMs,
      signal: context.oneShotSignal,
      callDefaults: { timeoutMs: context.timeoutMs, signal: context.oneShotSignal },
      runtime: context.runtime,
    });
  await using session = await connect(remembered.token);
  const rotated = await session.call("device.token.rotate", {
    deviceId: identity.deviceId,
    role,
    ...(scopes === undefined ? {} : { scopes: [...scopes] }),
  });
  if (rotated.token === undefined) {
    throw new OpenClawError("failed", "the gateway rotated the token but did not hand out the new one", {
      hint: "the next connection with the gateway's own token brings it",
      details: { deviceId: identity.deviceId, role },
    });
  }
  const token = new Secret(rotated.token);
  await memory.remember(key, { token, scopes: rotated.scopes, updatedAtMs: rotated.rotatedAtMs });
  await using _proof = await connect(token);
  return rotated;
}
