import { expect, test } from "vitest";
import { AttemptLimit } from "../../src/gateway/arrival/attempt-limit.ts";
import { testRuntime } from "../support/world.ts";

const limits = { maxAttempts: 3, attemptWindowMs: 1000, lockoutMs: 5000 };
/** Tests of a moment later than the real clock can go within one. */
const soonMs = 500;

function wrong(limit: AttemptLimit, address: string, times: number): void {
  for (let time = 0; time < times; time++) limit.wrong(address, "token");
}

test("an address is locked out at its last allowed attempt, and no other is", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  wrong(limit, "a", 2);
  expect(limit.lockedForMs("a", ["token"])).toBeUndefined();
  limit.wrong("a", "token");
  expect(limit.lockedForMs("a", ["token"])).toBeGreaterThan(limits.lockoutMs - soonMs);
  expect(limit.lockedForMs("b", ["token"])).toBeUndefined();
});

test("it is heard again when the time is over, and starts anew when the window is", () => {
  const runtime = testRuntime();
  const limit = new AttemptLimit(limits, runtime);
  wrong(limit, "a", 3);
  runtime.advance(limits.lockoutMs);
  expect(limit.lockedForMs("a", ["token"])).toBeUndefined();
  wrong(limit, "a", 2);
  expect(limit.lockedForMs("a", ["token"])).toBeUndefined();
});

test("a right one takes the wrong ones back", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  wrong(limit, "a", 2);
  limit.right("a", "token");
  wrong(limit, "a", 2);
  expect(limit.lockedForMs("a", ["token"])).toBeUndefined();
});

test("each kind of credential is counted by itself, and any of those that are shown may be the one that is locked out", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  wrong(limit, "a", 3);
  expect(limit.lockedForMs("a", ["password", "device-token"])).toBeUndefined();
  expect(limit.lockedForMs("a", ["password", "token"])).toBeDefined();
  limit.right("a", "password");
  expect(limit.lockedForMs("a", ["token"])).toBeDefined();
});

test("who has one IPv6 address has all of its /64", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  for (const address of ["2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:ffff::"])
    limit.wrong(address, "token");
  expect(limit.lockedForMs("2001:db8:1:2::abcd", ["token"])).toBeDefined();
  expect(limit.lockedForMs("2001:db8:1:3::1", ["token"])).toBeUndefined();
  expect(limit.lockedForMs("::1", ["token"])).toBeUndefined();
});

test("who comes from ever new addresses cannot make the table grow, and frees nobody who is locked out", () => {
  const limit = new AttemptLimit(limits, testRuntime());
  wrong(limit, "first", 3);
  for (let number = 0; number < 50_000; number++) limit.wrong(`other ${number}`, "token");
  expect(limit.size).toBe(4097);
  expect(limit.lockedForMs("first", ["token"])).toBeDefined();
  for (let number = 0; number < 5000; number++) wrong(limit, `locked ${number}`, 3);
  expect(limit.size).toBeLessThanOrEqual(2 * 4096);
  expect(limit.lockedForMs("first", ["token"])).toBeUndefined();
});
