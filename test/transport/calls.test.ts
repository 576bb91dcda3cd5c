import { expect, test, vi } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { decodeFrame, type RequestFrame } from "../../src/protocol/frame.ts";
import { Calls } from "../../src/transport/calls.ts";

const longMs = 60_000;

/** Calls whose requests are collected instead of sent. */
function startCalls(isOpen = true) {
  const sent: RequestFrame[] = [];
  const calls = new Calls((text) => {
    const frame = decodeFrame(text, "closed");
    if (frame.type === "req") sent.push(frame);
    return isOpen;
  });
  const idOf = (index: number) => sent[index]?.id ?? "";
  return { calls, sent, idOf };
}

test("a call sends a request and resolves with the payload of its response", async () => {
  const { calls, sent, idOf } = startCalls();
  const result = calls.call("node.list", { all: true }, longMs);
  expect(sent).toEqual([{ type: "req", id: idOf(0), method: "node.list", params: { all: true } }]);
  calls.settle({ type: "res", id: idOf(0), ok: true, payload: { nodes: [] } });
  await expect(result).resolves.toEqual({ nodes: [] });
});

test("responses find their calls in any order", async () => {
  const { calls, idOf } = startCalls();
  const results = [calls.call("a", {}, longMs), calls.call("b", {}, longMs), calls.call("c", {}, longMs)];
  for (const index of [2, 0, 1]) calls.settle({ type: "res", id: idOf(index), ok: true, payload: index });
  await expect(Promise.all(results)).resolves.toEqual([0, 1, 2]);
});

test("a refusal becomes the failure that it means, and names the method", async () => {
  const { calls, idOf } = startCalls();
  const result = calls.call("device.pair.approve", {}, longMs);
  calls.settle({
    type: "res",
    id: idOf(0),
    ok: false,
    error: { code: "INVALID_REQUEST", message: "unknown requestId" },
  });
  await expect(result).rejects.toMatchObject({ code: "not-found", message: "device.pair.approve: unknown requestId" });
});

test("a refusal without an error is a failure all the same", async () => {
  const { calls, idOf } = startCalls();
  const result = calls.call("health", {}, longMs);
  calls.settle({ type: "res", id: idOf(0), ok: false });
  await expect(result).rejects.toMatchObject({ code: "failed", message: "health: no reason given" });
});

test("no answer in time is a timeout, and an answer that comes later harms nobody", async () => {
  const { calls, idOf } = startCalls();
  await expect(calls.call("health", {}, 1)).rejects.toMatchObject({ code: "timeout", details: { timeoutMs: 1 } });
  calls.settle({ type: "res", id: idOf(0), ok: true });
});

test("an answer that nobody asked for is ignored, and so is a second one", async () => {
  const { calls, idOf } = startCalls();
  calls.settle({ type: "res", id: "unknown", ok: true });
  const result = calls.call("health", {}, longMs);
  calls.settle({ type: "res", id: idOf(0), ok: true, payload: 1 });
  calls.settle({ type: "res", id: idOf(0), ok: false, error: { code: "UNAVAILABLE", message: "x" } });
  await expect(result).resolves.toBe(1);
});

test("the end of the connection fails everything that waits, with the same failure", async () => {
  const { calls } = startCalls();
  const results = [calls.call("a", {}, longMs), calls.call("b", {}, longMs)];
  const gone = new OpenClawError("unreachable", "the connection is gone");
  calls.failAll(gone);
  expect(await Promise.allSettled(results)).toEqual([
    { status: "rejected", reason: gone },
    { status: "rejected", reason: gone },
  ]);
});

test("a call on a closed connection fails at once", async () => {
  const { calls } = startCalls(false);
  await expect(calls.call("health", {}, longMs)).rejects.toMatchObject({ code: "unreachable" });
});

test("a call whose signal is aborted fails with the signal's reason", async () => {
  const { calls } = startCalls();
  const stop = new AbortController();
  const result = calls.call("health", {}, longMs, stop.signal);
  const reason = new Error("Ctrl-C");
  stop.abort(reason);
  await expect(result).rejects.toBe(reason);
});

test("a call whose signal was aborted before sends nothing, and rejects as any other", async () => {
  const { calls, sent } = startCalls();
  const reason = new Error("Ctrl-C");
  const result = calls.call("health", {}, longMs, AbortSignal.abort(reason)); // a throw here would escape a .catch()
  await expect(result).rejects.toBe(reason);
  expect(sent).toEqual([]);
});

test("a call that is over leaves no timer and no listener behind", async () => {
  vi.useFakeTimers();
  try {
    const { calls, idOf } = startCalls();
    const { signal } = new AbortController();
    const removed = vi.spyOn(signal, "removeEventListener");
    const result = calls.call("health", {}, longMs, signal);
    expect(vi.getTimerCount()).toBe(1);
    calls.settle({ type: "res", id: idOf(0), ok: true });
    await result;
    expect(vi.getTimerCount()).toBe(0);
    expect(removed).toHaveBeenCalledOnce();
  } finally {
    vi.useRealTimers();
  }
});
