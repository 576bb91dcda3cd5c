import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { normalise, type SignedFields, signedPayload, signedToken } from "../../src/protocol/signed-payload.ts";
import { signedVectors } from "../fixtures/signed-vectors.ts";

describe("the payload", () => {
  test.each(signedVectors)("of published vector $name", ({ version, fields, payload }) => {
    expect(signedPayload(version, fields)).toBe(payload);
  });

  const plainText = fc.stringMatching(/^[a-zA-Z0-9._-]*$/u);
  const anyFields: fc.Arbitrary<SignedFields> = fc.record({
    deviceId: plainText,
    clientId: plainText,
    clientMode: plainText,
    role: plainText,
    scopes: fc.array(plainText),
    signedAt: fc.maxSafeNat(),
    token: plainText,
    nonce: plainText,
    platform: fc.option(fc.string({ unit: "grapheme" }), { nil: undefined }),
    deviceFamily: fc.option(fc.string({ unit: "grapheme" }), { nil: undefined }),
  });

  test("v3 is v2 with two more fields, both normalised", () => {
    fc.assert(
      fc.property(anyFields, (fields) => {
        const ending = `|${normalise(fields.platform)}|${normalise(fields.deviceFamily)}`;
        expect(signedPayload("v3", fields)).toBe(`v3${signedPayload("v2", fields).slice(2)}${ending}`);
      }),
    );
  });

  test("scopes are signed as sent: neither sorted nor de-duplicated", () => {
    fc.assert(
      fc.property(anyFields, (fields) => {
        expect(signedPayload("v2", fields).split("|")[5]).toBe(fields.scopes.join(","));
      }),
    );
  });

  test("platform and family may be written in any case, with space around, without a change of the bytes", () => {
    const space = fc.stringMatching(/^[ \t\n]*$/u);
    fc.assert(
      fc.property(anyFields, space, space, (fields, before, after) => {
        const other = { ...fields, platform: `${before}${asciiUpper(fields.platform ?? "")}${after}` };
        expect(signedPayload("v3", other)).toBe(signedPayload("v3", fields));
      }),
    );
  });
});

describe("normalising", () => {
  test.each<[value: string | undefined, normal: string]>([
    [undefined, ""],
    ["", ""],
    ["  ", ""],
    ["  MacOS ", "macos"],
    ["ÉCRAN Mac", "Écran mac"],
    ["İSTANBUL", "İstanbul"], // a locale's or Unicode's lower case would change the length
    ["WINDOWS \u212A", "windows \u212A"], // KELVIN SIGN: Unicode lower-cases it to k
  ])("%j becomes %j", (value, normal) => {
    expect(normalise(value)).toBe(normal);
  });

  test("twice is the same as once, and only A-Z differ from the trimmed text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (value) => {
        const once = normalise(value);
        expect(normalise(once)).toBe(once);
        expect(once).not.toMatch(/[A-Z]/u);
        expect(asciiUpper(once)).toBe(asciiUpper(value.trim()));
      }),
    );
  });
});

test.each<[what: string, auth: Parameters<typeof signedToken>[0], signed: string]>([
  ["the token before all others", { token: "t", deviceToken: "d", bootstrapToken: "b" }, "t"],
  ["the device token before the bootstrap token", { deviceToken: "d", bootstrapToken: "b" }, "d"],
  ["the bootstrap token when it is alone", { bootstrapToken: "b" }, "b"],
  ["nothing when there is nothing", {}, ""],
])("the signature covers %s", (_what, auth, signed) => {
  expect(signedToken(auth)).toBe(signed);
});

function asciiUpper(value: string): string {
  return value.replace(/[a-z]/gu, (letter) => letter.toUpperCase());
}
