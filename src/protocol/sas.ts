/**
 * The code of a pairing request: a short authentication string (RFC 6189 § 7, with the commitment of § 4.4.1.1) that the device and the gateway each compute from both
 * keys and both nonces. When the two are alike, nobody stands between them with a key of their own.
 *
 * gateway -> refusal details.sas {gatewayKey, commitment}      the gateway has chosen its nonce, and says only its hash
 * device  -> connect params.sas {commitment, nonce}            the device chooses without knowing the gateway's
 * gateway -> refusal details.sas {…, gatewayNonce}             now either can compute the code
 *
 * Whoever stands between them has to choose before it learns what the others chose, so each code it can try costs it a round.
 */
import { createHash } from "node:crypto";
import * as v from "valibot";
import type { PairingCode } from "./pairing-code.ts";
import { pairingWords } from "./pairing-words.ts";

/** Both keys and both nonces: 32 bytes each, as base64url. */
export interface CodeParts {
  readonly deviceKey: string;
  readonly gatewayKey: string;
  readonly deviceNonce: string;
  readonly gatewayNonce: string;
}

/** 32 bytes as base64url. */
const bytes32 = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/u, "must be 32 bytes as base64url"));

/** What a device puts into `connect`: its nonce, for the round with this commitment. */
export const sasAnswer = v.strictObject({ commitment: bytes32, nonce: bytes32 });
export type SasAnswer = v.InferOutput<typeof sasAnswer>;

/** What a gateway puts into the details of its refusal. */
export interface SasOffer {
  readonly gatewayKey: string;
  readonly commitment: string;
  readonly gatewayNonce?: string | undefined;
}

const sasOffer = v.object({ gatewayKey: bytes32, commitment: bytes32, gatewayNonce: v.optional(bytes32) });

/** Unknown -> offer; undefined for anything else, as gateways without codes send. */
export function readSasOffer(value: unknown): SasOffer | undefined {
  const read = v.safeParse(sasOffer, value);
  return read.success ? read.output : undefined;
}

/** What the gateway binds itself to before it is told the device's nonce. */
export function commitmentTo({ gatewayKey, gatewayNonce }: Pick<CodeParts, "gatewayKey" | "gatewayNonce">): string {
  return digestOf("openclaw pairing commitment 1", [gatewayKey, gatewayNonce]).toString("base64url");
}

/** The code that both ends compute. */
export function pairingCode({ deviceKey, gatewayKey, deviceNonce, gatewayNonce }: CodeParts): PairingCode {
  const digest = digestOf("openclaw pairing code 1", [deviceKey, gatewayKey, deviceNonce, gatewayNonce]);
  // 64 bits modulo a million: no digit is likelier than another by more than one part in 10^13.
  const number = digest.readBigUInt64BE(0) % 1_000_000n;
  const words = [...digest.subarray(8, 12)].map((byte) => pairingWords[byte]);
  return { digits: String(number).padStart(6, "0"), words: words.join("-") };
}

function digestOf(purpose: string, parts: readonly string[]): Buffer {
  const hash = createHash("sha256").update(`${purpose}\n`);
  for (const part of parts) hash.update(Buffer.from(part, "base64url"));
  return hash.digest();
}
