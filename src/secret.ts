/** Secrets that cannot be printed by accident, and the two things one may do with them: compare and digest. */
import { hash, timingSafeEqual } from "node:crypto";
import { inspect } from "node:util";

/** A string that shows as `[secret]` wherever it is printed, logged or serialised. */
export class Secret {
  readonly #value: string;
  #sha256: Buffer | undefined;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. The only way to it, so that a search for `reveal` finds every use. */
  reveal(): string {
    return this.#value;
  }

  /** True when `presented`, the digest of a credential, is this secret's. Constant time. */
  isShownBy(presented: CredentialDigest): boolean {
    this.#sha256 ??= sha256(this.#value);
    return timingSafeEqual(this.#sha256, presented);
  }

  /** `sha256:1a2b3c4d`: what stands for the secret in output and logs. */
  digest(): string {
    return digest(this.#value);
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [inspect.custom](): string {
    return "[secret]";
  }
}

/** `sha256:` and the first 8 hex digits of the SHA-256 of `value`. */
export function digest(value: string): string {
  return `sha256:${hashSecret(value).slice(0, 8)}`;
}

/** Hex SHA-256 of `value`: how a high-entropy token is kept at rest. */
export function hashSecret(value: string): string {
  return hash("sha256", value, "hex");
}

/** The 32 bytes of a credential's SHA-256: made once, however many secrets it is then held against. */
export type CredentialDigest = Buffer;

/** What a credential that somebody presents is compared by. */
export function credentialDigest(value: string): CredentialDigest {
  return sha256(value);
}

/** True when `storedHash` is what `hashSecret` made of the same credential. Constant time. */
export function matchesHash(presented: CredentialDigest, storedHash: string): boolean {
  const stored = Buffer.from(storedHash, "hex");
  return stored.length === presented.length && timingSafeEqual(presented, stored);
}

/** By way of the text, which costs half of what Node.js takes for making a buffer of its own. */
function sha256(value: string): Buffer {
  return Buffer.from(hashSecret(value), "hex");
}
