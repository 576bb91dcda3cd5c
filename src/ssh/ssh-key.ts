/** SSH key files: make a throw-away key, and learn what a file holds before (or without) decrypting it. */
import { createPrivateKey, generateKeyPairSync, randomBytes } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { Secret } from "../secret.ts";
import { blobType } from "./known-hosts.ts";

export interface SshKey {
  /** The private key as an OpenSSH file has it. */
  readonly privateKey: Secret;
  /** One line of `authorized_keys`: type, base64, comment. */
  readonly publicKey: string;
}

const magic = "openssh-key-v1\0";

/** A fresh Ed25519 key, unencrypted. */
export function generateSshKey(comment = "openclaw"): SshKey {
  const { privateKey } = generateKeyPairSync("ed25519");
  const publicBlob = ed25519Blob(privateKey);
  return {
    privateKey: new Secret(openSshText(privateKey, comment)),
    publicKey: `ssh-ed25519 ${publicBlob.toString("base64")} ${comment}`,
  };
}

/** The public key blob of an OpenSSH private key file, which stands in clear even in an encrypted one (PROTOCOL.key). */
export function publicBlobOf(privateText: string): Buffer | undefined {
  const [, , , publicBlob] = readHeader(privateText) ?? [];
  return publicBlob !== undefined && blobType(publicBlob) !== "" ? publicBlob : undefined;
}

/** The public key blob of one line of a `.pub` file. */
export function publicBlobOfLine(publicText: string): Buffer | undefined {
  const [type = "", encoded = ""] = publicText.trim().split(/\s+/);
  const blob = Buffer.from(encoded, "base64");
  return type !== "" && blobType(blob) === type ? blob : undefined;
}

/** True when a private key file needs a passphrase: OpenSSH, PKCS#1/SEC1 PEM (RFC 1421) and PKCS#8 forms. */
export function isEncryptedKey(privateText: string): boolean {
  const [cipher] = readHeader(privateText) ?? [];
  if (cipher !== undefined) return cipher.toString() !== "none";
  return /^Proc-Type: 4,ENCRYPTED|^-----BEGIN ENCRYPTED PRIVATE KEY-----/m.test(privateText);
}

/** The cipher that an OpenSSH private key file is encrypted with; undefined for other forms. */
export function keyCipher(privateText: string): string | undefined {
  return readHeader(privateText)?.[0].toString("latin1");
}

/**
 * The same key in a form the SSH library reads, unencrypted. Of PEM (PKCS#1, SEC1, PKCS#8) it knows only some forms and ciphers, so
 * node:crypto opens them. Throws its error when the passphrase is wrong. OpenSSH's own form is left as it is.
 */
export function readableKeyText(privateText: string, passphrase?: Secret): string {
  // Only the key itself: "EC PARAMETERS" may stand before it.
  const [pem] =
    /-----BEGIN (?:(?:RSA|EC|ENCRYPTED) )?PRIVATE KEY-----[^]+?-----END [A-Z ]+-----/.exec(privateText) ?? [];
  if (pem === undefined) return privateText;
  const secret = passphrase === undefined ? {} : { passphrase: passphrase.reveal() };
  const key = createPrivateKey({ key: pem, format: "pem", ...secret });
  switch (key.asymmetricKeyType) {
    case "ed25519":
      return openSshText(key, "");
    case "ec":
      return key.export({ type: "sec1", format: "pem" }).toString();
    default:
      return key.export({ type: "pkcs1", format: "pem" }).toString();
  }
}

/** Cipher, key derivation, its options and the public key of an OpenSSH file; undefined when it is none. */
function readHeader(privateText: string): [Buffer, Buffer, Buffer, Buffer] | undefined {
  const match = /-----BEGIN OPENSSH PRIVATE KEY-----([\sA-Za-z0-9+/=]+)-----END/.exec(privateText);
  const data = Buffer.from(match?.[1] ?? "", "base64");
  if (data.toString("latin1", 0, magic.length) !== magic) return undefined;
  let at = magic.length;
  const next = () => {
    const length = at + 4 <= data.length ? data.readUInt32BE(at) : 0;
    const field = data.subarray(at + 4, at + 4 + length);
    at += 4 + length;
    return field;
  };
  const [cipher, derivation, options] = [next(), next(), next()];
  at += 4; // The number of keys, which is always one.
  return [cipher, derivation, options, next()];
}

/** An unencrypted OpenSSH private key file for an Ed25519 key (PROTOCOL.key § 1-3). */
function openSshText(key: KeyObject, comment: string): string {
  const publicBlob = ed25519Blob(key);
  const { seed, point } = ed25519Parts(key);
  const check = randomBytes(4);
  const secretPart = Buffer.concat([check, check, publicBlob, field(Buffer.concat([seed, point])), field(comment)]);
  const padding = Buffer.from(Array.from({ length: (8 - (secretPart.length % 8)) % 8 }, (_, index) => index + 1));
  const none = Buffer.concat([field("none"), field("none"), field(""), Buffer.from([0, 0, 0, 1])]);
  const file = Buffer.concat([
    Buffer.from(magic),
    none,
    field(publicBlob),
    field(Buffer.concat([secretPart, padding])),
  ]);
  const lines = file.toString("base64").match(/.{1,70}/g) ?? [];
  return ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----", ""].join("\n");
}

function ed25519Blob(key: KeyObject): Buffer {
  return Buffer.concat([field("ssh-ed25519"), field(ed25519Parts(key).point)]);
}

function ed25519Parts(key: KeyObject): { seed: Buffer; point: Buffer } {
  const { d = "", x = "" } = key.export({ format: "jwk" });
  return { seed: Buffer.from(d, "base64url"), point: Buffer.from(x, "base64url") };
}

/** A `string` of RFC 4251 § 5: its length in four bytes, then itself. */
function field(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
