/** What every method works with. */
import type { DeviceIdentity } from "../../identity/device-identity.ts";
import type { Runtime } from "../../runtime.ts";
import type { DeviceTokens } from "../device-tokens.ts";
import type { Devices } from "../devices.ts";
import type { Invokes } from "../invokes.ts";
import type { GatewayPolicy } from "../options.ts";
import type { Sessions } from "../sessions.ts";
import type { Surfaces } from "../surfaces.ts";
import type { Tables } from "../tables.ts";

export interface MethodHouse {
  readonly tables: Tables;
  readonly devices: Devices;
  readonly surfaces: Surfaces;
  readonly tokens: DeviceTokens;
  readonly sessions: Sessions;
  readonly invokes: Invokes;
  readonly policy: GatewayPolicy;
  readonly identity: DeviceIdentity;
  readonly runtime: Runtime;
  readonly startedAtMs: number;
}
