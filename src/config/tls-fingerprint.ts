/** The SHA-256 of a certificate, as people copy it from various tools. */
import { OpenClawError } from "../errors.ts";

/** Lower-case hex without colons, from hex in either case, with or without colons and a `sha256` in front; else undefined. */
export function readFingerprint(text: string): string | undefined {
  const hex = text
    .trim()
    .replace(/^sha-?256(?: fingerprint)?[:=]?\s*/i, "")
    .replaceAll(":", "")
    .toLowerCase();
  return /^[0-9a-f]{64}$/.test(hex) ? hex : undefined;
}

/** The same, with `usage` for what is no fingerprint. */
export function parseFingerprint(text: string, what: string): string {
  const hex = readFingerprint(text);
  if (hex !== undefined) return hex;
  throw new OpenClawError("usage", `${what} is not the SHA-256 of a certificate`, {
    hint: "write its 64 hex digits, with or without colons",
  });
}
