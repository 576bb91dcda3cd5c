/** `openclaw pair request` */
import type { Command } from "commander";
import { type SessionOptions, openSession } from "../../../client/open-session.ts";
import { isFailure, OpenClawError } from "../../../errors.ts";
import { fingerprint } from "../../../identity/device-identity.ts";
import { describePlatform } from "../../../node/platform.ts";
import type { Role } from "../../../protocol/vocabulary.ts";
import { version } from "../../../version.ts";
import type { Context } from "../../context.ts";
import { collect, defineCommand } from "../../globals.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";
import { readRole } from "../../token-choice.ts";

interface Flags extends TargetFlags {
  readonly role: string;
  readonly scope?: readonly string[];
  readonly displayName?: string;
  readonly wait?: boolean;
}

/** How often a waiting request asks whether it was approved. */
const pollMs = 1000;

export function requestCommand(context: Context): Command {
  return withTarget(
    defineCommand("request", "ask a gateway to know this machine", [
      "openclaw pair request --role operator --scope operator.read --url ws://127.0.0.1:18791 --token-file token",
    ])
      .option("--role <role>", "operator or node", "operator")
      .option("--scope <scope>", "a scope to ask for, as operator; repeatable (default: operator.pairing)", collect)
      .option("--display-name <name>", "what the gateway's owner sees")
      .option("--wait", "return when somebody has decided"),
  ).action(async (flags: Flags) => {
    const role = readRole(flags.role);
    const identity = await context.identity();
    const base = { deviceId: identity.deviceId, fingerprint: fingerprint(identity.deviceId), role };
    if (flags.wait === true) context.extendTimeout(waitMs);
    for (;;) {
      const requestId = await requestOnce(context, flags, role);
      if (requestId === undefined) {
        return context.output.result({ ...base, paired: true }, () => `This machine is paired as ${role}`);
      }
      const approve = `openclaw devices approve ${requestId}`;
      const value = { ...base, paired: false, requestId, code: requestId, layer: "device", approve };
      if (flags.wait !== true) {
        return context.output.result(value, () => `Request ${requestId} (${base.fingerprint})\nOn the gateway's host: ${approve}`);
      }
      context.noteOnce(requestId, `request ${requestId} (${base.fingerprint}) waits; on the gateway's host: ${approve}`);
      await context.runtime.sleep(pollMs, context.oneShotSignal);
    }
  });
}

/** A request lives five minutes; there is no use in waiting longer. */
const waitMs = 5 * 60_000;

/** Connects as the role would. Undefined when that works; otherwise the id of the request that waits. */
async function requestOnce(context: Context, flags: Flags, role: Role): Promise<string | undefined> {
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
    memory: context.tokens(),
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
