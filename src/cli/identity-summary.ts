/** The public parts of an identity, as commands print them. */
import type { PublicIdentity } from "../identity/device-identity.ts";
import { fingerprint } from "../identity/fingerprint.ts";

export interface IdentitySummary {
  readonly deviceId: string;
  readonly fingerprint: string;
  readonly publicKey: string;
  readonly createdAtMs: number;
  readonly path: string;
}

export function describeIdentity(identity: PublicIdentity, path: string): IdentitySummary {
  const { deviceId, publicKey, createdAtMs } = identity;
  return { deviceId, fingerprint: fingerprint(deviceId), publicKey, createdAtMs, path };
}
