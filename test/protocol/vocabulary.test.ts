import fc from "fast-check";
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
  fc.assert(fc.property(scope, (wanted) => !holdsScope([], wanted)));
});

test("every list holds itself, in any order, whatever is in it", () => {
  fc.assert(fc.property(scopes, (held) => holdsScopes(held, held.toReversed())));
});

test("more scopes never hold less", () => {
  fc.assert(
    fc.property(scopes, scopes, scopes, (held, more, wanted) => {
      if (holdsScopes(held, wanted)) expect(holdsScopes([...held, ...more], wanted)).toBe(true);
    }),
  );
});

test("what is held through another is held", () => {
  fc.assert(
    fc.property(scopes, scopes, scopes, (a, b, c) => {
      if (holdsScopes(a, b) && holdsScopes(b, c)) expect(holdsScopes(a, c)).toBe(true);
    }),
  );
  for (const a of operatorScopes) {
    for (const b of operatorScopes) {
      for (const c of operatorScopes) {
        if (holdsScope([a], b) && holdsScope([b], c)) expect(holdsScope([a], c), `${a} > ${b} > ${c}`).toBe(true);
      }
    }
  }
});

test.each(["operator", "node"])("%s is a role", (role) => {
  expect(isRole(role)).toBe(true);
});

test.each(["", "Operator", "admin", "constructor"])("%j is none", (role) => {
  expect(isRole(role)).toBe(false);
});
