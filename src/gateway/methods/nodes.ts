/** node.pair.*, node.list, node.describe, node.rename: nodes and what they may be asked. protocol.md §§ 7.1, 7.2. */
import type { DeviceRecord } from "../../pairing/records.ts";
import { surfaceApprovalScopes } from "../../pairing/scopes.ts";
import type { MethodHandlers, NodeSummary } from "../../protocol/methods.ts";
import { holdsScope } from "../../protocol/vocabulary.ts";
import { invalidRequest, missingScope } from "../../protocol/wire-error.ts";
import type { CallContext } from "../dispatch.ts";
import { approvedSurface, nodeSummary, surfaceSummary } from "../records/summaries.ts";
import { assertOwnDevice, deciderOf } from "./callers.ts";
import type { MethodHouse } from "./house.ts";

type NodeMethods = Pick<
  MethodHandlers<CallContext>,
  | "node.pair.list"
  | "node.pair.approve"
  | "node.pair.reject"
  | "node.pair.remove"
  | "node.rename"
  | "node.list"
  | "node.describe"
>;

export function nodeMethods({ tables, devices, surfaces, sessions, runtime }: MethodHouse): NodeMethods {
  const waitingNodes = () => new Set(surfaces.open().map(({ nodeId }) => nodeId));
  const summary = (device: DeviceRecord, waiting: ReadonlySet<string>): NodeSummary =>
    nodeSummary(device, sessions.node(device.deviceId), waiting.has(device.deviceId));
  const knownNode = (nodeId: string): DeviceRecord => {
    const device = tables.devices.get(nodeId);
    if (device === undefined || !isNode(device))
      throw invalidRequest("unknown nodeId", { code: "UNKNOWN_NODE", nodeId });
    return device;
  };
  return {
    "node.pair.list": async () => {
      await tables.refresh();
      return {
        pending: surfaces.open().map(surfaceSummary),
        paired: [...tables.devices.values()].map(approvedSurface).filter((surface) => surface !== undefined),
      };
    },

    "node.pair.approve": async ({ session }, { requestId }) => {
      const device = await surfaces.approve(requestId, deciderOf(session), ({ commands }) => {
        const required = surfaceApprovalScopes(commands);
        const lacking = required.find((scope) => !holdsScope(session.facts.scopes, scope));
        if (lacking !== undefined) throw missingScope(lacking, required);
      });
      const node = approvedSurface(device);
      if (node === undefined) throw invalidRequest("unknown requestId", { code: "UNKNOWN_REQUEST", requestId });
      return { requestId, node };
    },

    "node.pair.reject": async ({ session }, { requestId, reason }) => {
      const { nodeId } = await surfaces.reject(requestId, reason, deciderOf(session));
      return { requestId, nodeId };
    },

    "node.pair.remove": async ({ session, afterReply }, { nodeId }) => {
      knownNode(nodeId);
      if (!holdsScope(session.facts.scopes, "operator.admin")) throw missingScope("operator.admin");
      const close = await devices.remove(nodeId, deciderOf(session));
      afterReply(close);
      return { nodeId };
    },

    "node.rename": async ({ session }, { nodeId, displayName }) => {
      knownNode(nodeId);
      assertOwnDevice(session, nodeId);
      await devices.rename(nodeId, displayName, deciderOf(session));
      return { nodeId, displayName };
    },

    "node.list": async () => {
      await tables.refresh();
      const waiting = waitingNodes();
      const nodes = [...tables.devices.values()].filter(isNode).map((device) => summary(device, waiting));
      return { ts: runtime.now(), nodes: nodes.toSorted((a, b) => Number(b.connected) - Number(a.connected)) };
    },

    "node.describe": async (_context, { nodeId }) => {
      await tables.refresh();
      return { ts: runtime.now(), ...summary(knownNode(nodeId), waitingNodes()) };
    },
  };
}

function isNode(device: DeviceRecord): boolean {
  return device.roles.includes("node") || device.tokens["node"] !== undefined;
}
