/** This machine's own device token at a gateway: rotate it, write it down beside the old one, prove it, and let go of the old one. */
import { connectGateway } from "../client/connect-gateway.ts";
import type { GatewaySession } from "../client/gateway-session.ts";
import { openSession, originOf } from "../client/open-session.ts";
import { handsOver } from "../client/token-follower.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { describePlatform } from "../node/platform.ts";
import type { MethodResults, RotationState } from "../protocol/methods.ts";
import type { Role } from "../protocol/vocabulary.ts";
import { hashSecret, Secret } from "../secret.ts";
import { version } from "../version.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

type Rotated = MethodResults["device.token.rotate"];

interface Wanted {
  readonly scopes: readonly string[] | undefined;
  readonly overlapMs: number;
}

/** Rotates over a session that the old token opened, which is the one case in which a gateway hands out the new one. */
export async function rotateOwnToken(
  context: Context,
  flags: TargetFlags,
  role: Role,
  { scopes, overlapMs }: Wanted,
): Promise<Rotated> {
  const { key, remembered, options } = await ownToken(context, flags, role);
  if (remembered === undefined) {
    throw new OpenClawError("credential-missing", `this machine holds no ${role} token of ${key.gateway}`, {
      hint: "ask for pairing first, and have it approved",
      fix: `openclaw pair request --role ${role}`,
    });
  }
  await using session = await openSession({ ...options, memory: await context.tokens() });
  const rotated = await session.call("device.token.rotate", {
    deviceId: key.deviceId,
    role,
    ...(scopes === undefined ? {} : { scopes: [...scopes] }),
    ...(handsOver(session) ? { overlapMs } : {}),
  });
  if (rotated.token === undefined) {
    throw new OpenClawError("failed", "the gateway rotated the token but did not hand out the new one", {
      hint: "the next connection with the gateway's own token brings it",
      details: { deviceId: key.deviceId, role },
    });
  }
  const state = await keepOwnToken(context, flags, session, rotated);
  return state === undefined ? rotated : { ...rotated, state };
}

/**
 * Writes a new token of this machine down before anything else can fail, and proves it with a fresh connection; only then the old one is
 * dropped from the disk. Resolves with how far it has come, where the gateway keeps count of that.
 */
export async function keepOwnToken(
  context: Context,
  flags: TargetFlags,
  session: GatewaySession,
  rotated: Rotated,
): Promise<RotationState | undefined> {
  const { key, remembered, options } = await ownToken(context, flags, rotated.role === "node" ? "node" : "operator");
  const memory = await context.tokens();
  const token = new Secret(rotated.token ?? "");
  const settled = { token, scopes: rotated.scopes, updatedAtMs: rotated.rotatedAtMs };
  await memory.remember(key, { ...settled, previous: remembered?.token });
  try {
    if (handsOver(session)) await sayDelivered(session, token);
    const scopes = key.role === "operator" ? rotated.scopes : [];
    await using _proof = await connectGateway({
      ...options,
      scopes,
      credential: { kind: "deviceToken", secret: token },
    });
  } catch (error) {
    if (!isFailure(error)) throw error;
    const { code, message, details } = error;
    throw new OpenClawError(code, `the new token is stored, and could not be proven: ${message}`, {
      hint: "the old one is kept beside it; the next command that connects takes whichever works",
      details,
      cause: error,
    });
  }
  await memory.remember(key, settled);
  return handsOver(session) ? "confirmed" : undefined;
}

/**
 * Fetches the new token of this machine's node: the old one, which works meanwhile, opens a connection that brings it, and a second one
 * proves it. Only gateways of ours keep both that long.
 */
export async function fetchOwnNodeToken(context: Context, flags: TargetFlags): Promise<void> {
  const { key, options } = await ownToken(context, flags, "node");
  const memory = await context.tokens();
  // A node's own connection is not pushed aside by a probe.
  const client = { ...options.client, id: "node-host", mode: "probe" };
  for (const _time of ["fetch", "prove"]) {
    await using _session = await openSession({ ...options, client, scopes: [], memory });
  }
  const stored = await memory.recall(key);
  if (stored !== undefined && stored.previous === undefined) return;
  throw new OpenClawError("failed", "the gateway rotated the token but did not hand out the new one", {
    hint: "the old one works until its time is over; start the node once before that",
    details: { deviceId: key.deviceId, role: "node" },
  });
}

/** Without an overlap the gateway may have ended this session already; the proof says as much. */
async function sayDelivered(session: GatewaySession, token: Secret): Promise<void> {
  try {
    await session.call("device.token.delivered", { tokenHash: hashSecret(token.reveal()) });
  } catch (error) {
    if (!isFailure(error, "unreachable")) throw error;
  }
}

/** Which token it is, what is remembered of it, and how to connect with it. */
async function ownToken(context: Context, flags: TargetFlags, role: Role) {
  const target = await context.target(flags);
  const gateway = originOf(target.address.url);
  const identity = await context.identityAt(gateway);
  const key = { gateway, deviceId: identity.deviceId, role };
  const remembered = await (await context.tokens()).recall(key);
  const options = {
    gateway: target.address,
    client: { id: "cli", mode: "cli", version, ...describePlatform(process.platform) },
    role,
    scopes: remembered?.scopes ?? [],
    identity,
    timeoutMs: context.timeoutMs,
    signal: context.oneShotSignal,
    callDefaults: { timeoutMs: context.timeoutMs, signal: context.oneShotSignal },
    runtime: context.runtime,
  };
  return { key, remembered, options };
}
