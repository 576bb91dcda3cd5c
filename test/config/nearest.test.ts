import * as fc from "fast-check";
import { expect, test } from "vitest";
import { editDistance, nearest } from "../../src/config/nearest.ts";

test.each([
  ["", "", 0],
  ["same", "same", 0],
  ["", "abc", 3],
  ["kitten", "sitting", 3],
  ["prot", "port", 1],
  ["ab", "ba", 1],
  ["ca", "abc", 3],
])("from %j to %j it takes %i edits", (from, to, edits) => {
  expect(editDistance(from, to)).toBe(edits);
  expect(editDistance(to, from)).toBe(edits);
});

test.each([
  ["devcies", "devices"],
  ["DEVICES", "devices"],
  ["tunel", "tunnel"],
  ["zzzzzz", undefined],
  ["", undefined],
])("%j was meant to be %j", (word, known) => {
  expect(nearest(word, ["devices", "nodes", "tunnel", "pair"])).toBe(known);
});

test("of equally near words the first one is taken", () => {
  expect(nearest("par", ["pair", "part"])).toBe("pair");
});

test("distance is symmetric, bounded, and nothing only for equal words", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const edits = editDistance(a, b);
      expect(edits).toBe(editDistance(b, a));
      expect(edits === 0).toBe(a === b);
      expect(edits).toBeLessThanOrEqual(Math.max(a.length, b.length));
      expect(edits).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
    }),
  );
});
