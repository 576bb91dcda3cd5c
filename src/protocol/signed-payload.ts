/** The exact bytes a device signs (protocol.md § 3). Golden vectors are in test/protocol/signed-payload.test.ts. */

export interface SignedFields {
  /** Lower-case hex SHA-256 of the raw public key. */
  readonly deviceId: string;
  readonly clientId: string;
  readonly clientMode: string;
  /** The effective role: `operator` when the connect named none. */
  readonly role: string;
  /** As sent: not sorted, not de-duplicated. */
  readonly scopes: readonly string[];
  /** Milliseconds since the epoch. */
  readonly signedAt: number;
  /** The credential the connect carries (`signedToken`), or empty. */
  readonly token: string;
  readonly nonce: string;
  readonly platform?: string | undefined;
  readonly deviceFamily?: string | undefined;
}

export const payloadVersions = ["v3", "v2"] as const;
export type PayloadVersion = (typeof payloadVersions)[number];

/** The text whose UTF-8 bytes are signed. v3 adds platform and device family to v2. */
export function signedPayload(version: PayloadVersion, fields: SignedFields): string {
  const common = [
    version,
    fields.deviceId,
    fields.clientId,
    fields.clientMode,
    fields.role,
    fields.scopes.join(","),
    String(fields.signedAt),
    fields.token,
    fields.nonce,
  ];
  switch (version) {
    case "v2":
      return common.join("|");
    case "v3":
      return [...common, normalise(fields.platform), normalise(fields.deviceFamily)].join("|");
  }
}

/** The credential that the signature covers: the token, else the device token, else the bootstrap token; never a password. */
export function signedToken(auth: {
  readonly token?: string | undefined;
  readonly deviceToken?: string | undefined;
  readonly bootstrapToken?: string | undefined;
}): string {
  return auth.token ?? auth.deviceToken ?? auth.bootstrapToken ?? "";
}

/** Trimmed, and only A-Z lower-cased: other letters keep their case, so that every language agrees on the bytes. */
export function normalise(value: string | undefined): string {
  const trimmed = (value ?? "").trim();
  return /[A-Z]/.test(trimmed) ? trimmed.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) : trimmed;
}
