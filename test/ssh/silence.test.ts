/** How long an SSH server may say nothing. */
import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { watchSilence } from "../../src/ssh/silence.ts";

/** A server that falls silent after `lively` polls; the polls until that is noticed, by timers that the test calls itself. */
function pollsUntilNoticed(load: number, lively = 0): number {
  const timers: (() => void)[] = [];
  const socket = { bytesRead: 0 };
  const after = (_ms: number, call: () => void) => {
    timers.push(call);
    return () => {};
  };
  let silentMs: number | undefined;
  const watched = { socket, keepaliveMs: 1_000, runtime: { ...systemRuntime, after }, load: () => load };
  watchSilence(watched, (ms) => (silentMs = ms));
  let polls = 0;
  while (silentMs === undefined) {
    if (polls < lively) socket.bytesRead++;
    polls++;
    timers.shift()?.();
  }
  expect(silentMs).toBe((polls - lively) * 300);
  return polls;
}

test.each([
  ["with nothing to carry", 0, 0, 5],
  ["with as many connections as cost it little", 300, 0, 5],
  ["after it was lively", 10, 4, 9],
  ["later with twice as many", 600, 0, 20],
  ["later with a thousand", 1_000, 0, 56],
])("a silent server is noticed %s", (_when, load, lively, polls) => {
  expect(pollsUntilNoticed(load, lively)).toBe(polls);
});
