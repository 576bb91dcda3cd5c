import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createIdentity } from "../../src/identity/device-identity.ts";
import { signSuccession, verifySuccession } from "../../src/identity/key-succession.ts";

const identity = (fill: number) => createIdentity(new Uint8Array(32).fill(fill), 0);
const [present, next, stranger] = [identity(1), identity(2), identity(3)];
const said = signSuccession(present, next, "conn-1");

test("both keys have signed: the new one comes back with its id", () => {
  const { deviceId, publicKey } = next;
  expect(verifySuccession(present, said, "conn-1")).toEqual({ ok: true, deviceId, publicKey });
});

test.each<[name: string, result: ReturnType<typeof verifySuccession>, reason: string]>([
  ["another connection", verifySuccession(present, said, "conn-2"), "old-signature"],
  ["another device", verifySuccession(stranger, said, "conn-1"), "old-signature"],
  ["another new key", verifySuccession(present, { ...said, publicKey: stranger.publicKey }, "conn-1"), "old-signature"],
  [
    "no proof of the new key",
    verifySuccession(present, { ...said, newSignature: said.signature }, "conn-1"),
    "new-signature",
  ],
  ["the same key", verifySuccession(present, signSuccession(present, present, "c"), "c"), "same-key"],
  ["no key", verifySuccession(present, { ...said, publicKey: "" }, "conn-1"), "public-key"],
])("%s is refused", (_name, result, reason) => {
  expect(result).toEqual({ ok: false, reason });
});

test("whatever arrives gets an answer, and only the real thing is yes", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (publicKey, signature, newSignature) => {
      expect(verifySuccession(present, { publicKey, signature, newSignature }, "conn-1").ok).toBe(false);
    }),
  );
});
