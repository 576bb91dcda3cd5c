import * as fc from "fast-check";
import { expect, test } from "vitest";
import { reconnectBackoff, retryDelay } from "../../src/transport/backoff.ts";

const backoff = fc.record({
  firstMs: fc.integer({ min: 1, max: 10_000 }),
  capMs: fc.integer({ min: 10_000, max: 600_000 }),
});
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const attempt = fc.oneof(fc.nat({ max: 40 }), fc.constantFrom(1023, 1024, Number.MAX_SAFE_INTEGER));

test.each<[attempt: number, chance: number, delayMs: number]>([
  [0, 0, 500],
  [0, 0.5, 750],
  [1, 0, 1000],
  [4, 0, 8000],
  [5, 0, 15_000],
  [100, 0, 15_000],
  [100, 0.999999, 30_000],
])("reconnect %i with chance %d waits %i ms", (at, by, delayMs) => {
  expect(retryDelay(reconnectBackoff, at, by)).toBe(delayMs);
});

test("a delay lies in the upper half of a ceiling that doubles up to the cap", () => {
  fc.assert(
    fc.property(backoff, attempt, chance, (rule, at, by) => {
      const ceilingMs = Math.min(rule.capMs, rule.firstMs * 2 ** at);
      const delayMs = retryDelay(rule, at, by);
      expect(Number.isSafeInteger(delayMs)).toBe(true);
      expect(delayMs).toBeGreaterThanOrEqual(Math.floor(ceilingMs / 2));
      expect(delayMs).toBeLessThanOrEqual(Math.ceil(ceilingMs));
    }),
  );
});

test("with the same chance, a later try never waits less", () => {
  fc.assert(
    fc.property(backoff, attempt, chance, (rule, at, by) => {
      expect(retryDelay(rule, at + 1, by)).toBeGreaterThanOrEqual(retryDelay(rule, at, by));
    }),
  );
});
