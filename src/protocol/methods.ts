/**
 * The methods a gateway of ours answers: who may call them, what they take, what they give back. One table for the
 * client, the node host and the gateway; forgetting a handler is a type error. protocol.md §§ 6-8.
 */
import * as v from "valibot";
import { maxInviteLifeMs, maxOverlapMs } from "./limits.ts";
import type { PairingCode } from "./pairing-code.ts";
import { type Role, roles } from "./vocabulary.ts";

const text = v.pipe(v.string(), v.nonEmpty("must not be empty"));
const none = v.optional(v.object({}), {});

export interface MethodRule {
  readonly params: v.GenericSchema;
  /** The role that may call it; undefined = either, for its own device. */
  readonly role?: Role;
  /** The operator scope it takes; undefined = any session of the role. */
  readonly scope?: string;
}

export const methods = {
  health: { role: "operator", params: none },
  status: { role: "operator", scope: "operator.read", params: none },
  "system-presence": { role: "operator", scope: "operator.read", params: none },
  "gateway.identity.get": { role: "operator", scope: "operator.read", params: none },
  "config.get": { role: "operator", scope: "operator.read", params: none },

  "device.pair.list": { role: "operator", scope: "operator.pairing", params: none },
  /** Ours (capability `pairing-codes`): a request by its id, the beginning of it, or its code, and those that took its place. */
  "device.pair.lookup": {
    role: "operator",
    scope: "operator.pairing",
    params: v.object({ request: v.pipe(text, v.maxLength(128)) }),
  },
  "device.pair.approve": { role: "operator", scope: "operator.pairing", params: v.object({ requestId: text }) },
  "device.pair.reject": {
    role: "operator",
    scope: "operator.pairing",
    params: v.object({ requestId: text, reason: v.optional(v.pipe(v.string(), v.maxLength(512))) }),
  },
  "device.pair.remove": { role: "operator", scope: "operator.pairing", params: v.object({ deviceId: text }) },
  "device.pair.rename": {
    role: "operator",
    scope: "operator.pairing",
    params: v.object({ deviceId: text, label: v.pipe(text, v.maxLength(64)) }),
  },
  "device.pair.setupCode": {
    role: "operator",
    scope: "operator.admin",
    params: v.object({
      publicUrl: v.optional(text),
      preferRemoteUrl: v.optional(v.boolean()),
      bootstrapProfile: v.optional(text),
      joinUrl: v.optional(v.boolean()),
      includeQr: v.optional(v.boolean()),
      /** Ours (capability `invites`), with those that follow: how long it lives, in milliseconds. */
      ttlMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1000), v.maxValue(maxInviteLifeMs))),
      /** The name that the device gets here. */
      displayName: v.optional(v.pipe(text, v.maxLength(64))),
      /** The only device that may use it. */
      forDeviceId: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/u, "must be a whole device id"))),
      /** The most that its command list is approved for. */
      commands: v.optional(v.pipe(v.array(v.pipe(text, v.maxLength(256))), v.maxLength(1024))),
      /** The certificate that answers at `publicUrl`, where that is not the gateway's own. */
      tlsFingerprint: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/u))),
    }),
  },
  "device.pair.setupStatus": {
    role: "operator",
    scope: "operator.admin",
    params: v.object({ setupId: v.pipe(text, v.maxLength(128)) }),
  },
  /** Ours, with the next two. Whoever holds the token may ask what it is good for: looking does not use it. */
  "device.pair.setupInspect": {
    role: "operator",
    params: v.object({ bootstrapToken: v.pipe(text, v.maxLength(512)) }),
  },
  "device.pair.setupList": { role: "operator", scope: "operator.admin", params: none },
  "device.pair.setupWithdraw": {
    role: "operator",
    scope: "operator.admin",
    params: v.object({ setupId: v.pipe(text, v.maxLength(128)) }),
  },
  "device.token.rotate": {
    role: "operator",
    scope: "operator.pairing",
    params: v.object({
      deviceId: text,
      role: v.picklist(roles),
      scopes: v.optional(v.array(text)),
      /** Ours (capability `token-handover`), with this and the next: absent means what it means to the product, no overlap. */
      overlapMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(maxOverlapMs))),
      critical: v.optional(v.boolean()),
    }),
  },
  "device.token.revoke": {
    role: "operator",
    scope: "operator.pairing",
    params: v.object({ deviceId: text, role: v.picklist(roles) }),
  },

  "device.token.progress": { role: "operator", scope: "operator.pairing", params: none },
  "device.token.watch": { params: none },
  "device.token.delivered": { params: v.object({ tokenHash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/u)) }) },

  /** Ours (capability `device-key-rotate`): the new public key, and the succession signed by both keys (identity/key-succession.ts). */
  "device.key.rotate": {
    params: v.object({ publicKey: text, signature: text, newSignature: text }),
  },

  "node.pair.list": { role: "operator", scope: "operator.pairing", params: none },
  "node.pair.approve": { role: "operator", scope: "operator.pairing", params: v.object({ requestId: text }) },
  "node.pair.reject": {
    role: "operator",
    scope: "operator.pairing",
    params: v.object({ requestId: text, reason: v.optional(v.pipe(v.string(), v.maxLength(512))) }),
  },
  "node.pair.remove": { role: "operator", scope: "operator.pairing", params: v.object({ nodeId: text }) },
  "node.rename": {
    role: "operator",
    scope: "operator.pairing",
    params: v.object({ nodeId: text, displayName: v.pipe(text, v.maxLength(64)) }),
  },
  "node.list": { role: "operator", scope: "operator.read", params: none },
  "node.describe": { role: "operator", scope: "operator.read", params: v.object({ nodeId: text }) },
  "node.invoke": {
    role: "operator",
    scope: "operator.write",
    params: v.object({
      nodeId: text,
      command: text,
      params: v.optional(v.unknown()),
      timeoutMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
      idempotencyKey: text,
    }),
  },
  "exec.approvals.node.get": { role: "operator", scope: "operator.admin", params: v.object({ nodeId: text }) },
  "exec.approvals.node.set": {
    role: "operator",
    scope: "operator.admin",
    params: v.object({ nodeId: text, file: v.record(v.string(), v.unknown()), baseHash: v.optional(v.string()) }),
  },

  "node.invoke.result": {
    role: "node",
    params: v.object({
      id: text,
      nodeId: text,
      ok: v.boolean(),
      payload: v.optional(v.unknown()),
      payloadJSON: v.optional(v.nullable(v.string())),
      error: v.optional(v.nullable(v.object({ code: v.optional(v.string()), message: v.optional(v.string()) }))),
    }),
  },
  "node.event": {
    role: "node",
    params: v.object({
      event: text,
      payload: v.optional(v.unknown()),
      payloadJSON: v.optional(v.nullable(v.string())),
    }),
  },
  "skills.bins": { role: "node", params: none },
} as const satisfies Record<string, MethodRule>;

export type Method = keyof typeof methods;
export type MethodParams<M extends Method> = v.InferOutput<(typeof methods)[M]["params"]>;

/** The rule of a method by the name that came over the wire. */
export function findMethod(name: string): MethodRule | undefined {
  return Object.hasOwn(methods, name) ? methods[name as Method] : undefined;
}

/** A device that waits for approval, as `device.pair.list` and the event `device.pair.requested` show it. */
export interface PendingDevice {
  readonly requestId: string;
  readonly deviceId: string;
  readonly publicKey: string;
  readonly displayName?: string;
  readonly platform?: string;
  readonly deviceFamily?: string;
  readonly clientId: string;
  readonly clientMode: string;
  readonly role: string;
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  readonly remoteIp?: string;
  readonly silent: boolean;
  readonly isRepair: boolean;
  readonly reason?: string;
  /** It has no key: its token will be a plain bearer, good for whoever holds it (ours). */
  readonly keyless?: true;
  /** What to compare with the device's own display, once the device has answered (ours). */
  readonly sas?: PairingCode;
  /** Milliseconds since the epoch of the last refresh; the request lives five minutes from it. */
  readonly ts: number;
}

/** A request as `device.pair.lookup` shows it: it may be over. */
export interface KnownRequest extends PendingDevice {
  readonly state: "waiting" | "approved" | "rejected" | "superseded" | "expired";
  /** When it ended. */
  readonly endedAtMs?: number;
}

export interface TokenSummary {
  readonly role: string;
  readonly scopes: readonly string[];
  readonly createdAtMs: number;
  readonly rotatedAtMs?: number;
  readonly revokedAtMs?: number;
  readonly lastUsedAtMs?: number;
}

/** An approved device, as `device.pair.list` shows it. Token values are never part of it. */
export interface PairedDevice {
  readonly deviceId: string;
  readonly publicKey: string;
  /** It has no key: its token is a plain bearer, good for whoever holds it (ours). */
  readonly keyless?: true;
  /** Who it was before it took its present key, oldest first (ours). */
  readonly formerDeviceIds?: readonly string[];
  readonly displayName?: string;
  readonly operatorLabel?: string;
  readonly platform?: string;
  readonly deviceFamily?: string;
  readonly clientId: string;
  readonly clientMode: string;
  readonly role: string;
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  readonly remoteIp?: string;
  readonly createdAtMs: number;
  readonly approvedAtMs: number;
  readonly approvedVia: string;
  readonly lastSeenAtMs?: number;
  readonly lastSeenReason?: string;
  /** Absent before 2026.9.6. */
  readonly connected?: boolean;
  readonly tokens: readonly TokenSummary[];
}

/** How far a new token has come: not at its device yet, written down there, used. */
export type RotationState = "pending" | "delivered" | "confirmed";

/** A rotation with an overlap, as `device.token.progress` shows it. */
export interface RotationProgress {
  readonly deviceId: string;
  readonly role: string;
  readonly state: RotationState;
  readonly rotatedAtMs: number;
  readonly overlapUntilMs: number;
  /** True while an older token still opens sessions. */
  readonly oldIsValid: boolean;
}

/** Who used a setup code. */
export interface SetupCompletion {
  readonly setupId: string;
  readonly deviceId: string;
  readonly deviceName?: string;
  readonly access: "full" | "limited" | "node";
  readonly ts: number;
}

/** An invite, as `device.pair.setupList` and `device.pair.setupInspect` show it. */
export interface InviteSummary {
  readonly setupId: string;
  readonly state: "open" | "used" | "withdrawn" | "expired";
  readonly role: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly url: string;
  readonly tlsFingerprint?: string;
  readonly displayName?: string;
  readonly forDeviceId?: string;
  readonly commands?: readonly string[];
  readonly usedAtMs?: number;
  readonly usedBy?: string;
  readonly usedByName?: string;
  readonly withdrawnAtMs?: number;
}

/** A node's command list that waits for approval (the second layer). */
export interface PendingSurface {
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
  readonly requiredApproveScopes: readonly string[];
}

export interface ApprovedSurface {
  readonly nodeId: string;
  readonly displayName?: string;
  readonly platform?: string;
  readonly caps: readonly string[];
  readonly commands: readonly string[];
  readonly createdAtMs: number;
  readonly approvedAtMs: number;
}

/** A node, as `node.list` and `node.describe` show it. `commands` are the ones that can be invoked now. */
export interface NodeSummary {
  readonly nodeId: string;
  readonly displayName?: string;
  readonly platform?: string;
  readonly version?: string;
  readonly clientId?: string;
  readonly clientMode?: string;
  readonly remoteIp?: string;
  readonly deviceFamily?: string;
  readonly modelIdentifier?: string;
  readonly pathEnv?: string;
  readonly caps: readonly string[];
  readonly commands: readonly string[];
  readonly permissions?: Readonly<Record<string, boolean>>;
  readonly connectedAtMs?: number;
  readonly lastConnectedAtMs?: number;
  readonly lastSeenAtMs?: number;
  readonly approvedAtMs?: number;
  readonly approvalState?: "approved" | "pending" | "unapproved";
  readonly paired: boolean;
  readonly connected: boolean;
}

export interface PresenceEntry {
  readonly host: string;
  readonly version: string;
  readonly platform: string;
  readonly deviceFamily?: string;
  readonly mode: string;
  readonly reason: string;
  readonly text: string;
  readonly ts: number;
  readonly deviceId?: string;
  readonly roles?: readonly string[];
  readonly scopes?: readonly string[];
  readonly instanceId?: string;
  readonly clientId?: string;
}

export interface InvokeOutcome {
  readonly ok: true;
  readonly nodeId: string;
  readonly command: string;
  readonly payload: unknown;
  readonly payloadJSON: string | null;
}

export interface MethodResults {
  health: Readonly<Record<string, unknown>> & { readonly ok: true; readonly ts: number };
  status: Readonly<Record<string, unknown>> & { readonly runtimeVersion: string; readonly uptimeMs: number };
  "system-presence": readonly PresenceEntry[];
  "gateway.identity.get": { readonly deviceId: string; readonly publicKey: string };
  /** What may be shown of the settings; secrets are no part of it, and neither is the file they came from. */
  "config.get": {
    readonly path: string | null;
    readonly exists: boolean;
    readonly raw: string | null;
    readonly valid: boolean;
    readonly config: Readonly<Record<string, unknown>>;
    readonly issues: readonly unknown[];
  };
  "device.pair.list": { readonly pending: readonly PendingDevice[]; readonly paired: readonly PairedDevice[] };
  /** Oldest first; empty when there is none, or more than one. */
  "device.pair.lookup": { readonly requests: readonly KnownRequest[] };
  "device.pair.approve": { readonly requestId: string; readonly device: PairedDevice };
  "device.pair.reject": { readonly requestId: string; readonly deviceId: string };
  "device.pair.remove": { readonly deviceId: string };
  "device.pair.rename": { readonly deviceId: string; readonly label: string };
  "device.pair.setupCode": {
    readonly setupId?: string;
    readonly setupCode: string;
    readonly gatewayUrl: string;
    readonly gatewayUrls?: readonly string[];
    readonly auth: "token" | "password";
    readonly urlSource: string;
    readonly access?: "full" | "limited" | "node";
    readonly expiresAtMs?: number;
  };
  "device.pair.setupStatus": { readonly completion?: SetupCompletion; readonly deliveryUncertain?: SetupCompletion };
  /** `reason` says of a dead one why it is. */
  "device.pair.setupInspect": InviteSummary & { readonly reason?: string };
  "device.pair.setupList": { readonly invites: readonly InviteSummary[] };
  "device.pair.setupWithdraw": { readonly setupId: string; readonly withdrawnAtMs: number };
  "device.token.rotate": {
    readonly deviceId: string;
    readonly role: string;
    readonly scopes: readonly string[];
    readonly rotatedAtMs: number;
    readonly token?: string;
    /** Absent before 2026.9.6. */
    readonly tokenDelivery?: "in-band" | "withheld-cross-device";
    /** Ours, with the next two: until when the old token works beside the new one. */
    readonly overlapUntilMs?: number;
    readonly state?: RotationState;
    /** True when a live session of the device takes the new token in. */
    readonly pushed?: boolean;
  };
  "device.token.progress": { readonly rotations: readonly RotationProgress[] };
  "device.token.watch": { readonly ok: true };
  "device.token.delivered": { readonly ok: true; readonly ignored?: true };
  "device.token.revoke": { readonly deviceId: string; readonly role: string; readonly revokedAtMs: number };
  "device.key.rotate": { readonly deviceId: string; readonly previousDeviceId: string; readonly rotatedAtMs: number };
  "node.pair.list": { readonly pending: readonly PendingSurface[]; readonly paired: readonly ApprovedSurface[] };
  "node.pair.approve": { readonly requestId: string; readonly node: ApprovedSurface };
  "node.pair.reject": { readonly requestId: string; readonly nodeId: string };
  "node.pair.remove": { readonly nodeId: string };
  "node.rename": { readonly nodeId: string; readonly displayName: string };
  "node.list": { readonly ts: number; readonly nodes: readonly NodeSummary[] };
  "node.describe": NodeSummary & { readonly ts: number };
  "node.invoke": InvokeOutcome;
  "exec.approvals.node.get": unknown;
  "exec.approvals.node.set": unknown;
  "node.invoke.result": { readonly ok: true; readonly ignored?: true };
  /** `handled` is false for an event that is only written to the log. */
  "node.event": { readonly ok: true; readonly event: string; readonly handled: boolean };
  "skills.bins": { readonly bins: readonly string[] };
}

/** One handler a method; `Context` is what the answering side knows about the caller. */
export type MethodHandlers<Context> = {
  readonly [M in Method]: (context: Context, params: MethodParams<M>) => MethodResults[M] | Promise<MethodResults[M]>;
};

/** The events a gateway of ours sends, for hello-ok. */
export const eventNames = [
  "connect.challenge",
  "tick",
  "presence",
  "shutdown",
  "device.pair.requested",
  "device.pair.resolved",
  "device.pair.changed",
  "device.pair.setup.completed",
  "device.token.rotated",
  "node.pair.requested",
  "node.pair.resolved",
  "node.invoke.request",
  "node.invoke.cancel",
] as const;

/** What gateways of ours can do that the product's cannot: `features.capabilities` of hello-ok. */
export const capabilities = [
  "pair-reject-reason",
  "token-handover",
  "invites",
  "device-key-rotate",
  "pairing-codes",
] as const;

/** What a node is asked to do. `params` instead of `paramsJSON` is accepted too (protocol.md § 7.3). */
export const invokeRequest = v.object({
  id: text,
  nodeId: v.optional(v.string()),
  command: text,
  paramsJSON: v.optional(v.nullable(v.string())),
  params: v.optional(v.unknown()),
  timeoutMs: v.optional(v.nullable(v.number())),
  idempotencyKey: v.optional(v.nullable(v.string())),
});
export type InvokeRequest = v.InferOutput<typeof invokeRequest>;
