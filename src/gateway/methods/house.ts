/** What every method works with. */
import type { PublicIdentity } from "../../identity/device-identity.ts";
import type { Runtime } from "../../runtime.ts";
import type { DeviceTokens } from "../records/device-tokens.ts";
import type { Devices } from "../records/devices.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Invites } from "../records/invites.ts";
import type { Invokes } from "../invokes.ts";
import type { GatewayPolicy } from "../options.ts";
import type { Sessions } from "../sessions.ts";
import type { Surfaces } from "../records/surfaces.ts";
import type { Tables } from "../records/tables.ts";

export interface MethodHouse {
  readonly tables: Tables;
  readonly devices: Devices;
  readonly surfaces: Surfaces;
  readonly invites: Invites;
  readonly tokens: DeviceTokens;
  readonly sessions: Sessions;
  readonly invokes: Invokes;
  readonly policy: GatewayPolicy;
  readonly identity: PublicIdentity;
  readonly runtime: Runtime;
  readonly startedAtMs: number;
  readonly endpoint: () => Endpoint;
}
