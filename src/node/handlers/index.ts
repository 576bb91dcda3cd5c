/** What a node can do: one handler a command. */
import { type ExecOptions, settle } from "./exec-gate.ts";
import { getExecApprovals, setExecApprovals } from "./exec-approvals.ts";
import type { InvokeHandler } from "./invoke.ts";
import { systemInfo } from "./system-info.ts";
import { systemRun, systemRunPrepare } from "./system-run.ts";
import { systemWhich } from "./system-which.ts";

export { InvokeError, type InvokeContext, type InvokeHandler } from "./invoke.ts";

export interface HandlerOptions extends ExecOptions {
  /** The node's name, for `system.info`. */
  readonly displayName?: string | undefined;
}

/** protocol.md § 7.5; `system.info` is ours. */
export type NodeCommand =
  | "system.which"
  | "system.run.prepare"
  | "system.run"
  | "system.execApprovals.get"
  | "system.execApprovals.set"
  | "system.info";

/** The handlers of every command. Throws `usage` for an `allow` entry that could never match. */
export function createHandlers({ displayName, ...exec }: HandlerOptions): Readonly<Record<NodeCommand, InvokeHandler>> {
  const setting = settle(exec);
  return {
    "system.which": systemWhich(setting.pathEnv),
    "system.run.prepare": systemRunPrepare(setting),
    "system.run": systemRun(setting),
    "system.execApprovals.get": getExecApprovals(setting.approvals),
    "system.execApprovals.set": setExecApprovals(setting.approvals),
    "system.info": systemInfo(displayName),
  };
}
