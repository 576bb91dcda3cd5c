/**
 * Devices without a key (auth.md § 6). Such a client is known by a claim, a secret that the gateway made for it when it asked; its token is a
 * plain bearer. What holds for it, and for no other device:
 *
 * - A person approves it, always: no rule, no range of addresses and no invite does.
 * - It never holds operator.admin: whoever comes by the bearer is the device, and must not be able to let others in for good.
 * - Its token is told to who holds the claim, until it was used for the first time: so an answer that was lost locks nobody out, and
 *   a claim that leaks later gives nothing away. Where a used token was lost or replaced, the client has to ask anew.
 * - Apart from that it is a device like any other: its role, scopes and command list are the approved ones and never more.
 */
import { holdsScope, holdsScopes, operatorScopes } from "../protocol/vocabulary.ts";
import { hashSecret } from "../secret.ts";
import type { DeviceRecord } from "./records.ts";
import { liveHashes } from "./token-handover.ts";

/** What no token without a key holds. */
export const neverKeyless: readonly string[] = ["operator.admin"];

/** What a keyless client asks for that names no scopes. */
const defaultScopes = ["operator.read", "operator.write"];

/** The id of the device that holds this claim. No key has an id like it: those are 64 hexadecimal digits. */
export function keylessDeviceId(claim: string): string {
  return `keyless-${hashSecret(claim).slice(0, 32)}`;
}

/** The keyless device one of whose tokens has this hash, a revoked one too: those are told apart later. */
export function findKeyless(devices: Iterable<DeviceRecord>, hash: string): DeviceRecord | undefined {
  for (const device of devices) {
    if (device.keyless !== true) continue;
    for (const token of Object.values(device.tokens)) {
      if (liveHashes(token).includes(hash)) return device;
    }
  }
  return undefined;
}

/** The scopes a keyless client asks for, or why it cannot have them. `most` is what its role holds at the most. */
export function keylessScopes(
  asked: readonly string[] | undefined,
  most: readonly string[] | undefined,
): { readonly scopes: readonly string[] } | { readonly problem: string } {
  if (asked === undefined) return { scopes: defaultScopes.filter((scope) => most?.includes(scope) ?? true) };
  const unknown = asked.find((scope) => !operatorScopes.some((known) => known === scope));
  if (unknown !== undefined) return { problem: `there is no scope ${unknown}` };
  const never = asked.find((scope) => neverKeyless.includes(scope));
  if (never !== undefined) return { problem: `a token without a key cannot hold ${never}` };
  const beyond = asked.find((scope) => most !== undefined && !holdsScope(most, scope));
  return beyond === undefined ? { scopes: [...new Set(asked)] } : { problem: `this role cannot hold ${beyond}` };
}

/** True when the device has what is asked for. */
export function isGranted(device: DeviceRecord, role: string, scopes: readonly string[]): boolean {
  return device.keyless === true && device.roles.includes(role) && holdsScopes(device.scopes, scopes);
}

/** True once it has come with its token: it has it, and whoever else holds the claim by now is not told it. */
export function hasUsedToken({ usedRoles = [] }: DeviceRecord, role: string): boolean {
  return usedRoles.includes(role);
}

/** The device once it has come with its token for this role. */
export function usedToken(device: DeviceRecord, role: string): DeviceRecord {
  return { ...device, usedRoles: [...new Set([...(device.usedRoles ?? []), role])] };
}
