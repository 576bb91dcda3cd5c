/** What the gates of a connect are given, and what comes out at their end. */
import type { DeviceRecord } from "../pairing/records.ts";
import { closeReason } from "../protocol/close.ts";
import type { ConnectParams } from "../protocol/handshake.ts";
import type { Runtime } from "../runtime.ts";
import type { AttemptLimit } from "./arrival/attempt-limit.ts";
import type { Devices } from "./records/devices.ts";
import type { Invites } from "./records/invites.ts";
import type { proveLocal } from "./arrival/local-peer.ts";
import type { GatewayPolicy } from "./options.ts";
import type { Peer } from "./arrival/peer.ts";
import type { ConnectRefusal } from "./refusal.ts";
import type { RemovedScopes, SessionFacts } from "./session.ts";
import type { Surfaces } from "./records/surfaces.ts";
import type { Tables } from "./records/tables.ts";

/** What the gates need to know besides the connect itself. */
export interface Gatehouse {
  readonly policy: GatewayPolicy;
  readonly tables: Tables;
  readonly devices: Devices;
  readonly surfaces: Surfaces;
  readonly invites: Invites;
  /** Who has tried too many wrong credentials. */
  readonly attempts: AttemptLimit;
  readonly runtime: Runtime;
  /** The port that this gateway listens on. */
  readonly ownPort: () => number;
  /** What looks at the process of a peer, where it is not to be the real thing. */
  readonly proveLocal?: typeof proveLocal;
}

/** One connection at the gates. */
export interface Arrival {
  readonly connId: string;
  readonly nonce: string;
  readonly peer: Peer;
  /** The value behind `Authorization: Bearer` of the upgrade. */
  readonly header: string | undefined;
  readonly params: ConnectParams;
  /** The keyless device whose token the connect shows; that stands in for a device proof. */
  readonly bearerOf?: string | undefined;
}

/** A device token as it came, and the hash that the device's record has of it. */
export interface ShownToken {
  readonly token: string;
  readonly hash: string;
}

export type Admission =
  | {
      readonly ok: true;
      readonly facts: SessionFacts;
      readonly device: DeviceRecord | undefined;
      /** The device token that it came with, when that is what let it in. */
      readonly shown: ShownToken | undefined;
      readonly removedScopes: RemovedScopes | undefined;
    }
  | { readonly ok: false; readonly refusal: ConnectRefusal };

/** The end at one of the gates. */
export function turnedAway(why: ConnectRefusal): Admission {
  return { ok: false, refusal: { ...why, closeReason: closeReason(why.closeReason) } };
}
