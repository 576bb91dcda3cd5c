import { expect, test } from "vitest";
import { AttemptLimit } from "../../src/gateway/attempt-limit.ts";
import { testRuntime } from "../support/world.ts";

const limits = { maxAttempts: 3, attemptWindowMs: 1000, lockoutMs: 5000 };
/** Tests of a moment later than the real clock can go within one. */
const soonMs = 500;

function wrong(limit: AttemptLimit, address: string, times: number): void {
  for (let time = 0; time < times; time++) limit.wrong(address);
}

test("an address is locked out at its last allowed attempt, and no other is", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  wrong(limit, "a", 2);
  expect(limit.lockedForMs("a")).toBeUndefined();
  limit.wrong("a");
  expect(limit.lockedForMs("a")).toBeGreaterThan(limits.lockoutMs - soonMs);
  expect(limit.lockedForMs("b")).toBeUndefined();
});

test("it is heard again when the time is over, and starts anew when the window is", () => {
  const runtime = testRuntime();
  const limit = new AttemptLimit(limits, runtime);
  wrong(limit, "a", 3);
  runtime.advance(limits.lockoutMs);
  expect(limit.lockedForMs("a")).toBeUndefined();
  wrong(limit, "a", 2);
  expect(limit.lockedForMs("a")).toBeUndefined();
});

test("a right one takes the wrong ones back", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  wrong(limit, "a", 2);
  limit.right("a");
  wrong(limit, "a", 2);
  expect(limit.lockedForMs("a")).toBeUndefined();
});

test("who comes from ever new addresses cannot make the table grow: the oldest one is let go", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  wrong(limit, "first", 3);
  for (let number = 0; number < 1023; number++) limit.wrong(`other ${number}`);
  expect(limit.lockedForMs("first")).toBeDefined();
  limit.wrong("one more");
  expect(limit.lockedForMs("first")).toBeUndefined();
});
