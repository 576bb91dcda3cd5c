/** A process that looks at the clock now and then knows how long it did not. */
import { expect, test } from "vitest";
import { SleepWatch } from "../../src/node/sleep-watch.ts";

/** A clock that stands still, and timers that fire when they are told to. */
function stillRuntime() {
  const timers = new Set<() => void>();
  const runtime = {
    nowMs: 1_000,
    timers,
    now: () => runtime.nowMs,
    after: (ms: number, action: () => void) => {
      const fire = () => {
        timers.delete(fire);
        action();
      };
      expect(ms).toBe(500);
      timers.add(fire);
      return () => void timers.delete(fire);
    },
    fire: () => [...timers].forEach((fire) => fire()),
  };
  return runtime;
}

test("what a look is overdue by is sleep, until the look is taken", () => {
  const runtime = stillRuntime();
  using watch = new SleepWatch(runtime);
  expect(watch.sleptMs()).toBe(0);
  runtime.nowMs += 500;
  expect(watch.sleptMs()).toBe(0);
  runtime.nowMs += 7_000;
  expect(watch.sleptMs()).toBe(7_000);
  runtime.fire();
  expect(watch.sleptMs()).toBe(0);
});

test("a clock that is set back is no sleep", () => {
  const runtime = stillRuntime();
  using watch = new SleepWatch(runtime);
  runtime.nowMs -= 60_000;
  expect(watch.sleptMs()).toBe(0);
});

test("looks go on, one at a time, until it is disposed of", () => {
  const runtime = stillRuntime();
  const watch = new SleepWatch(runtime);
  for (let looks = 0; looks < 3; looks++) {
    expect(runtime.timers.size).toBe(1);
    runtime.fire();
  }
  watch[Symbol.dispose]();
  expect(runtime.timers.size).toBe(0);
});
