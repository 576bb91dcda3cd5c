/** The code of a pairing request as people compare, type and read it. How both ends come to it: `sas.ts`. */
import { pairingWords } from "./pairing-words.ts";

/** What people compare. */
export interface PairingCode {
  /** Six digits: one in a million matches by accident. */
  readonly digits: string;
  /** Four words, joined with hyphens: one in four thousand million does. */
  readonly words: string;
}

/** Whether `text` is this code, as digits or as words, however a person separates them. */
export function isPairingCode(text: string, code: PairingCode | undefined): boolean {
  const read = readPairingCode(text);
  return read !== undefined && (read === code?.digits || read === code?.words);
}

/** `482 913`, `482-913`, `Amber river stone willow` as they are written in a code; undefined for what cannot be one. */
export function readPairingCode(text: string): string | undefined {
  const parts = text
    .trim()
    .toLowerCase()
    .split(/[\s-]+/u);
  const digits = parts.join("");
  if (/^\d{6}$/u.test(digits)) return digits;
  return parts.length === 4 && parts.every((part) => pairingWords.includes(part)) ? parts.join("-") : undefined;
}

/** `482 913, amber-river-stone-willow`: how a code is shown. */
export function formatPairingCode({ digits, words }: PairingCode): string {
  return `${digits.slice(0, 3)} ${digits.slice(3)}, ${words}`;
}
