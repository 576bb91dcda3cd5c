import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isFailure } from "../../src/errors.ts";
import { matchId, type Named } from "../../src/identity/match-id.ts";

const list = "openclaw devices list";

function match(wanted: string, candidates: readonly Named[]): string {
  try {
    return matchId(wanted, candidates, "device", list).id;
  } catch (error) {
    return isFailure(error, "not-found", "ambiguous") ? error.code : `not ours: ${String(error)}`;
  }
}

const kitchen: Named = { id: "abcdef0123456789", names: ["kitchen"] };
const cellar: Named = { id: "abcdef9999999999", names: ["cellar"] };
const request: Named = { id: "11111111-aaaa", alsoIds: ["fedcba0123456789"], names: ["attic"] };
const twin: Named = { id: "22222222-bbbb", names: ["kitchen"] };
const all = [kitchen, cellar, request];

describe("what a person types", () => {
  test.each<[what: string, wanted: string, candidates: readonly Named[], found: string]>([
    ["the whole id", "abcdef0123456789", all, kitchen.id],
    ["a name", "cellar", all, cellar.id],
    ["a prefix that only one has", "abcdef0", all, kitchen.id],
    ["a prefix in capitals", "ABCDEF0", all, kitchen.id],
    ["another id of the same thing", "fedcba0123456789", all, request.id],
    ["a prefix of another id of the same thing", "fedcba", all, request.id],
    ["a prefix that two have", "abcdef", all, "ambiguous"],
    ["a prefix of five characters, even if only one has it", "11111", all, "not-found"],
    ["a prefix of six characters", "111111", all, request.id],
    [
      "an id that another thing has in other letters",
      "Attic",
      [
        { id: "attic", alsoIds: ["Attic"], names: [] },
        { id: "Attic", names: [] },
      ],
      "Attic",
    ],
    ["a name that two have", "kitchen", [...all, twin], "ambiguous"],
    ["part of a name", "kitch", all, "not-found"],
    ["a name in capitals", "KITCHEN", all, "not-found"],
    ["nothing", "", all, "not-found"],
    ["something, where there is nothing", "abcdef0", [], "not-found"],
    [
      "an id that is another's name: the id wins",
      "abcdef0123456789",
      [kitchen, { id: "x", names: ["abcdef0123456789"] }],
      kitchen.id,
    ],
    ["a name that is another's prefix: the name wins", "abcdef", [kitchen, { id: "x", names: ["abcdef"] }], "x"],
  ])("%s", (_what, wanted, candidates, found) => {
    expect(match(wanted, candidates)).toBe(found);
  });

  const hex = fc.stringMatching(/^[0-9a-f]{8,16}$/u);
  const candidate: fc.Arbitrary<Named> = fc.record({
    id: hex,
    names: fc.array(fc.constantFrom("kitchen", "cellar"), { maxLength: 1 }),
  });
  const unique = fc.uniqueArray(candidate, { selector: ({ id }) => id, minLength: 1, maxLength: 8 });

  test("every whole id means its own thing", () => {
    fc.assert(
      fc.property(unique, (candidates) => {
        expect(candidates.map(({ id }) => match(id, candidates))).toEqual(candidates.map(({ id }) => id));
      }),
    );
  });

  test("a prefix means the one thing that begins with it, or none", () => {
    fc.assert(
      fc.property(unique, fc.nat(), fc.integer({ min: 1, max: 8 }), (candidates, at, length) => {
        const wanted = candidates[at % candidates.length]?.id.slice(0, length) ?? "";
        const having = candidates.filter(({ id }) => id.startsWith(wanted));
        const exact = candidates.find(({ id }) => id === wanted);
        const several = having.length > 1 ? "ambiguous" : having[0]?.id;
        expect(match(wanted, candidates)).toBe(exact?.id ?? (length < 6 ? "not-found" : several));
      }),
    );
  });
});

test("not found says where to look, and when a prefix was too short", () => {
  expect(() => matchId("abc", all, "device", list)).toThrow(
    expect.objectContaining({
      code: "not-found",
      fix: list,
      message: 'no device "abc" here (a prefix needs at least 6 characters)',
    }),
  );
});

test("ambiguous names every candidate", () => {
  expect(() => matchId("abcdef", all, "device", list)).toThrow(
    expect.objectContaining({
      message: '"abcdef" means 2 devices: abcdef0123456789 (kitchen), abcdef9999999999 (cellar)',
      details: { wanted: "abcdef", candidates: [kitchen.id, cellar.id] },
    }),
  );
});
