/** Every method of the table with its handler; a method without one does not compile. */
import type { MethodHandlers } from "../../protocol/methods.ts";
import { version } from "../../version.ts";
import type { CallContext } from "../dispatch.ts";
import { deviceMethods } from "./devices.ts";
import type { MethodHouse } from "./house.ts";
import { invokeMethods } from "./invoke.ts";
import { nodeMethods } from "./nodes.ts";

export function createMethods(house: MethodHouse): MethodHandlers<CallContext> {
  const { runtime, startedAtMs, sessions, identity, policy } = house;
  const uptimeMs = () => runtime.now() - startedAtMs;
  return {
    health: () => ({ ok: true, ts: runtime.now(), uptimeMs: uptimeMs(), sessions: sessions.size }),
    status: () => ({
      runtimeVersion: version,
      uptimeMs: uptimeMs(),
      sessions: { count: sessions.size },
      authMode: policy.auth.mode ?? "any",
    }),
    "system-presence": () => sessions.presence(),
    "gateway.identity.get": () => ({ deviceId: identity.deviceId, publicKey: identity.publicKey }),
    ...deviceMethods(house),
    ...nodeMethods(house),
    ...invokeMethods(house),
  };
}
