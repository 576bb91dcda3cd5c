/** `openclaw pair request` */
import type { Command } from "commander";
import { isFailure, OpenClawError } from "../../../errors.ts";
import { fingerprint } from "../../../identity/fingerprint.ts";
import type { Role } from "../../../protocol/vocabulary.ts";
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
      "openclaw pair request --role operator --scope operator.read --url ws://127.0.0.1:18790 --token-file token",
    ])
      .option("--role <role>", "operator or node", "operator")
      .option("--scope <scope>", "a scope to ask for, as operator; repeatable (default: operator.pairing)", collect)
      .option("--display-name <name>", "what the gateway's owner sees")
      .option("--wait", "return when somebody has decided"),
  ).action(async (flags: Flags) => {
    const { requestOnce } = await import("../../pairing-request.ts");
    const { CodeAgreement } = await import("../../../client/code-agreement.ts");
    const { formatPairingCode } = await import("../../../protocol/pairing-code.ts");
    const role = readRole(flags.role);
    const identity = await context.identity();
    const base = { deviceId: identity.deviceId, fingerprint: fingerprint(identity.deviceId), role };
    const codes = new CodeAgreement(context.runtime);
    if (flags.wait === true) context.extendTimeout(waitMs);
    for (;;) {
      const outcome = await requestOnce(context, flags, role, codes);
      if ("isRecorded" in outcome) {
        return context.output.result({ ...base, paired: outcome.isRecorded }, ({ paired }) =>
          paired
            ? `This machine is paired as ${role}`
            : "The gateway takes this machine's connections as its own; it needs no pairing here",
        );
      }
      const { requestId, sas, scopes } = outcome;
      const there = `openclaw devices approve ${requestId}`;
      // An operator that waits cannot approve itself: for it, the way from here is none.
      const approve = role === "node" ? context.pasteable(there) : there;
      const ways = approve === there ? there : `${there}\nOr from here: ${approve}`;
      // A gateway that makes no codes approves by the request's id.
      const code = sas?.digits ?? requestId;
      const words = sas === undefined ? {} : { words: sas.words };
      const value = { ...base, paired: false, requestId, code, ...words, scopes, layer: "device", approve };
      const shownCode = sas === undefined ? "" : `, code ${formatPairingCode(sas)}`;
      // It may be for more than was asked for now: one that is open already stays as it was made.
      const asks = [role, ...scopes].join(", ");
      if (flags.wait !== true) {
        return context.output.result(
          value,
          () => `Request ${requestId} for ${asks} (${base.fingerprint}${shownCode})\nOn the gateway's host: ${ways}`,
        );
      }
      context.noteOnce(
        requestId,
        `request ${requestId} for ${asks} (${base.fingerprint}${shownCode}) waits; on the gateway's host: ${ways}`,
      );
      await pause(context, requestId, role, there);
    }
  });
}

/** Until it is time to ask again. */
async function pause(context: Context, requestId: string, role: Role, approve: string): Promise<void> {
  try {
    await context.runtime.sleep(pollMs, context.oneShotSignal);
  } catch (cause) {
    if (!isFailure(cause, "timeout")) throw cause;
    throw new OpenClawError("timeout", `nobody decided about request ${requestId} within ${context.timeoutMs} ms`, {
      hint: "approve it, then ask again; or wait longer with --timeout",
      fix: approve,
      details: {
        requestId,
        timeoutMs: context.timeoutMs,
        step: "approval",
        ...(role === "operator" ? { fixOn: "gateway" } : {}),
      },
      cause,
    });
  }
}

/** A request lives five minutes; there is no use in waiting longer. */
const waitMs = 5 * 60_000;
