import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { formatPairingCode, isPairingCode, readPairingCode } from "../../src/protocol/pairing-code.ts";
import { commitmentTo, pairingCode, readSasOffer } from "../../src/protocol/sas.ts";
import { pairingWords } from "../../src/protocol/pairing-words.ts";

const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array).toString("base64url"));
const parts = fc.record({ deviceKey: bytes, gatewayKey: bytes, deviceNonce: bytes, gatewayNonce: bytes });

test("there is a word for each byte, and no two begin alike", () => {
  expect(pairingWords).toHaveLength(256);
  expect(new Set(pairingWords.map((word) => word.slice(0, 4))).size).toBe(256);
  expect(pairingWords.filter((word) => !/^[a-z]{3,8}$/u.test(word))).toEqual([]);
});

test("digits and words are what anybody computes from both keys and both nonces", () => {
  fc.assert(
    fc.property(parts, (all) => {
      const input = [all.deviceKey, all.gatewayKey, all.deviceNonce, all.gatewayNonce];
      const digest = createHash("sha256")
        .update("openclaw pairing code 1\n")
        .update(Buffer.concat(input.map((part) => Buffer.from(part, "base64url"))))
        .digest();
      const number = BigInt(`0x${digest.subarray(0, 8).toString("hex")}`) % 1_000_000n;
      const words = [...digest.subarray(8, 12)].map((byte) => pairingWords[byte]);
      expect(pairingCode(all)).toEqual({ digits: String(number).padStart(6, "0"), words: words.join("-") });
    }),
  );
});

test("another key, or another nonce, is another code", () => {
  fc.assert(
    fc.property(
      parts,
      bytes,
      fc.constantFrom("deviceKey", "gatewayKey", "deviceNonce", "gatewayNonce"),
      (all, other, which) => {
        fc.pre(all[which] !== other);
        expect(pairingCode({ ...all, [which]: other }).words).not.toBe(pairingCode(all).words);
      },
    ),
  );
});

test("a code is read however a person writes it", () => {
  fc.assert(
    fc.property(parts, (all) => {
      const code = pairingCode(all);
      const first = code.digits.slice(0, 3);
      const written = [
        code.digits,
        `${first} ${code.digits.slice(3)}`,
        `${first}-${code.digits.slice(3)}`,
        code.words,
        code.words.replaceAll("-", " "),
        code.words.toUpperCase(),
      ];
      expect(written.map((text) => isPairingCode(text, code))).toEqual(written.map(() => true));
      expect(formatPairingCode(code)).toContain(code.words);
    }),
  );
});

test.each(["", "12345", "1234567", "12a456", "acorn-album-amber", "acorn album amber kitchen", "3f2a91c4"])(
  "%j is no code",
  (text) => {
    expect(readPairingCode(text)).toBeUndefined();
    expect(isPairingCode(text, { digits: "123456", words: "acorn-album-amber-anchor" })).toBe(false);
  },
);

test("a commitment says nothing of the nonce, and holds for one key and one nonce", () => {
  fc.assert(
    fc.property(bytes, bytes, bytes, (gatewayKey, gatewayNonce, other) => {
      fc.pre(gatewayNonce !== other);
      const commitment = commitmentTo({ gatewayKey, gatewayNonce });
      expect(readSasOffer({ gatewayKey, commitment })).toEqual({ gatewayKey, commitment });
      expect(commitmentTo({ gatewayKey, gatewayNonce: other })).not.toBe(commitment);
    }),
  );
});

test.each([undefined, null, 7, {}, { gatewayKey: "short", commitment: "short" }])("%j is no offer", (value) => {
  expect(readSasOffer(value)).toBeUndefined();
});
