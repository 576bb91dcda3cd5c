/** A device is its Ed25519 key (RFC 8032). This file makes, reads and writes that key; nothing here touches a disk. */
import { createPrivateKey, createPublicKey, hash, type KeyObject } from "node:crypto";
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";

/** What everybody may know of a device. */
export interface PublicIdentity {
  /** Lower-case hex SHA-256 of the 32 raw public key bytes. */
  readonly deviceId: string;
  /** The raw public key, base64url without padding: its form on the wire. */
  readonly publicKey: string;
  readonly createdAtMs: number;
}

export interface DeviceIdentity extends PublicIdentity {
  readonly privateKey: KeyObject;
}

/** What an identity file says: the whole identity, or its public parts and which keychain entry holds the private key. */
export type IdentityFile =
  | {
      readonly store: "file";
      readonly identity: DeviceIdentity;
      /** A keychain entry that may hold a copy of the key: one that is on its way there, or from there. */
      readonly copyIn?: string;
    }
  | { readonly store: "keychain"; readonly identity: PublicIdentity; readonly entry: string };

/** The shape of `identity/device.json`, the product's and ours alike (protocol.md § 9). */
const identityFile = v.object({
  version: v.literal(1),
  deviceId: v.string(),
  publicKeyPem: v.string(),
  privateKeyPem: v.string(),
  createdAtMs: v.number(),
});

/** Ours alone: programs that do not know it miss `privateKeyPem`, and say so. */
const keychainFile = v.object({
  version: v.literal(1),
  deviceId: v.string(),
  publicKeyPem: v.string(),
  privateKeyIn: v.object({ keychain: v.string() }),
  createdAtMs: v.number(),
});
const fileWithCopy = v.object({ copyIn: v.object({ keychain: v.string() }) });

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
  return wholeIdentity(parseJson(text, path), path);
}

/** The same for a file of ours, whose private key may be in the keychain. */
export function parseIdentityFile(text: string, path: string): IdentityFile {
  const json = parseJson(text, path);
  const read = v.safeParse(keychainFile, json);
  if (read.success) {
    const { deviceId, publicKeyPem, privateKeyIn, createdAtMs } = read.output;
    const raw = rawPublicKey(publicKeyPem);
    if (raw === undefined || deviceIdOf(raw) !== deviceId) throw broken(path, wrongId);
    const identity = { deviceId, publicKey: raw.toString("base64url"), createdAtMs };
    return { store: "keychain", identity, entry: privateKeyIn.keychain };
  }
  const identity = wholeIdentity(json, path);
  const copied = v.safeParse(fileWithCopy, json);
  if (!copied.success) return { store: "file", identity };
  return { store: "file", identity, copyIn: copied.output.copyIn.keychain };
}

/** The identity with its private key, PKCS #8 PEM; undefined when the two do not belong together. */
export function withPrivateKey(known: PublicIdentity, pem: string): DeviceIdentity | undefined {
  try {
    const identity = identityOf(createPrivateKey(pem), known.createdAtMs);
    return identity.deviceId === known.deviceId ? identity : undefined;
  } catch {
    return undefined;
  }
}

/** The private key, PKCS #8 PEM. */
export function privateKeyPem({ privateKey }: DeviceIdentity): string {
  return String(privateKey.export({ format: "pem", type: "pkcs8" }));
}

/** The text of the identity file of this identity: PEM keys, a trailing newline. `copyIn` names a keychain entry for who cleans up. */
export function formatIdentity(identity: DeviceIdentity, copyIn?: string): string {
  const file = {
    ...publicFields(identity),
    privateKeyPem: identity.privateKey.export({ format: "pem", type: "pkcs8" }),
    createdAtMs: identity.createdAtMs,
    ...(copyIn === undefined ? {} : { copyIn: { keychain: copyIn } }),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** The text of the identity file when the private key is in the keychain, under the name `entry`. */
export function formatKeychainIdentity(identity: DeviceIdentity, entry: string): string {
  const file = {
    ...publicFields(identity),
    privateKeyIn: { keychain: entry },
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

const wrongId = "its device id does not belong to its key";

function broken(path: string, why: string, cause?: unknown): OpenClawError {
  return new OpenClawError("state-unreadable", `${path} is not a device identity: ${why}`, {
    hint: "nothing was changed; restore the file from a backup, or move it away to start with a new identity that has to be paired again",
    details: { path },
    cause,
  });
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw broken(path, "it is not JSON", cause);
  }
}

function wholeIdentity(json: unknown, path: string): DeviceIdentity {
  const read = v.safeParse(identityFile, json);
  if (!read.success) {
    throw broken(path, `${v.getDotPath(read.issues[0]) ?? "the file"} is missing or of the wrong type`);
  }
  const { privateKeyPem: pem, publicKeyPem, deviceId, createdAtMs } = read.output;
  const identity = (() => {
    try {
      return identityOf(createPrivateKey(pem), createdAtMs);
    } catch (cause) {
      throw broken(path, "its private key cannot be read as Ed25519", cause);
    }
  })();
  if (rawPublicKey(publicKeyPem)?.toString("base64url") !== identity.publicKey) {
    throw broken(path, "its public key does not belong to its private key");
  }
  if (identity.deviceId !== deviceId) throw broken(path, wrongId);
  return identity;
}

function publicFields(identity: DeviceIdentity) {
  return {
    version: 1,
    deviceId: identity.deviceId,
    publicKeyPem: createPublicKey(identity.privateKey).export({ format: "pem", type: "spki" }),
  };
}
