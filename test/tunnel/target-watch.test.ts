/** A target counts as gone when it is gone, and not when a look at it came to nothing or too late. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { TargetWatch, nearby } from "../../src/tunnel/target-watch.ts";
import { until } from "./tcp.ts";
import { Recorder } from "../support/recorder.ts";

/** Looks that end when they are told to, and with what. */
function watchByHand(knocks: boolean) {
  const glances: PromiseWithResolvers<boolean | undefined>[] = [];
  const changes = new Recorder<boolean>();
  const glance = () => {
    const asked = Promise.withResolvers<boolean | undefined>();
    glances.push(asked);
    return asked.promise;
  };
  const watch = new TargetWatch({ glance, knock: async () => knocks, pace: nearby }, systemRuntime, changes.push);
  return { watch, glances, changes };
}

test("a glance that misses a target which answers changes nothing", async () => {
  const { watch, glances, changes } = watchByHand(true);
  void watch.start();
  glances[0]?.resolve(false);
  await nextTurn();
  expect(watch.isThere).toBe(true);
  expect(changes.items).toEqual([]);
  watch.stop();
});

test("a glance that misses a target which does not answer says that it is gone", async () => {
  const { watch, glances, changes } = watchByHand(false);
  void watch.start();
  glances[0]?.resolve(false);
  expect(await changes.find((isThere) => !isThere)).toBe(false);
  watch.stop();
});

test("a look that began before a connection was refused says nothing afterwards", async () => {
  const { watch, glances, changes } = watchByHand(true);
  void watch.start();
  watch.missed();
  glances[0]?.resolve(true);
  await nextTurn();
  expect(watch.isThere).toBe(false);
  expect(changes.items).toEqual([false]);
  watch.stop();
});

test("a connection that was made puts off the look that its end would have led to", async () => {
  const { watch, glances } = watchByHand(true);
  void watch.start();
  glances[0]?.resolve(true);
  await nextTurn();
  watch.reached();
  watch.suspect(false);
  expect(glances.length).toBe(1);
  watch.stop();
});

test("glances that keep missing a target which answers are not asked for again", async () => {
  const { watch, glances, changes } = watchByHand(true);
  for (const at of [0, 1]) {
    if (at === 0) void watch.start();
    else watch.suspect(false);
    await until(() => glances.length > at);
    glances[at]?.resolve(false);
    await nextTurn();
  }
  watch.suspect(false);
  await nextTurn();
  expect(glances.length).toBe(2);
  expect(changes.items).toEqual([]);
  watch.stop();
});
