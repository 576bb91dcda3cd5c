import * as fc from "fast-check";
import { expect, test } from "vitest";
import { holdsScope, holdsScopes, isRole, operatorScopes } from "../../src/protocol/vocabulary.ts";

/** Known scopes, unknown ones, and names that every object has. */
const scope = fc.oneof(
  fc.constantFrom<string>(...operatorScopes),
  fc.constantFrom("constructor", "__proto__", "toString", "hasOwnProperty", "operator.*", ""),
  fc.string(),
);
const scopes = fc.array(scope, { maxLength: 5 });

test.each<[held: string, wanted: string, holds: boolean]>([
  ["operator.admin", "operator.talk.secrets", true],
  ["operator.admin", "operator.pairing", true],
  ["operator.admin", "operator.unheard-of", false],
  ["operator.write", "operator.read", true],
  ["operator.write", "operator.sessions.write", true],
  ["operator.write", "operator.talk.secrets", false],
  ["operator.write", "operator.pairing", false],
  ["operator.sessions.write", "operator.sessions.read", true],
  ["operator.sessions.read", "operator.sessions.write", false],
  ["operator.read", "operator.write", false],
  ["operator.pairing", "operator.admin", false],
])("%s holds %s: %s", (held, wanted, holds) => {
  expect(holdsScope([held], wanted)).toBe(holds);
});

test("admin holds every scope of the product", () => {
  expect(holdsScopes(["operator.admin"], operatorScopes)).toBe(true);
});

test("whoever holds nothing holds nothing", () => {
  fc.assert(
    fc.property(scope, (wanted) => {
      expect(holdsScope([], wanted)).toBe(false);
    }),
  );
});

test("every list holds itself, in any order, whatever is in it", () => {
  fc.assert(
    fc.property(scopes, (held) => {
      expect(holdsScopes(held, held.toReversed())).toBe(true);
    }),
  );
});

test("two lists together hold what either holds, and no more", () => {
  fc.assert(
    fc.property(scopes, scopes, scope, (held, more, wanted) => {
      expect(holdsScope([...held, ...more], wanted)).toBe(holdsScope(held, wanted) || holdsScope(more, wanted));
    }),
  );
});

test("what is held through another is held", () => {
  const heldBy = (held: string) => operatorScopes.filter((wanted) => holdsScope([held], wanted));
  for (const held of operatorScopes) {
    const throughOthers = new Set(heldBy(held).flatMap(heldBy));
    expect(new Set(heldBy(held))).toEqual(throughOthers);
  }
});

test.each(["operator", "node"])("%s is a role", (role) => {
  expect(isRole(role)).toBe(true);
});

test.each(["", "Operator", "admin", "constructor"])("%j is none", (role) => {
  expect(isRole(role)).toBe(false);
});
