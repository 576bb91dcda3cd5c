import * as fc from "fast-check";
import { expect, test } from "vitest";
import { formatDuration, parseDuration } from "../../src/config/duration.ts";

test.each([
  ["500ms", 500],
  ["10s", 10_000],
  ["5m", 300_000],
  ["24h", 86_400_000],
  ["7d", 604_800_000],
  ["1500", 1500],
  ["0", 0],
  ["0s", 0],
  ["1h30m", 5_400_000],
  ["1d2h3m4s5ms", 93_784_005],
])("%s is %i ms", (text, durationMs) => {
  expect(parseDuration(text)).toBe(durationMs);
});

test.each([
  "",
  " ",
  "s",
  "5x",
  "5 s",
  "-5s",
  "1.5s",
  "5M",
  "5s5m",
  "5s5s",
  "1e3",
  "0x10",
  "٣s",
  "9".repeat(20),
  "99999999999999d",
])("%j is no duration", (text) => {
  expect(() => parseDuration(text, "--timeout")).toThrow(
    expect.objectContaining({ code: "usage", message: expect.stringContaining("--timeout"), hint: expect.any(String) }),
  );
});

test.each([
  [0, "0ms"],
  [1, "1ms"],
  [999, "999ms"],
  [1000, "1s"],
  [1500, "1s500ms"],
  [90_000, "1m30s"],
  [3_600_000, "1h"],
  [3_601_000, "1h"],
  [83_451_233, "23h10m"],
  [604_800_000, "7d"],
  [-5, "0ms"],
])("%i ms reads %s", (durationMs, text) => {
  expect(formatDuration(durationMs)).toBe(text);
});

test("what is formatted can be typed again, and is off by less than its smallest part", () => {
  fc.assert(
    fc.property(fc.nat(4_000_000_000), (durationMs) => {
      const again = parseDuration(formatDuration(durationMs));
      expect(again).toBeLessThanOrEqual(durationMs);
      expect(durationMs - again).toBeLessThan(Math.max(1, durationMs / 24));
    }),
  );
});
