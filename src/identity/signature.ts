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
  const signer = signerOf(proof.publicKey);
  if (signer === undefined || signer.deviceId !== proof.id)
    return { ok: false, code: "DEVICE_AUTH_DEVICE_ID_MISMATCH" };
  const skewMs = proof.signedAt - expected.nowMs;
  if (Math.abs(skewMs) > expected.maxSkewMs) return { ok: false, code: "DEVICE_AUTH_SIGNATURE_EXPIRED", skewMs };
  const nonce = proof.nonce?.trim() ?? "";
  if (nonce === "") return { ok: false, code: "DEVICE_AUTH_NONCE_REQUIRED" };
  if (nonce !== expected.nonce) return { ok: false, code: "DEVICE_AUTH_NONCE_MISMATCH" };
  const { key } = signer;
  if (key === undefined) return { ok: false, code: "DEVICE_AUTH_PUBLIC_KEY_INVALID" };
  const fields = { ...expected.fields, deviceId: proof.id, signedAt: proof.signedAt, nonce };
  const signature = Buffer.from(proof.signature, "base64url");
  const holds = payloadVersions.some((version) =>
    verify(null, Buffer.from(signedPayload(version, fields)), key, signature),
  );
  return holds ? { ok: true, publicKey: signer.publicKey } : { ok: false, code: "DEVICE_AUTH_SIGNATURE_INVALID" };
}

interface Signer {
  readonly deviceId: string;
  /** Normalised to base64url. */
  readonly publicKey: string;
  /** Undefined for 32 bytes that are no point of the curve. */
  readonly key: KeyObject | undefined;
}

/** A reconnecting device brings the same key: making all this anew costs a quarter of the verification. */
const signers = new Map<string, Signer>();
const maxSigners = 4096;
/** A key is 43 characters; a stranger may wrap it in as many blanks as a message holds, which is no reason to keep them. */
const maxRememberedText = 128;

/** Whose key this is; undefined for text that holds no key. */
function signerOf(publicKey: string): Signer | undefined {
  const known = signers.get(publicKey);
  if (known !== undefined) return known;
  const raw = rawPublicKey(publicKey);
  if (raw === undefined) return undefined;
  const signer = { deviceId: deviceIdOf(raw), publicKey: raw.toString("base64url"), key: publicKeyObject(raw) };
  if (publicKey.length > maxRememberedText) return signer;
  if (signers.size >= maxSigners) signers.clear();
  signers.set(publicKey, signer);
  return signer;
}

function publicKeyObject(raw: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.concat([spkiHeader, raw]), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}
