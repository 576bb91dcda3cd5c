import { expect, test } from "vitest";
import { retryAfterMs } from "../../src/transport/retry-after.ts";

const nowMs = Date.UTC(1994, 10, 6, 8, 49, 0);

test.each<[header: string | undefined, wantMs: number | undefined]>([
  ["0", 0],
  ["17", 17_000],
  [" 120 ", 120_000],
  ["Sun, 06 Nov 1994 08:49:37 GMT", 37_000],
  ["Sun Nov  6 08:49:37 1994", 37_000],
  ["Sun Nov 06 08:49:37 1994", 37_000],
  ["Sun, 06 Nov 1994 08:48:00 GMT", 0],
  ["Sunday, 06-Nov-26 08:49:37 GMT", Date.UTC(2026, 10, 6, 8, 49, 37) - nowMs],
  [undefined, undefined],
  ["", undefined],
  ["-1", undefined],
  ["1.5", undefined],
  ["1e3", undefined],
  ["soon", undefined],
  ["Sun, 06 Xyz 1994 08:49:37 GMT", undefined],
  ["Sun, 06 Nov 1994 29:99:99 GMT", undefined],
  ["1994-11-06T08:49:37Z", undefined],
])("Retry-After: %s is %s ms from now", (header, wantMs) => {
  expect(retryAfterMs(header, undefined, nowMs)).toBe(wantMs);
});

test("a date counts from the answer's own clock, which ours may differ from", () => {
  const date = "Sun, 06 Nov 1994 06:00:00 GMT";
  expect(retryAfterMs("Sun, 06 Nov 1994 06:00:30 GMT", date, nowMs)).toBe(30_000);
  expect(retryAfterMs("Sun, 06 Nov 1994 08:49:30 GMT", "yesterday", nowMs)).toBe(30_000);
});
