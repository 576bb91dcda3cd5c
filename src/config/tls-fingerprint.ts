/**
 * What a server's certificate is held to: the SHA-256 of the certificate, as people copy it from various tools, or that of its public
 * key, which a renewal may keep, in the form of RFC 7469 § 2.4 with the algorithm in front: `sha256/<base64>`.
 */
import { OpenClawError } from "../errors.ts";

/**
 * A certificate's as lower-case hex without colons, from hex in either case, with or without colons and a `sha256` in front; a key's as
 * `sha256/<base64>`, with one slash or, as curl writes it, two. Else undefined.
 */
export function readFingerprint(text: string): string | undefined {
  const [, base64] = /^sha256\/{1,2}([0-9a-z+/]{43}=)$/i.exec(text.trim()) ?? [];
  // Written anew: the last digit has two bits that do not count.
  if (base64 !== undefined) return `sha256/${Buffer.from(base64, "base64").toString("base64")}`;
  const hex = text
    .trim()
    .replace(/^sha-?256(?: fingerprint)?[:=]?\s*/i, "")
    .replaceAll(":", "")
    .toLowerCase();
  return isCertificatePin(hex) ? hex : undefined;
}

/** The same, with `usage` for what is no fingerprint. */
export function parseFingerprint(text: string, what: string): string {
  const pin = readFingerprint(text);
  if (pin !== undefined) return pin;
  throw new OpenClawError("usage", `${what} is not the SHA-256 of a certificate or of a public key`, {
    hint: "write the 64 hex digits of the certificate's, with or without colons, or sha256/<base64> of the public key's",
  });
}

/** True for the pin of a certificate: the one form that setup codes have room for. */
export function isCertificatePin(pin: string): boolean {
  return /^[0-9a-f]{64}$/.test(pin);
}
