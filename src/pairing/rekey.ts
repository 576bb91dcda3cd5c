/** A device under a new key: what was approved, named and issued stays with it. */
import type { DeviceRecord, SurfaceRequestRecord, TokenRecord } from "./records.ts";

export interface NewKey {
  readonly deviceId: string;
  /** Raw, base64url. */
  readonly publicKey: string;
}

/** The record under its new id: roles, scopes, name, command list and approvals as before, and the tokens that the device holds. */
export function rekeyDevice(device: DeviceRecord, { deviceId, publicKey }: NewKey): DeviceRecord {
  const tokens = Object.entries(device.tokens).map(([role, token]) => [role, derivedFor(token, device.deviceId)]);
  const formerDeviceIds = [...(device.formerDeviceIds ?? []), device.deviceId];
  return { ...device, deviceId, publicKey, formerDeviceIds, tokens: Object.fromEntries(tokens) };
}

/** A token is derived from the id of its device: which one that was has to be known to derive it again. */
function derivedFor(token: TokenRecord, deviceId: string): TokenRecord {
  return { ...token, derivedFor: token.derivedFor ?? deviceId };
}

/** The request for a command list, as one of the device under its new id: its owner can approve it as if nothing had happened. */
export function rekeySurfaceRequest(request: SurfaceRequestRecord, { deviceId }: NewKey): SurfaceRequestRecord {
  return { ...request, nodeId: deviceId };
}
