/** A device is its Ed25519 key (RFC 8032). This file makes, reads and writes that key; nothing here touches a disk. */
import { createPrivateKey, createPublicKey, hash, type KeyObject } from "node:crypto";
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";

export interface DeviceIdentity {
  /** Lower-case hex SHA-256 of the 32 raw public key bytes. */
  readonly deviceId: string;
  /** The raw public key, base64url without padding: its form on the wire. */
  readonly publicKey: string;
  readonly privateKey: KeyObject;
  readonly createdAtMs: number;
}

/** The shape of `identity/device.json`, the product's and ours alike (protocol.md § 9). */
const identityFile = v.object({
  version: v.literal(1),
  deviceId: v.string(),
  publicKeyPem: v.string(),
  privateKeyPem: v.string(),
  createdAtMs: v.number(),
});

/** PKCS #8 header of an Ed25519 private key (RFC 8410 § 7); the 32-byte seed follows. */
const pkcs8Header = Buffer.from("302e020100300506032b657004220420", "hex");
/** SPKI header of an Ed25519 public key (RFC 8410 § 4); the 32 raw bytes follow. */
export const spkiHeader = Buffer.from("302a300506032b6570032100", "hex");

/** The identity that grows from a 32-byte seed. The same seed gives the same identity. */
export function createIdentity(seed: Uint8Array, createdAtMs: number): DeviceIdentity {
  if (seed.length !== 32) throw new RangeError(`an Ed25519 seed has 32 bytes, not ${seed.length}`);
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8Header, seed]), format: "der", type: "pkcs8" });
  return identityOf(privateKey, createdAtMs);
}

/** The text of an identity file, or a `state-unreadable` failure that names `path` and what is wrong with it. */
export function parseIdentity(text: string, path: string): DeviceIdentity {
  const broken = (why: string, cause?: unknown) =>
    new OpenClawError("state-unreadable", `${path} is not a device identity: ${why}`, {
      hint: "nothing was changed; restore the file from a backup, or move it away to start with a new identity that has to be paired again",
      details: { path },
      cause,
    });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw broken("it is not JSON", cause);
  }
  const read = v.safeParse(identityFile, json);
  if (!read.success) throw broken(`${v.getDotPath(read.issues[0]) ?? "the file"} is missing or of the wrong type`);
  const { privateKeyPem, publicKeyPem, deviceId, createdAtMs } = read.output;
  const identity = (() => {
    try {
      return identityOf(createPrivateKey(privateKeyPem), createdAtMs);
    } catch (cause) {
      throw broken("its private key cannot be read as Ed25519", cause);
    }
  })();
  if (rawPublicKey(publicKeyPem)?.toString("base64url") !== identity.publicKey) {
    throw broken("its public key does not belong to its private key");
  }
  if (identity.deviceId !== deviceId) throw broken("its device id does not belong to its key");
  return identity;
}

/** The text of the identity file of this identity: PEM keys, a trailing newline. */
export function formatIdentity(identity: DeviceIdentity): string {
  const file = {
    version: 1,
    deviceId: identity.deviceId,
    publicKeyPem: createPublicKey(identity.privateKey).export({ format: "pem", type: "spki" }),
    privateKeyPem: identity.privateKey.export({ format: "pem", type: "pkcs8" }),
    createdAtMs: identity.createdAtMs,
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** The 32 raw bytes of a public key given as base64url, standard base64 or SPKI PEM; undefined when it is none of them. */
export function rawPublicKey(key: string): Buffer | undefined {
  const body = key.includes("-----") ? key.replace(/-----[^-]+-----/gu, "") : key;
  const compact = body.replace(/\s+/gu, "");
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/u.test(compact)) return undefined;
  const bytes = Buffer.from(compact, "base64url"); // reads both alphabets
  if (bytes.length === 32) return bytes;
  const isSpki = bytes.length === 44 && bytes.subarray(0, spkiHeader.length).equals(spkiHeader);
  return isSpki ? bytes.subarray(spkiHeader.length) : undefined;
}

/** The device id of a raw public key. */
export function deviceIdOf(rawKey: Uint8Array): string {
  return hash("sha256", rawKey, "hex");
}

function identityOf(privateKey: KeyObject, createdAtMs: number): DeviceIdentity {
  if (privateKey.asymmetricKeyType !== "ed25519") throw new TypeError(`a ${privateKey.asymmetricKeyType} key`);
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  const raw = spki.subarray(spkiHeader.length);
  return { deviceId: deviceIdOf(raw), publicKey: raw.toString("base64url"), privateKey, createdAtMs };
}
