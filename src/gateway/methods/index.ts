/** Every method of the table with its handler; a method without one does not compile. */
import type { DeviceIdentity } from "../../identity/device-identity.ts";
import type { MethodHandlers } from "../../protocol/methods.ts";
import type { Runtime } from "../../runtime.ts";
import { version } from "../../version.ts";
import type { CallContext } from "../dispatch.ts";
import type { Enrolment } from "../enrolment.ts";
import type { Invokes } from "../invokes.ts";
import type { GatewayPolicy } from "../options.ts";
import type { Sessions } from "../sessions.ts";
import type { Tables } from "../tables.ts";
import { deviceMethods } from "./devices.ts";
import { invokeMethods } from "./invoke.ts";
import { nodeMethods } from "./nodes.ts";

/** What the methods work with. */
export interface MethodHouse {
  readonly tables: Tables;
  readonly enrolment: Enrolment;
  readonly sessions: Sessions;
  readonly invokes: Invokes;
  readonly policy: GatewayPolicy;
  readonly identity: DeviceIdentity;
  readonly runtime: Runtime;
  readonly startedAtMs: number;
}

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
