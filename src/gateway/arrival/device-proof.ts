/** The gate of the device's key: its signature over our nonce and the credential. */
import { type DeviceProof, proofFailures, verifyProof } from "../../identity/signature.ts";
import { maxClockSkewMs } from "../../protocol/limits.ts";
import type { RefusalCode } from "../../protocol/refusals.ts";
import { signedToken } from "../../protocol/signed-payload.ts";
import type { Role } from "../../protocol/vocabulary.ts";
import type { Arrival, Gatehouse } from "../gatehouse.ts";
import { type ConnectRefusal, refuseConnect } from "../refusal.ts";
import { accepted, passed, refused, type TraceStep } from "../trace.ts";

export function proofStep(proof: ProofOutcome | undefined): TraceStep {
  if (proof === undefined) return passed("device-proof", "the connect carries no device");
  if (proof.ok && proof.publicKey === "") return passed("device-proof", "a keyless device shows its token");
  return proof.ok ? accepted("device-proof", "the signature holds") : refused("device-proof", proof.reason);
}

export type ProofOutcome =
  | { readonly ok: true; readonly deviceId: string; readonly publicKey: string }
  | { readonly ok: false; readonly code: RefusalCode; readonly reason: string; readonly skewMs?: number | undefined };

/** The device's signature over our nonce and the credential; undefined when the connect carries no device. */
export function checkProof(
  house: Gatehouse,
  { params, nonce, bearerOf }: Arrival,
  role: Role,
): ProofOutcome | undefined {
  const { device, client } = params;
  if (device === undefined) return bearerOf === undefined ? undefined : { ok: true, deviceId: bearerOf, publicKey: "" };
  const proof: DeviceProof = device;
  const result = verifyProof(proof, {
    nonce,
    nowMs: house.runtime.now(),
    maxSkewMs: maxClockSkewMs,
    fields: {
      clientId: client.id,
      clientMode: client.mode,
      role,
      scopes: params.scopes ?? [],
      token: signedToken(params.auth ?? {}),
      platform: client.platform,
      deviceFamily: client.deviceFamily,
    },
  });
  if (result.ok) return { ok: true, deviceId: device.id, publicKey: result.publicKey };
  return { ok: false, code: result.code, reason: proofFailures[result.code], skewMs: result.skewMs };
}

export function refuseProof({ code, reason, skewMs }: ProofOutcome & { readonly ok: false }): ConnectRefusal {
  if (skewMs === undefined) return refuseConnect(code, `device proof refused: ${reason}`, { reason });
  const direction = skewMs > 0 ? "ahead of" : "behind";
  const message = `device signature expired: its clock is ${Math.round(Math.abs(skewMs) / 1000)} s ${direction} this gateway's`;
  return refuseConnect(code, message, { reason, skewMs });
}
