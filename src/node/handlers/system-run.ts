/** `system.run` and `system.run.prepare`: run one program if the exec policy allows it (protocol.md § 7.5). */
import { isFailure } from "../../errors.ts";
import type { ExecDecision } from "../exec-policy.ts";
import { failedToStart, type ProcessResult, runProcess } from "../run-process.ts";
import { childEnvironment } from "./child-environment.ts";
import { commandText, shortCommandText } from "./command-text.ts";
import { admit, type ExecSetting, policyInForce, workingDirectory } from "./exec-gate.ts";
import { locateProgram } from "./find-program.ts";
import { type InvokeContext, InvokeError, type InvokeHandler } from "./invoke.ts";
import { readPrepareParams, readRunParams, type RunParams } from "./params.ts";

/** Milliseconds a command may run at the most: an hour. */
const maxRunMs = 3_600_000;

/** Milliseconds kept back from the invoke's time, so that a stopped command is still reported: two kill graces. */
const answerMarginMs = 2_000;

/** Characters of the output in an event (its end). */
const maxEventOutputChars = 20_000;

/**
 * Runs a program. `rawCommand`, `approved` and `approvalDecision` are not looked at: the words of `command` are what runs, and this
 * node's own policy decides. Events about a start and an end go only to a session that was named; a denial is always reported.
 */
export function systemRun(setting: ExecSetting): InvokeHandler {
  return async (params, context) => {
    const request = readRunParams(params);
    const cwd = workingDirectory(request.cwd, setting);
    const tell = eventSender(request, context);
    const { decision, path } = await denyIfUnreadable(admit(setting, { ...request, cwd }));
    if (!decision.ok) {
      tell("exec.denied", { reason: decision.reason });
      throw new InvokeError("UNAVAILABLE", `SYSTEM_RUN_DENIED: ${explainDenial(decision, request.command)}`);
    }
    if (request.sessionKey) tell("exec.started", {});
    const result =
      path === undefined ? noSuchProgram(request.command) : await run(setting, request, path, cwd, context);
    if (request.sessionKey) tell("exec.finished", finishedFields(result));
    return result;
  };
}

/** Says what `system.run` would start, and under which policy. Runs nothing, and does not say whether it would be allowed. */
export function systemRunPrepare(setting: ExecSetting): InvokeHandler {
  return async (params) => {
    const { command, cwd, agentId, sessionKey } = readPrepareParams(params);
    const directory = workingDirectory(cwd, setting);
    const { security, ask } = await denyIfUnreadable(policyInForce(setting, agentId ?? undefined));
    const program = await locateProgram(command[0] ?? "", directory, setting.pathEnv);
    const argv = program === undefined ? command : [program.asked, ...command.slice(1)];
    const text = commandText(argv);
    return {
      cmdText: text,
      plan: {
        argv,
        cwd: cwd ? directory : null,
        commandText: text,
        commandPreview: null,
        rawCommand: text,
        agentId: agentId ?? null,
        sessionKey: sessionKey ?? null,
      },
      execPolicy: { security, ask },
    };
  };
}

/**
 * Milliseconds a command gets: what was asked for, at most what the invoke leaves. A command that outlives its invoke would
 * run on with nobody to tell.
 */
export function runTimeoutMs(asked: number | null | undefined, invokeTimeoutMs: number): number {
  const invokeMs = invokeTimeoutMs > 0 ? Math.min(invokeTimeoutMs, maxRunMs) : maxRunMs;
  const leftMs = invokeMs - Math.min(answerMarginMs, invokeMs / 4);
  return Math.max(1, Math.floor(asked ? Math.min(asked, leftMs) : leftMs));
}

async function run(
  setting: ExecSetting,
  request: RunParams,
  path: string,
  cwd: string,
  { signal, runtime, timeoutMs }: InvokeContext,
): Promise<ProcessResult> {
  const env = childEnvironment(setting.env, setting.pathEnv, request.env ?? {});
  const limitMs = runTimeoutMs(request.timeoutMs, timeoutMs);
  try {
    return await runProcess({ path, args: request.command.slice(1), cwd, env, timeoutMs: limitMs, signal, runtime });
  } catch (cause) {
    if (signal.aborted)
      throw new InvokeError("UNAVAILABLE", "system.run was cancelled and its program stopped", { cause });
    throw cause;
  }
}

/** What every exec event says, whichever it is: whose it is, and what ran (protocol.md § 7.5; the fallbacks as recorded). */
function eventSender(request: RunParams, context: InvokeContext) {
  const about = {
    sessionKey: request.sessionKey || "node",
    runId: request.runId || context.runtime.uuid(),
    host: "node",
    command: shortCommandText(request.command),
  };
  return (event: string, fields: object) => context.emit(event, { ...about, ...fields });
}

function finishedFields({ stdout, stderr, error, ...ending }: ProcessResult) {
  const output = [stdout, stderr, error ?? ""].filter((part) => part !== "").join("\n");
  return { ...ending, output: output.slice(-maxEventOutputChars) };
}

function noSuchProgram([word = ""]: readonly string[]): ProcessResult {
  return failedToStart(`could not start ${word}: no such program on this node`);
}

function explainDenial(decision: Exclude<ExecDecision, { ok: true }>, [word = ""]: readonly string[]): string {
  switch (decision.reason) {
    case "security=deny":
      return "security=deny: this node runs no commands";
    case "approval-required":
      return "approval required, and nobody is at this node to give it";
    case "allowlist-miss":
      return `allowlist miss: ${word} is not on this node's allowlist; its owner can start it with --allow, or list it in exec-approvals.json`;
    case "env-override":
      return `env may not set ${(decision.envNames ?? []).join(", ")}: it can change what an allowed program runs`;
  }
}

/** A policy that cannot be read allows nothing. */
async function denyIfUnreadable<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (!isFailure(cause, "state-unreadable")) throw cause;
    throw new InvokeError("UNAVAILABLE", `SYSTEM_RUN_DENIED: ${cause.message}`, { cause });
  }
}
