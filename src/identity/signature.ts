/** Sign and verify what a device says about itself (protocol.md § 3, RFC 8032). */
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { payloadVersions, type SignedFields, signedPayload } from "../protocol/signed-payload.ts";
import { type DeviceIdentity, deviceIdOf, rawPublicKey, spkiHeader } from "./device-identity.ts";

/** Why a device proof does not hold: `details.code` and `details.reason` of the refusal. */
export const proofFailures = {
  DEVICE_AUTH_DEVICE_ID_MISMATCH: "device-id-mismatch",
  DEVICE_AUTH_SIGNATURE_EXPIRED: "device-signature-stale",
  DEVICE_AUTH_NONCE_REQUIRED: "device-nonce-missing",
  DEVICE_AUTH_NONCE_MISMATCH: "device-nonce-mismatch",
  DEVICE_AUTH_SIGNATURE_INVALID: "device-signature",
  DEVICE_AUTH_PUBLIC_KEY_INVALID: "device-public-key",
} as const;
export type ProofFailure = keyof typeof proofFailures;

export interface DeviceProof {
  readonly id: string;
  readonly publicKey: string;
  readonly signature: string;
  readonly signedAt: number;
  readonly nonce?: string | undefined;
}

export interface ProofExpectation {
  readonly nonce: string;
  readonly nowMs: number;
  readonly maxSkewMs: number;
  /** What the device must have signed, besides what the proof itself states. */
  readonly fields: Omit<SignedFields, "deviceId" | "signedAt" | "nonce">;
}

export type ProofResult =
  | { readonly ok: true; readonly publicKey: string }
  | { readonly ok: false; readonly code: ProofFailure; readonly skewMs?: number };

/** The signature of the v3 payload, base64url. */
export function signPayload(identity: DeviceIdentity, fields: Omit<SignedFields, "deviceId">): string {
  const payload = signedPayload("v3", { ...fields, deviceId: identity.deviceId });
  return sign(null, Buffer.from(payload, "utf8"), identity.privateKey).toString("base64url");
}

/**
 * Checks a device's proof in the order every product version does: id, clock, nonce there, nonce equal, signature
 * (v3, then v2). Total: whatever arrives gives an answer. On success the public key comes back normalised to base64url.
 */
export function verifyProof(proof: DeviceProof, expected: ProofExpectation): ProofResult {
  const raw = rawPublicKey(proof.publicKey);
  if (raw === undefined || deviceIdOf(raw) !== proof.id) return { ok: false, code: "DEVICE_AUTH_DEVICE_ID_MISMATCH" };
  const skewMs = proof.signedAt - expected.nowMs;
  if (Math.abs(skewMs) > expected.maxSkewMs) return { ok: false, code: "DEVICE_AUTH_SIGNATURE_EXPIRED", skewMs };
  const nonce = proof.nonce?.trim() ?? "";
  if (nonce === "") return { ok: false, code: "DEVICE_AUTH_NONCE_REQUIRED" };
  if (nonce !== expected.nonce) return { ok: false, code: "DEVICE_AUTH_NONCE_MISMATCH" };
  const key = publicKeyObject(raw);
  if (key === undefined) return { ok: false, code: "DEVICE_AUTH_PUBLIC_KEY_INVALID" };
  const fields = { ...expected.fields, deviceId: proof.id, signedAt: proof.signedAt, nonce };
  const signature = Buffer.from(proof.signature, "base64url");
  const holds = payloadVersions.some((version) =>
    verify(null, Buffer.from(signedPayload(version, fields)), key, signature),
  );
  return holds
    ? { ok: true, publicKey: raw.toString("base64url") }
    : { ok: false, code: "DEVICE_AUTH_SIGNATURE_INVALID" };
}

/** A reconnecting device brings the same key: making the key object anew costs a fifth of the verification. */
const keyCache = new Map<string, KeyObject>();
const maxCachedKeys = 4096;

function publicKeyObject(raw: Buffer): KeyObject | undefined {
  const name = raw.toString("base64url");
  const cached = keyCache.get(name);
  if (cached !== undefined) return cached;
  try {
    const key = createPublicKey({ key: Buffer.concat([spkiHeader, raw]), format: "der", type: "spki" });
    if (keyCache.size >= maxCachedKeys) keyCache.clear();
    keyCache.set(name, key);
    return key;
  } catch {
    return undefined;
  }
}
