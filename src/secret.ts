/** Secrets that cannot be printed by accident, and the two things one may do with them: compare and digest. */
import { hash, timingSafeEqual } from "node:crypto";
import { inspect } from "node:util";

/** A string that shows as `[secret]` wherever it is printed, logged or serialised. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. The only way to it, so that a search for `reveal` finds every use. */
  reveal(): string {
    return this.#value;
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

/** True when `storedHash` is what `hashSecret` made of `value`. Constant time. */
export function matchesHash(value: string, storedHash: string): boolean {
  const stored = Buffer.from(storedHash, "hex");
  return stored.length === 32 && timingSafeEqual(hash("sha256", value, "buffer"), stored);
}

/** Compares in constant time, whatever the lengths: both sides are hashed first. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(hash("sha256", a, "buffer"), hash("sha256", b, "buffer"));
}
