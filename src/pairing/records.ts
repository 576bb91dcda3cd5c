/** What is remembered about devices, as plain data. The store loads and saves these shapes; nobody else writes them. */
import type { CodeRound } from "./code-rounds.ts";

/** How an approval came about. */
export type ApprovedVia = "owner" | "local" | "silent" | "trusted-cidr" | "bootstrap";

/** Who gave an approval: a name for people, and the device it came from, where it came from one. */
export interface Approver {
  readonly name: string;
  readonly deviceId?: string;
}

/** A rotation that does not end the token before it at once: how far the present generation has come, and what still works beside it. */
export interface TokenHandover {
  /** Hashes of the older generations that still open sessions, oldest first. */
  readonly previous: readonly string[];
  /** When they end; never before the present generation was used when `isCritical`. */
  readonly validUntilMs: number;
  readonly isCritical: boolean;
  /** When the device said that it has written the present generation down. */
  readonly deliveredAtMs?: number;
  /** When the present generation was first used. */
  readonly confirmedAtMs?: number;
}

/** One role's token of one device. The token itself is not kept: only its SHA-256, and the salt it was derived with. */
export interface TokenRecord {
  readonly role: string;
  readonly scopes: readonly string[];
  readonly hash: string;
  readonly salt: string;
  /** The device id that it was derived for, when the device has taken a new key since. */
  readonly derivedFor?: string;
  readonly createdAtMs: number;
  readonly rotatedAtMs?: number;
  readonly revokedAtMs?: number;
  readonly lastUsedAtMs?: number;
  /** Of the last rotation, when it was made with an overlap. */
  readonly handover?: TokenHandover;
}

/** What a node may be asked to do, as a person approved it. */
export interface ApprovedSurfaceRecord {
  readonly caps: readonly string[];
  readonly commands: readonly string[];
  readonly permissions?: Readonly<Record<string, boolean>>;
  readonly createdAtMs: number;
  readonly approvedAtMs: number;
  readonly approvedBy?: Approver;
}

/** What a device says about itself when it connects. */
export interface DeviceDescription {
  readonly displayName?: string;
  readonly platform?: string;
  readonly deviceFamily?: string;
  readonly clientId: string;
  readonly clientMode: string;
  readonly remoteIp?: string;
}

/** An approved device. */
export interface DeviceRecord extends DeviceDescription {
  readonly deviceId: string;
  /** Raw, base64url; empty for a keyless device. */
  readonly publicKey: string;
  /** It has no key: its token is a plain bearer (`keyless.ts`). */
  readonly keyless?: true;
  /** Roles whose token a keyless device has used since it was approved for them: nobody is told it again. */
  readonly usedRoles?: readonly string[];
  /** Who it was before it took its present key, oldest first. */
  readonly formerDeviceIds?: readonly string[];
  /** A name an operator gave it; it wins over the name the device gave itself. */
  readonly operatorLabel?: string;
  readonly roles: readonly string[];
  /** Approved operator scopes. */
  readonly scopes: readonly string[];
  readonly tokens: Readonly<Record<string, TokenRecord>>;
  readonly surface?: ApprovedSurfaceRecord;
  readonly createdAtMs: number;
  readonly approvedAtMs: number;
  readonly approvedVia: ApprovedVia;
  /** Who approved it last, where a person did. */
  readonly approvedBy?: Approver;
  readonly lastSeenAtMs?: number;
  readonly lastSeenReason?: string;
}

/** Why a device has to ask: nothing is known, or it wants more than it has, or it says it is something else now. */
export type PairingReason = "not-paired" | "role-upgrade" | "scope-upgrade" | "metadata-upgrade";

/** How a request ended; kept a while, so that an answer to an old id says what became of it. */
export interface Resolution {
  readonly decision: "approved" | "rejected" | "superseded";
  readonly atMs: number;
  /** The rejection's reason, or the id of the request that took its place. */
  readonly note?: string;
  /** The device has been told that it was rejected; asking once more makes a new request. */
  readonly wasTold?: boolean;
}

/** A request for a key, a role and scopes (the first layer). */
export interface DeviceRequestRecord extends DeviceDescription {
  readonly requestId: string;
  readonly deviceId: string;
  /** Empty for a keyless device. */
  readonly publicKey: string;
  readonly keyless?: true;
  readonly role: string;
  readonly scopes: readonly string[];
  readonly reason: PairingReason;
  /** The device was known already. */
  readonly isRepair: boolean;
  /** Of its pairing code, where the gateway has a key to make codes with. */
  readonly round?: CodeRound;
  readonly createdAtMs: number;
  readonly ts: number;
  readonly resolution?: Resolution;
}

/** A request for a node's command list (the second layer). */
export interface SurfaceRequestRecord {
  readonly requestId: string;
  readonly nodeId: string;
  readonly clientId: string;
  readonly clientMode: string;
  readonly displayName?: string;
  readonly platform: string;
  readonly version: string;
  readonly deviceFamily?: string;
  readonly caps: readonly string[];
  readonly commands: readonly string[];
  readonly permissions?: Readonly<Record<string, boolean>>;
  readonly remoteIp?: string;
  readonly ts: number;
  readonly resolution?: Resolution;
}
