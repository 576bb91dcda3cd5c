/** Every method of the table with its handler; a method without one does not compile. */
import { optional } from "../../pairing/requests.ts";
import type { MethodHandlers } from "../../protocol/methods.ts";
import { version } from "../../version.ts";
import type { CallContext } from "../dispatch.ts";
import { deviceMethods } from "./devices.ts";
import type { MethodHouse } from "./house.ts";
import { inviteMethods } from "./invites.ts";
import { invokeMethods } from "./invoke.ts";
import { keyMethods } from "./keys.ts";
import { nodeMethods } from "./nodes.ts";

/** A gateway of ours runs no agents and speaks on no channels; the product's CLI reads these lists without asking whether they are there. */
const noAgents = { channels: {}, channelOrder: [], channelLabels: {}, heartbeatSeconds: 0, agents: [] } as const;

export function createMethods(house: MethodHouse): MethodHandlers<CallContext> {
  const { runtime, startedAtMs, sessions, identity, policy } = house;
  const uptimeMs = () => runtime.now() - startedAtMs;
  return {
    health: () => ({
      ok: true,
      ts: runtime.now(),
      durationMs: 0,
      uptimeMs: uptimeMs(),
      ...noAgents,
      sessions: { count: sessions.size, path: "", recent: [] },
    }),
    status: () => ({
      runtimeVersion: version,
      uptimeMs: uptimeMs(),
      heartbeat: { agents: [] },
      channelSummary: [],
      queuedSystemEvents: [],
      sessions: { count: sessions.size, paths: [], recent: [], byAgent: [], defaults: {} },
      authMode: policy.auth.mode ?? "any",
    }),
    "system-presence": () => sessions.presence(),
    "config.get": () => ({
      path: null,
      exists: false,
      raw: null,
      valid: true,
      config: { gateway: { auth: optional("mode", policy.auth.mode) } },
      issues: [],
    }),
    "gateway.identity.get": () => ({ deviceId: identity.deviceId, publicKey: identity.publicKey }),
    ...deviceMethods(house),
    ...inviteMethods(house),
    ...keyMethods(house),
    ...nodeMethods(house),
    ...invokeMethods(house),
  };
}
