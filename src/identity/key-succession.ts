/**
 * A device's new key, proven with its old one. Both keys sign one text that names the two device ids and the connection it is said on, so that
 * it says nothing anywhere else and at no other time: the old key hands over, the new one shows that it is there.
 */
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { type DeviceIdentity, deviceIdOf, rawPublicKey, spkiHeader } from "./device-identity.ts";

export interface KeySuccession {
  /** The new raw public key, base64url. */
  readonly publicKey: string;
  /** By the old key, base64url. */
  readonly signature: string;
  /** By the new key, base64url. */
  readonly newSignature: string;
}

export type SuccessionResult =
  | { readonly ok: true; readonly deviceId: string; readonly publicKey: string }
  | { readonly ok: false; readonly reason: "public-key" | "same-key" | "old-signature" | "new-signature" };

/** What a device says on the connection `connId` to have `next` take the place of `present`. */
export function signSuccession(present: DeviceIdentity, next: DeviceIdentity, connId: string): KeySuccession {
  const text = successionText(present.deviceId, next.deviceId, connId);
  const by = ({ privateKey }: DeviceIdentity) => sign(null, text, privateKey).toString("base64url");
  return { publicKey: next.publicKey, signature: by(present), newSignature: by(next) };
}

/** Whether both keys have signed this. Total: whatever arrives gives an answer, and the new key comes back normalised to base64url. */
export function verifySuccession(
  present: { readonly deviceId: string; readonly publicKey: string },
  said: KeySuccession,
  connId: string,
): SuccessionResult {
  const raw = rawPublicKey(said.publicKey);
  const oldKey = keyOf(rawPublicKey(present.publicKey));
  const newKey = keyOf(raw);
  if (raw === undefined || newKey === undefined) return { ok: false, reason: "public-key" };
  const deviceId = deviceIdOf(raw);
  if (deviceId === present.deviceId) return { ok: false, reason: "same-key" };
  const text = successionText(present.deviceId, deviceId, connId);
  const holds = (key: KeyObject, signature: string) => verify(null, text, key, Buffer.from(signature, "base64url"));
  if (oldKey === undefined || !holds(oldKey, said.signature)) return { ok: false, reason: "old-signature" };
  if (!holds(newKey, said.newSignature)) return { ok: false, reason: "new-signature" };
  return { ok: true, deviceId, publicKey: raw.toString("base64url") };
}

/** The bytes both keys sign. No part can hold a `|`: ids are hex, and what a gateway calls a connection is the last one. */
function successionText(oldId: string, newId: string, connId: string): Buffer {
  return Buffer.from(["device-key-rotate", "v1", oldId, newId, connId].join("|"), "utf8");
}

function keyOf(raw: Buffer | undefined): KeyObject | undefined {
  try {
    return raw === undefined
      ? undefined
      : createPublicKey({ key: Buffer.concat([spkiHeader, raw]), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}
