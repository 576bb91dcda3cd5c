/**
 * Invites: a single-use secret by which one device gets in without a person looking on, since somebody with the right to approve it has
 * done so beforehand (auth.md § 1, method 7; § 8). Only the secret's hash is kept. The first device that uses an invite is the only one.
 */
import type { Role } from "../protocol/vocabulary.ts";
import { type CredentialDigest, matchesHash } from "../secret.ts";
import type { DeclaredSurface } from "./command-policy.ts";
import type { DeviceRecord } from "./records.ts";

export interface InviteRecord {
  readonly inviteId: string;
  /** Hex SHA-256 of the secret. */
  readonly secretHash: string;
  readonly role: Role;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  /** The address that went into the code. */
  readonly url: string;
  /** The certificate that went into the code, lower-case hex SHA-256. */
  readonly tlsFingerprint?: string;
  /** The name that the device gets. */
  readonly displayName?: string;
  /** Only the device with this id may use it. */
  readonly forDeviceId?: string;
  /** The most that its command list is approved for; without it, the whole first list that it comes with. */
  readonly commands?: readonly string[];
  readonly usedAtMs?: number;
  /** The id of the device that used it, and its name at that time. */
  readonly usedBy?: string;
  readonly usedByName?: string;
  readonly withdrawnAtMs?: number;
}

/** Milliseconds an invite lives unless it is told otherwise, as the product's codes do: ten minutes. */
export const defaultInviteLifeMs = 600_000;

/** Invites that may wait to be used at once. */
export const maxOpenInvites = 256;

/** How long the end of an invite is remembered, so that a dead code can be told why: a week. */
const rememberedMs = 604_800_000;

/** Milliseconds for which the device that used an invite may show it again: its answer may have been lost with the connection. */
const repeatMs = 600_000;

/** Why an invite does not let somebody in; on the wire as `details.authReason`, with `bootstrap_token_` in front. */
export type InviteRefusal =
  | "unknown"
  | "used"
  | "expired"
  | "withdrawn"
  | "other_device"
  | "other_role"
  | "device_missing";

export type InviteVerdict =
  /**
   * `first` binds it to the device; `again` is the device that it is bound to, which needs no approval any more; `look` asks about the
   * invite and gets nothing else.
   */
  | { readonly ok: true; readonly use: "first" | "again" | "look"; readonly invite: InviteRecord }
  | {
      readonly ok: false;
      readonly refusal: InviteRefusal;
      /** A sentence for the terminal of who came with it. */
      readonly message: string;
      readonly invite: InviteRecord | undefined;
    };

/** Who shows an invite. */
export interface InviteBearer {
  /** Its id, when its proof held. */
  readonly deviceId: string | undefined;
  readonly role: Role;
  readonly scopes: readonly string[];
}

/** The invite whose secret this is. Every record is compared, each in constant time. */
export function findInvite(invites: Iterable<InviteRecord>, shown: CredentialDigest): InviteRecord | undefined {
  let found: InviteRecord | undefined;
  for (const invite of invites) if (matchesHash(shown, invite.secretHash)) found = invite;
  return found;
}

/** Whether an invite lets its bearer in. Total. `device` is the record of the bearer's key, if it has one. */
export function judgeInvite(
  invite: InviteRecord | undefined,
  bearer: InviteBearer,
  device: DeviceRecord | undefined,
  nowMs: number,
): InviteVerdict {
  if (invite === undefined) return refuse(undefined, "unknown", unknownInvite);
  const end = endOf(invite, nowMs);
  if (end === "used" && invite.usedBy === bearer.deviceId) return judgeRepeat(invite, bearer, device, nowMs);
  if (end !== undefined) return refuse(invite, end, inviteEnd(invite, end));
  if (bearer.deviceId === undefined) {
    const looks = bearer.role === "operator" && bearer.scopes.length === 0;
    return looks
      ? { ok: true, use: "look", invite }
      : refuse(
          invite,
          "device_missing",
          "an invite is bound to the device that uses it, and this connection carries none",
        );
  }
  if (bearer.role !== invite.role || bearer.scopes.length > 0) {
    return refuse(invite, "other_role", `the invite is for a ${invite.role}, without scopes`);
  }
  if (invite.forDeviceId !== undefined && invite.forDeviceId !== bearer.deviceId) {
    return refuse(invite, "other_device", `the invite is for another key (device ${shortId(invite.forDeviceId)})`);
  }
  return { ok: true, use: "first", invite };
}

/** How an invite ended, or undefined while it waits. */
export function endOf(invite: InviteRecord, nowMs: number): "used" | "withdrawn" | "expired" | undefined {
  if (invite.usedAtMs !== undefined) return "used";
  if (invite.withdrawnAtMs !== undefined) return "withdrawn";
  return nowMs >= invite.expiresAtMs ? "expired" : undefined;
}

/** The end in words: when, and by whom. */
export function inviteEnd(invite: InviteRecord, end: "used" | "withdrawn" | "expired"): string {
  switch (end) {
    case "used":
      return `the invite was used at ${time(invite.usedAtMs)} by ${nameOf(invite)}`;
    case "withdrawn":
      return `the invite was withdrawn at ${time(invite.withdrawnAtMs)}`;
    case "expired":
      return `the invite expired at ${time(invite.expiresAtMs)}`;
  }
}

/** True when nobody can be expected to ask about this invite any more. */
export function isForgettableInvite(invite: InviteRecord, nowMs: number): boolean {
  const endedAtMs = invite.usedAtMs ?? invite.withdrawnAtMs ?? invite.expiresAtMs;
  return nowMs - endedAtMs > rememberedMs;
}

/** What an invite approves of the list that a node came with: all of it, or what the invite names. */
export function invitedSurface(
  declared: DeclaredSurface,
  { commands }: Pick<InviteRecord, "commands">,
): DeclaredSurface {
  if (commands === undefined) return declared;
  return { ...declared, commands: declared.commands.filter((command) => commands.includes(command)) };
}

const unknownInvite =
  "this gateway knows no such invite: it is another gateway's, was made here long ago, or was mistyped";

/** Its own device may come back with it, for a while, as long as nobody took away what the invite gave. */
function judgeRepeat(
  invite: InviteRecord,
  { role }: InviteBearer,
  device: DeviceRecord | undefined,
  nowMs: number,
): InviteVerdict {
  if (role !== invite.role) return refuse(invite, "other_role", `the invite is for a ${invite.role}, without scopes`);
  const isEnrolled =
    device?.roles.includes(invite.role) === true && device.tokens[invite.role]?.revokedAtMs === undefined;
  if (!isEnrolled) {
    return refuse(
      invite,
      "used",
      `the invite was used at ${time(invite.usedAtMs)} by this device, which was removed since then`,
    );
  }
  const isRecent = nowMs < Math.max(invite.expiresAtMs, (invite.usedAtMs ?? 0) + repeatMs);
  if (isRecent) return { ok: true, use: "again", invite };
  return refuse(
    invite,
    "used",
    `the invite was used at ${time(invite.usedAtMs)} by this device, which has a token of its own now`,
  );
}

function refuse(invite: InviteRecord | undefined, refusal: InviteRefusal, message: string): InviteVerdict {
  return { ok: false, refusal, message, invite };
}

function nameOf({ usedBy = "", usedByName }: InviteRecord): string {
  return usedByName === undefined ? `device ${shortId(usedBy)}` : `${usedByName} (device ${shortId(usedBy)})`;
}

function shortId(deviceId: string): string {
  return deviceId.slice(0, 8);
}

/** ISO 8601 in UTC, to the second: both sides read the same. */
function time(atMs: number | undefined): string {
  return new Date(atMs ?? 0).toISOString().replace(/\.\d+Z$/u, "Z");
}
