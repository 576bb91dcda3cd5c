/** node.invoke and its answers: policy, routing, deadline. protocol.md § 7.3. */
import { effectiveCommands, isAllowedCommand } from "../../pairing/command-policy.ts";
import { optional } from "../../pairing/requests.ts";
import { maxInvokeTimeoutMs } from "../../protocol/limits.ts";
import type { InvokeOutcome, MethodHandlers } from "../../protocol/methods.ts";
import { invalidRequest, unavailable } from "../../protocol/wire-error.ts";
import type { CallContext } from "../dispatch.ts";
import type { Session } from "../session.ts";
import type { MethodHouse } from "./house.ts";

type InvokeMethods = Pick<
  MethodHandlers<CallContext>,
  | "node.invoke"
  | "node.invoke.result"
  | "node.event"
  | "skills.bins"
  | "exec.approvals.node.get"
  | "exec.approvals.node.set"
>;

export function invokeMethods(house: MethodHouse): InvokeMethods {
  const { invokes, runtime, policy } = house;
  const invokeApprovals = async (nodeId: string, command: string, params: unknown): Promise<unknown> => {
    const call = { command, params, timeoutMs: policy.limits.invokeTimeoutMs, idempotencyKey: runtime.uuid() };
    const { payload } = await invokes.invoke(callableNode(house, nodeId, command), call);
    return payload;
  };
  return {
    "node.invoke": (_context, { nodeId, command, params, timeoutMs, idempotencyKey }): Promise<InvokeOutcome> => {
      if (command.startsWith("system.execApprovals.")) {
        throw invalidRequest(`node.invoke does not carry ${command}; call exec.approvals.node.get or .set`);
      }
      const wanted = timeoutMs === undefined || timeoutMs === 0 ? policy.limits.invokeTimeoutMs : timeoutMs;
      const deadline = Math.min(wanted, maxInvokeTimeoutMs);
      const node = callableNode(house, nodeId, command);
      return invokes.invoke(node, { command, params, timeoutMs: deadline, idempotencyKey });
    },

    "node.invoke.result": async ({ session }, result) => {
      if (result.nodeId !== session.facts.deviceId) throw invalidRequest("nodeId mismatch");
      const isAwaited = invokes.answer(session, result);
      await invokes.receipts();
      return isAwaited ? { ok: true } : { ok: true, ignored: true };
    },

    "node.event": ({ session }, { event }) => {
      runtime.log("debug", "node event", { conn: session.facts.connId, device: session.facts.deviceId, event });
      return { ok: true, event, handled: false };
    },

    "skills.bins": () => ({ bins: [] }),

    "exec.approvals.node.get": (_context, { nodeId }) => invokeApprovals(nodeId, "system.execApprovals.get", {}),
    "exec.approvals.node.set": (_context, { nodeId, ...params }) =>
      invokeApprovals(nodeId, "system.execApprovals.set", params),
  };
}

/** The session of a node that may be asked this now, or why not, in the order that helps: who, there, offered, approved. */
function callableNode({ tables, sessions, surfaces, policy }: MethodHouse, nodeId: string, command: string): Session {
  const device = tables.devices.get(nodeId);
  const session = sessions.node(nodeId);
  if (device === undefined) throw invalidRequest("unknown nodeId", { code: "UNKNOWN_NODE", nodeId });
  if (session === undefined) throw unavailable("node not connected", { code: "NOT_CONNECTED", nodeId });
  const { declared = { caps: [], commands: [] }, platform } = session.facts;
  // What was declared is cut to the policy already: only a no is worth finding out more about.
  if (declared.commands.includes(command) && device.surface?.commands.includes(command) === true) return session;
  const refuse = (reason: string, message: string, more: Readonly<Record<string, unknown>> = {}) =>
    invalidRequest(`node command not allowed: ${message}`, { reason, command, ...more });
  if (!isAllowedCommand(command, platform, policy.commands)) {
    throw refuse("command not allowlisted", `this gateway's policy has no ${command} for platform ${platform}`);
  }
  if (declared.commands.length === 0) throw refuse("node did not declare commands", "the node offers no commands");
  if (!declared.commands.includes(command))
    throw refuse("command not declared by node", `the node does not offer ${command}`);
  const effective = effectiveCommands(declared, device.surface);
  const waiting = surfaces.open().find((request) => request.nodeId === nodeId);
  throw refuse(
    effective.length === 0 ? "node did not declare commands" : "command not declared by node",
    "its command list waits for approval (openclaw nodes pending)",
    { code: "SURFACE_NOT_APPROVED", ...optional("requestId", waiting?.requestId) },
  );
}
