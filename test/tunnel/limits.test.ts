/** Limits of a tunnel: how many connections at once, how many a second, and how little is said about the rest. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import type { LogFields, Runtime } from "../../src/runtime.ts";
import { ConnectionLimits, parseMaxConnections, parseMaxRate, refill } from "../../src/tunnel/limits.ts";

/** A runtime whose time a test moves on. */
function handClock() {
  let nowMs = 1_000_000;
  let timers: { atMs: number; action: () => void }[] = [];
  const lines: LogFields[] = [];
  const runtime: Runtime = {
    ...systemRuntime,
    now: () => nowMs,
    after(ms, action) {
      const timer = { atMs: nowMs + ms, action };
      timers.push(timer);
      return () => void (timers = timers.filter((one) => one !== timer));
    },
    log: (_level, _message, fields = {}) => void lines.push(fields),
  };
  const pass = (ms: number) => {
    nowMs += ms;
    const due = timers.filter(({ atMs }) => atMs <= nowMs);
    timers = timers.filter(({ atMs }) => atMs > nowMs);
    for (const { action } of due) action();
  };
  return { runtime, lines, pass };
}

/** Asks so many times; how many were let in. */
function admitted(limits: ConnectionLimits, times: number): number {
  return Array.from({ length: times }, () => limits.admit()).filter(({ ok }) => ok).length;
}

describe("how many at once", () => {
  test.each([1, 2, 7])("%d are let in and not one more, until one is over", (maxConnections) => {
    const limits = new ConnectionLimits({ maxConnections });
    const first = limits.admit();
    expect(admitted(limits, maxConnections - 1)).toBe(maxConnections - 1);
    expect(limits.admit()).toEqual({ ok: false, reason: "connections" });
    if (first.ok) first.release();
    expect(limits.admit()).toMatchObject({ ok: true });
    expect(limits.admit()).toMatchObject({ ok: false });
    expect(limits).toMatchObject({ open: maxConnections, refused: 2 });
  });

  test("releasing twice frees one place", () => {
    const limits = new ConnectionLimits({ maxConnections: 2 });
    const [first] = [limits.admit(), limits.admit()];
    const release = first?.ok ? first.release : () => {};
    release();
    release();
    expect(limits.open).toBe(1);
  });

  test("a thousand and twenty-four unless told otherwise", () => {
    expect(admitted(new ConnectionLimits(), 2000)).toBe(1024);
  });
});

describe("how many a second", () => {
  test("a burst at once, then as many as time brings", () => {
    const { runtime, pass } = handClock();
    const limits = new ConnectionLimits({ maxRate: { perSecond: 10, burst: 20 }, runtime });
    expect(admitted(limits, 30)).toBe(20);
    expect(limits.admit()).toEqual({ ok: false, reason: "rate" });
    pass(99);
    expect(admitted(limits, 5)).toBe(0);
    pass(1);
    expect(admitted(limits, 5)).toBe(1);
    pass(60_000);
    expect(admitted(limits, 100)).toBe(20);
  });

  test("a clock that is put back neither gives nor blocks for ever", () => {
    const { runtime, pass } = handClock();
    const limits = new ConnectionLimits({ maxRate: { perSecond: 10, burst: 10 }, runtime });
    expect(admitted(limits, 11)).toBe(10);
    pass(-500_000);
    expect(admitted(limits, 5)).toBe(0);
    pass(1000);
    expect(admitted(limits, 20)).toBe(10);
  });

  test("over any stretch of time no more than the burst and the rate allow", () => {
    const steps = fc.array(fc.record({ ms: fc.nat(3000), asks: fc.nat(40) }), { maxLength: 40 });
    const rates = fc.record({ perSecond: fc.integer({ min: 1, max: 50 }), burst: fc.integer({ min: 1, max: 50 }) });
    fc.assert(
      fc.property(rates, steps, (maxRate, walk) => {
        const { runtime, pass } = handClock();
        const limits = new ConnectionLimits({ maxConnections: 1_000_000, maxRate, runtime });
        let passedMs = 0;
        let taken = 0;
        for (const { ms, asks } of walk) {
          pass(ms);
          passedMs += ms;
          taken += admitted(limits, asks);
          expect(taken).toBeLessThanOrEqual(maxRate.burst + (passedMs / 1000) * maxRate.perSecond + 1e-6);
        }
      }),
    );
  });

  test("one that is turned away for the number costs nothing of the rate", () => {
    const { runtime } = handClock();
    const limits = new ConnectionLimits({ maxConnections: 1, maxRate: { perSecond: 1, burst: 2 }, runtime });
    const first = limits.admit();
    admitted(limits, 10);
    if (first.ok) first.release();
    expect(limits.admit()).toMatchObject({ ok: true });
  });
});

test("a bucket never holds more than its burst", () => {
  expect(refill({ tokens: 3, atMs: 0 }, { perSecond: 5, burst: 7 }, 400)).toEqual({ tokens: 5, atMs: 400 });
  expect(refill({ tokens: 3, atMs: 0 }, { perSecond: 5, burst: 7 }, 1e9)).toEqual({ tokens: 7, atMs: 1e9 });
  expect(refill({ tokens: 3, atMs: 10 }, { perSecond: 5, burst: 7 }, 0)).toEqual({ tokens: 3, atMs: 0 });
});

test("a flood is one line in the log at once, and one with the rest for every ten seconds", () => {
  const { runtime, lines, pass } = handClock();
  const limits = new ConnectionLimits({ maxConnections: 3, runtime });
  admitted(limits, 3 + 500);
  expect(lines).toEqual([{ overConnections: 1, maxConnections: 3 }]);
  pass(10_000);
  expect(lines.slice(1)).toEqual([{ overConnections: 499, maxConnections: 3 }]);
  admitted(limits, 7);
  pass(9_999);
  expect(lines).toHaveLength(2);
  pass(1);
  expect(lines.slice(2)).toEqual([{ overConnections: 7, maxConnections: 3 }]);
  pass(60_000);
  expect(lines).toHaveLength(3);
  admitted(limits, 1);
  expect(lines).toHaveLength(4);
});

describe("as people type them", () => {
  test.each([
    ["50", { perSecond: 50, burst: 50 }],
    ["50:200", { perSecond: 50, burst: 200 }],
    ["1:1", { perSecond: 1, burst: 1 }],
  ])("--max-rate %s", (text, rate) => expect(parseMaxRate(text)).toEqual(rate));

  test.each(["", "0", "-1", "1.5", "5:", ":5", "5:0", "1:2:3", "many", "1000001"])(
    "--max-rate %j is refused by name",
    (text) => expect(() => parseMaxRate(text)).toThrow(expect.objectContaining({ code: "usage" })),
  );

  test.each(["0", "", "1e3", "1000001", "ten"])("--max-connections %j is refused by name", (text) =>
    expect(() => parseMaxConnections(text)).toThrow(/--max-connections/),
  );

  test("--max-connections 1 and 1000000", () => {
    expect([parseMaxConnections("1"), parseMaxConnections("1000000")]).toEqual([1, 1_000_000]);
  });
});
