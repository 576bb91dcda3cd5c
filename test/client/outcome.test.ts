/** What follows a failure: again, after a person, or never. */
import { expect, test } from "vitest";
import { type Outcome, outcomeOf, outcomeOfClose } from "../../src/client/outcome.ts";
import { type FailureCode, OpenClawError } from "../../src/errors.ts";

const retry: Outcome = { kind: "retry" };
const wait: Outcome = { kind: "wait" };
const stop: Outcome = { kind: "stop" };

test.each<[FailureCode, Readonly<Record<string, unknown>>, Outcome]>([
  ["unreachable", {}, retry],
  ["timeout", {}, retry],
  ["tls-failed", {}, retry],
  ["not-a-gateway", {}, retry],
  ["failed", {}, retry],
  ["starting", { retryAfterMs: 500 }, { kind: "retry", afterMs: 500 }],
  ["starting", { retryAfterMs: 0 }, { kind: "retry", afterMs: 250 }],
  ["rate-limited", { retryAfterMs: 1e15 }, { kind: "retry", afterMs: 86_400_000 }],
  ["starting", { retryAfterMs: -1 }, retry],
  ["starting", { retryAfterMs: "soon" }, retry],
  ["rate-limited", { retryAfterMs: 60_000 }, { kind: "retry", afterMs: 60_000 }],
  ["pairing-required", {}, wait],
  ["pairing-required", { rejected: true }, stop],
  ["token-mismatch", {}, stop],
  ["password-mismatch", {}, stop],
  ["device-token-mismatch", { code: "AUTH_DEVICE_TOKEN_MISMATCH" }, stop],
  ["upgrade-refused", {}, stop],
  ["tls-pin-mismatch", {}, stop],
  ["incompatible", { code: "PROTOCOL_MISMATCH" }, stop],
  ["clock-skew", {}, stop],
  ["credential-missing", {}, stop],
])("%s with %j", (code, details, outcome) => {
  expect(outcomeOf(new OpenClawError(code, "x", { details }))).toEqual(outcome);
});

test("a bug of ours is not tried again", () => {
  expect(outcomeOf(new TypeError("x"))).toEqual(stop);
});

test.each<[number, string, Outcome]>([
  [1000, "", retry],
  [1006, "", retry],
  [1008, "slow consumer", retry],
  [1008, "replaced by a newer connection of the same node", stop],
  [1012, "service restart", retry],
  [4001, "device removed", retry],
])("a session that ended with %s %s", (code, reason, outcome) => {
  expect(outcomeOfClose(code, reason)).toEqual(outcome);
});
