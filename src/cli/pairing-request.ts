/** Asking a gateway to know this machine: one connection, whose refusal is the request. */
import type { CodeAgreement } from "../client/code-agreement.ts";
import { openSession, type SessionOptions } from "../client/open-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { describePlatform } from "../node/platform.ts";
import type { PairingCode } from "../protocol/pairing-code.ts";
import type { Role } from "../protocol/vocabulary.ts";
import { version } from "../version.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

interface RequestFlags extends TargetFlags {
  readonly scope?: readonly string[];
  readonly displayName?: string;
}

/** A request that waits, or an open door: `isRecorded` tells whether the gateway remembers this machine, or took it for one of its own. */
export type RequestOutcome =
  | { readonly requestId: string; readonly sas: PairingCode | undefined; readonly scopes: readonly string[] }
  | { readonly isRecorded: boolean };

/** Connects as the role would. Whoever asks again brings the same `codes`, so that the request keeps its code. */
export async function requestOnce(
  context: Context,
  flags: RequestFlags,
  role: Role,
  codes: CodeAgreement,
): Promise<RequestOutcome> {
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
    codes,
    timeoutMs: context.timeoutMs,
    signal: context.oneShotSignal,
    runtime: context.runtime,
  };
  try {
    await using session = await openSession(options);
    return { isRecorded: session.hello.auth?.deviceToken !== undefined };
  } catch (error) {
    if (!isFailure(error, "pairing-required")) throw error;
    const { requestId, rejected, rejectedReason, requestedScopes } = error.details ?? {};
    if (rejected === true) {
      const why = typeof rejectedReason === "string" ? `: ${rejectedReason}` : "";
      throw new OpenClawError("pairing-rejected", `the gateway's owner rejected this device${why}`, { cause: error });
    }
    // Agreed on by this very process (client/code-agreement.ts).
    if (typeof requestId === "string") {
      const sas = error.details?.["sas"] as PairingCode | undefined;
      return { requestId, sas, scopes: Array.isArray(requestedScopes) ? requestedScopes.map(String) : [] };
    }
    throw error;
  }
}
