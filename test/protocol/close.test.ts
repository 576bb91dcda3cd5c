import * as fc from "fast-check";
import { expect, test } from "vitest";
import { closeReason } from "../../src/protocol/close.ts";

const maxBytes = 120;

test.each<[what: string, reason: string, cut: string]>([
  ["nothing", "", ""],
  ["a reason of 120 bytes", "a".repeat(120), "a".repeat(120)],
  ["a reason of 121 bytes", "a".repeat(121), "a".repeat(120)],
  ["a character of two bytes across the limit", `${"a".repeat(119)}é`, "a".repeat(119)],
  ["a character of four bytes that just fits", `${"a".repeat(116)}😀!`, `${"a".repeat(116)}😀`],
  ["a character of four bytes across the limit", `${"a".repeat(117)}😀`, "a".repeat(117)],
])("%s", (_what, reason, cut) => {
  expect(closeReason(reason)).toBe(cut);
});

test("a reason is at most 120 bytes, and the beginning of what was said", () => {
  const longReason = fc.string({ unit: "grapheme", maxLength: 300 });
  fc.assert(
    fc.property(longReason, (reason) => {
      const cut = closeReason(reason);
      expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(maxBytes);
      expect(reason.startsWith(cut)).toBe(true);
      expect(cut.isWellFormed()).toBe(true);
    }),
  );
});

test("even text that is not well-formed is sent as at most 120 bytes of valid UTF-8", () => {
  const strict = new TextDecoder("utf-8", { fatal: true });
  const broken = fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 300 })
    .map((units) => String.fromCharCode(...units));
  fc.assert(
    fc.property(broken, (reason) => {
      const bytes = Buffer.from(closeReason(reason));
      expect(bytes.length).toBeLessThanOrEqual(maxBytes);
      expect(() => strict.decode(bytes)).not.toThrow();
    }),
  );
});

test("no more is cut than has to be", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme-ascii", minLength: 121, maxLength: 300 }), (reason) => {
      expect(Buffer.byteLength(closeReason(reason))).toBe(maxBytes);
    }),
  );
});
