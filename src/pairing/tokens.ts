/**
 * Device tokens: 43 characters of base64url, one per device and role. A token is derived from a secret that only the gateway's
 * own file holds and a salt in the record, so that the same token can be handed out again on a reconnect while the store keeps nothing
 * but a hash: who reads the store alone learns no token.
 */
import { createHmac, type KeyObject } from "node:crypto";
import { hashSecret } from "../secret.ts";
import type { DeviceRecord, TokenRecord } from "./records.ts";
import { beginHandover, type Overlap } from "./token-handover.ts";

/** What tokens are derived with. A key object costs half the time of raw bytes, which are made into one at every use. */
export type GatewayKey = Uint8Array | KeyObject;

/** The token of this device, role and salt. */
export function deriveToken(gatewayKey: GatewayKey, deviceId: string, role: string, salt: string): string {
  return createHmac("sha256", gatewayKey).update(`device-token|${deviceId}|${role}|${salt}`).digest("base64url");
}

/**
 * The device with a new token for `role`. The old one, if there was one, is no longer known, unless an overlap lets it live on.
 * `salt` is 16 random bytes, base64url.
 */
export function issueToken(
  device: DeviceRecord,
  { gatewayKey, role, scopes, salt, nowMs, overlap }: IssueOptions,
): { readonly device: DeviceRecord; readonly token: string; readonly record: TokenRecord } {
  const token = deriveToken(gatewayKey, device.deviceId, role, salt);
  const previous = device.tokens[role];
  const record: TokenRecord = {
    role,
    scopes,
    hash: hashSecret(token),
    salt,
    createdAtMs: previous?.createdAtMs ?? nowMs,
    ...(previous === undefined ? {} : { rotatedAtMs: nowMs }),
    ...(previous === undefined || overlap === undefined ? {} : { handover: beginHandover(previous, overlap, nowMs) }),
  };
  return { device: { ...device, tokens: { ...device.tokens, [role]: record } }, token, record };
}

export interface IssueOptions {
  readonly gatewayKey: GatewayKey;
  readonly role: string;
  readonly scopes: readonly string[];
  readonly salt: string;
  readonly nowMs: number;
  readonly overlap?: Overlap | undefined;
}

/**
 * The device with its live token for `role` holding `scopes` from now on, or undefined when it has none. The token stays the same: a
 * device that has no other credential must not be locked out by the approval that it asked for.
 */
export function widenToken(device: DeviceRecord, role: string, scopes: readonly string[]): DeviceRecord | undefined {
  const token = Object.hasOwn(device.tokens, role) ? device.tokens[role] : undefined;
  if (token === undefined || token.revokedAtMs !== undefined) return undefined;
  return { ...device, tokens: { ...device.tokens, [role]: { ...token, scopes } } };
}

/**
 * The device without the use of its token for `role`, in any generation, and without that role: it has to be approved again. Its operator scopes
 * go with the role operator, so that a later approval of less does not bring the old ones back.
 */
export function revokeToken(device: DeviceRecord, role: string, nowMs: number): DeviceRecord {
  const token = Object.hasOwn(device.tokens, role) ? device.tokens[role] : undefined;
  return {
    ...device,
    ...(role === "operator" ? { scopes: [] } : {}),
    roles: device.roles.filter((held) => held !== role),
    ...(token === undefined ? {} : { tokens: { ...device.tokens, [role]: revoked(token, nowMs) } }),
  };
}

function revoked({ handover: _handover, ...token }: TokenRecord, nowMs: number): TokenRecord {
  return { ...token, revokedAtMs: nowMs };
}

/** The token to hand to a device that is in: what it had already, or undefined when the record cannot be derived any more. */
export function reissuableToken(gatewayKey: GatewayKey, device: DeviceRecord, role: string): string | undefined {
  const record = device.tokens[role];
  if (record === undefined || record.revokedAtMs !== undefined) return undefined;
  const token = deriveToken(gatewayKey, record.derivedFor ?? device.deviceId, role, record.salt);
  return hashSecret(token) === record.hash ? token : undefined;
}
