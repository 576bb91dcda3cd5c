/**
 * A session as operator, for one command. On the gateway's own host with its secret that is the gateway's backend client, which needs no
 * device key; anywhere else, and through tunnels, it is this machine's device. Which of the two is found out by asking.
 */
import { connectGateway } from "../client/connect-gateway.ts";
import type { GatewaySession } from "../client/gateway-session.ts";
import { openSession, originOf, type SessionOptions } from "../client/open-session.ts";
import { isOfEdge, outcomeOf } from "../client/outcome.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { describePlatform } from "../node/platform.ts";
import { holdsScopes } from "../protocol/vocabulary.ts";
import { version } from "../version.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

/** Opens it; a gateway that is still starting, and says when to come again, is asked again for as long as the command may take. */
export async function openOperator(
  context: Context,
  flags: TargetFlags,
  scopes: readonly string[],
): Promise<GatewaySession> {
  const target = await context.target(flags);
  for (;;) {
    try {
      return await openOnce(context, target, scopes);
    } catch (error) {
      await waitForStart(context, error);
    }
  }
}

type Target = Awaited<ReturnType<Context["target"]>>;

/** The product listens a second or two before it lets anybody in (protocol.md § 4.10). Every other failure stands. */
async function waitForStart(context: Context, error: unknown): Promise<void> {
  const outcome = outcomeOf(error);
  if (!isFailure(error, "starting") || outcome.kind !== "retry" || outcome.afterMs === undefined) throw error;
  context.runtime.log("info", "gateway starting", { retryAfterMs: outcome.afterMs });
  const { signal } = context.options;
  try {
    await context.runtime.sleep(outcome.afterMs, context.oneShotSignal);
  } catch {
    throw signal.aborted ? signal.reason : error; // out of time: what was waited for says more than that
  }
}

async function openOnce(context: Context, target: Target, scopes: readonly string[]): Promise<GatewaySession> {
  const shared = target.explicit === undefined ? [target.configured, target.internal] : [target.explicit];
  for (const credential of shared) {
    if (credential === undefined || !target.isLoopback) continue;
    const session = await openAsBackend(context, target, scopes, credential);
    if (session !== undefined) return session;
  }
  return openAsDevice(context, target, scopes);
}

/** Undefined where the gateway does not take this connection for one of its own host. */
async function openAsBackend(
  context: Context,
  target: Target,
  scopes: readonly string[],
  credential: NonNullable<Target["explicit"]>,
): Promise<GatewaySession | undefined> {
  const client = { id: "gateway-client", mode: "backend", version, ...describePlatform(process.platform) };
  try {
    const session = await connectGateway({ ...common(context, target, scopes), client, credential });
    if (holdsScopes(session.hello.auth?.scopes ?? scopes, scopes)) return session;
    await session.close();
    return undefined;
  } catch (error) {
    if (isFailure(error, "device-identity-required", "scope-missing")) return undefined;
    // The stored device token may still be right where the configured secret is not.
    const isRefusal = isFailure(error, "token-mismatch", "password-mismatch", "upgrade-refused") && !isOfEdge(error);
    if (isRefusal && target.explicit === undefined) return undefined;
    throw error;
  }
}

async function openAsDevice(context: Context, target: Target, scopes: readonly string[]): Promise<GatewaySession> {
  const identity = await context.identityAt(originOf(target.address.url));
  const memory = await context.tokens();
  const key = { gateway: originOf(target.address.url), deviceId: identity.deviceId, role: "operator" };
  const remembered = target.explicit === undefined ? await memory.recall(key) : undefined;
  const session = await openSession({
    ...common(context, target, withSight(scopes, remembered?.scopes ?? [])),
    client: { id: "cli", mode: "cli", version, ...describePlatform(process.platform) },
    identity,
    explicit: target.explicit,
    configured: target.configured,
    memory,
  });
  const held = session.hello.auth?.scopes;
  if (held === undefined || holdsScopes(held, scopes)) return session;
  await session.close();
  const lacking = scopes.filter((scope) => !holdsScopes(held, [scope]));
  throw new OpenClawError("scope-missing", `the gateway granted this device no ${lacking.join(", ")}`, {
    hint:
      session.hello.auth?.removedScopesReason ??
      "approve the wider request on the gateway's host (openclaw devices list)",
    fix: "openclaw devices list",
    details: { granted: held, missing: lacking, fixOn: "gateway" },
  });
}

/** Who comes with a device token sees the devices of others only as admin: what the token holds of that is asked for. */
function withSight(scopes: readonly string[], held: readonly string[]): readonly string[] {
  const needsSight = scopes.includes("operator.pairing") && !scopes.includes("operator.admin");
  return needsSight && held.includes("operator.admin") ? [...scopes, "operator.admin"] : scopes;
}

function common(
  context: Context,
  target: Target,
  scopes: readonly string[],
): Omit<SessionOptions, "client" | "explicit" | "configured"> {
  return {
    gateway: target.address,
    role: "operator",
    scopes,
    timeoutMs: context.timeoutMs,
    signal: context.oneShotSignal,
    callDefaults: { timeoutMs: context.timeoutMs, signal: context.oneShotSignal },
    runtime: context.runtime,
  };
}
