/** A node's handlers on this machine, and a record of what they told the gateway. */
import type { ExecSecurity } from "../../../src/node/exec-policy.ts";
import {
  createHandlers,
  type HandlerOptions,
  type InvokeContext,
  type NodeCommand,
} from "../../../src/node/handlers/index.ts";
import { systemRuntime } from "../../../src/runtime.ts";
import { approvalsInMemory } from "./approvals-in-memory.ts";

interface SentEvent {
  readonly event: string;
  readonly payload: unknown;
}

/** `approvals` is the text of the approvals file; none unless given. */
export function startNode({
  approvals,
  context = {},
  ...options
}: Partial<Omit<HandlerOptions, "approvals">> & { approvals?: string; context?: Partial<InvokeContext> } = {}) {
  const file = approvalsInMemory(approvals);
  const events: SentEvent[] = [];
  const handlers = createHandlers({ approvals: file, env: { PATH: "/usr/bin:/bin", HOME: "/" }, cwd: "/", ...options });
  const whole: InvokeContext = {
    signal: new AbortController().signal,
    timeoutMs: 55_000,
    runtime: systemRuntime,
    emit: (event, payload) => void events.push({ event, payload }),
    ...context,
  };
  return { file, events, invoke: (command: NodeCommand, params?: unknown) => handlers[command](params, whole) };
}

/** The text of an approvals file with these defaults and, for all agents, this allowlist. */
export function approvalsText(security: ExecSecurity, ...allowlist: string[]): string {
  const entries = allowlist.map((pattern) => ({ pattern }));
  return JSON.stringify({ version: 1, defaults: { security, ask: "off" }, agents: { "*": { allowlist: entries } } });
}
