/** Asking a gateway to know this machine: one connection, whose refusal is the request. */
import { openSession, type SessionOptions } from "../client/open-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { describePlatform } from "../node/platform.ts";
import type { Role } from "../protocol/vocabulary.ts";
import { version } from "../version.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

interface RequestFlags extends TargetFlags {
  readonly scope?: readonly string[];
  readonly displayName?: string;
}

/** Connects as the role would. Undefined when that works; otherwise the id of the request that waits. */
export async function requestOnce(context: Context, flags: RequestFlags, role: Role): Promise<string | undefined> {
  const target = await context.target(flags);
  const isNode = role === "node";
  const options: SessionOptions = {
    gateway: target.address,
    client: {
      id: isNode ? "node-host" : "cli",
      mode: isNode ? "node" : "cli",
      version,
      ...describePlatform(process.platform),
      displayName: flags.displayName,
    },
    role,
    scopes: isNode ? [] : (flags.scope ?? ["operator.pairing"]),
    identity: await context.identity(),
    explicit: target.explicit,
    configured: target.configured,
    memory: await context.tokens(),
    timeoutMs: context.timeoutMs,
    signal: context.oneShotSignal,
    runtime: context.runtime,
  };
  try {
    await using _session = await openSession(options);
    return undefined;
  } catch (error) {
    if (!isFailure(error, "pairing-required")) throw error;
    const { requestId, rejected, rejectedReason } = error.details ?? {};
    if (rejected === true) {
      const why = typeof rejectedReason === "string" ? `: ${rejectedReason}` : "";
      throw new OpenClawError("pairing-rejected", `the gateway's owner rejected this device${why}`, { cause: error });
    }
    if (typeof requestId === "string") return requestId;
    throw error;
  }
}
