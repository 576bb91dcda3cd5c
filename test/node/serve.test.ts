/** Invokes as a node takes them: how it finds the command, reads the params, and words what went wrong. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { InvokeError, type InvokeHandler } from "../../src/node/handlers/index.ts";
import { type InvokeReport, InvokeServer } from "../../src/node/serve.ts";
import { at } from "../support/raw-client.ts";
import { Recorder } from "../support/recorder.ts";
import { testRuntime } from "../support/world.ts";

interface Sent {
  readonly method: string;
  readonly params: unknown;
}

/** A server whose session keeps what it is given to send. */
function serve(handlers: Readonly<Record<string, InvokeHandler>>, refuse: (method: string) => boolean = () => false) {
  const sent = new Recorder<Sent>();
  const reports = new Recorder<InvokeReport>();
  const runtime = testRuntime();
  const request = async (method: string, params: unknown): Promise<unknown> => {
    sent.push({ method, params });
    if (refuse(method)) throw new OpenClawError("unreachable", "the connection is gone");
    return { ok: true };
  };
  const server = new InvokeServer({ session: { request }, handlers, runtime, report: reports.push });
  return {
    server,
    sent,
    reports,
    runtime,
    async ask(request: Readonly<Record<string, unknown>>): Promise<unknown> {
      const payload = { id: "1", nodeId: "n", command: "echo", ...request };
      server.hear({ type: "event", event: "node.invoke.request", payload });
      const isAnswer = ({ method, params }: Sent) => method === "node.invoke.result" && at(params, "id") === payload.id;
      return (await sent.find(isAnswer)).params;
    },
  };
}

const echo: Readonly<Record<string, InvokeHandler>> = { echo: async (params) => params };

test.each<[string, Readonly<Record<string, unknown>>, string]>([
  ["paramsJSON", { paramsJSON: '{"a":1}' }, '{"a":1}'],
  ["params", { params: { a: 1 } }, '{"a":1}'],
  ["paramsJSON before params", { paramsJSON: "1", params: 2 }, "1"],
  ["params when paramsJSON is null", { paramsJSON: null, params: 2 }, "2"],
  ["neither", {}, "{}"],
])("params are read from %s", async (_name, request, payloadJSON) => {
  expect(await serve(echo).ask(request)).toEqual({ id: "1", nodeId: "n", ok: true, payloadJSON });
});

test.each<[string, InvokeHandler, unknown]>([
  [
    "an error of the handler's own words",
    () => Promise.reject(new InvokeError("BUSY", "later")),
    { code: "BUSY", message: "later" },
  ],
  [
    "a failure of ours",
    () => Promise.reject(new OpenClawError("locked", "somebody writes")),
    { code: "UNAVAILABLE", message: "somebody writes" },
  ],
  [
    "a bug, which is not described",
    () => Promise.reject(new TypeError("secret detail")),
    { code: "UNAVAILABLE", message: "echo failed on the node; its log says why" },
  ],
  [
    "an answer that is no JSON",
    async () => 1n,
    { code: "UNAVAILABLE", message: "echo failed on the node; its log says why" },
  ],
])("a command that ends with %s is answered with an error", async (_name, handler, error) => {
  const node = serve({ echo: handler });
  expect(await node.ask({})).toEqual({ id: "1", nodeId: "n", ok: false, error });
  expect(node.reports.items).toMatchObject([{ id: "1", command: "echo", ok: false }]);
});

test("a command without a result answers null", async () => {
  expect(await serve({ echo: async () => undefined }).ask({})).toMatchObject({ ok: true, payloadJSON: "null" });
});

test.each(["nothing", "constructor", "__proto__"])("the command %s is not there", async (command) => {
  expect(await serve(echo).ask({ command })).toMatchObject({ ok: false, error: { code: "INVALID_REQUEST" } });
});

test("params that are not JSON are refused", async () => {
  expect(await serve(echo).ask({ paramsJSON: "{" })).toMatchObject({
    ok: false,
    error: { code: "INVALID_REQUEST", message: "paramsJSON is not JSON" },
  });
});

test.each<[number | null | undefined, number]>([
  [undefined, 30_000],
  [null, 30_000],
  [1234, 1234],
  [99_999_999, 3_600_000],
])("an invoke with the time %s gives the handler %s ms", async (timeoutMs, expected) => {
  const node = serve({ echo: async (_params, context) => context.timeoutMs });
  expect(await node.ask({ timeoutMs })).toMatchObject({ payloadJSON: String(expected) });
});

test("the same invoke sent twice runs once while it runs", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  let runs = 0;
  const node = serve({ echo: () => (runs++, promise) });
  const answer = node.ask({});
  node.server.hear({ type: "event", event: "node.invoke.request", payload: { id: "1", nodeId: "n", command: "echo" } });
  resolve(7);
  expect(await answer).toMatchObject({ payloadJSON: "7" });
  expect(runs).toBe(1);
});

test.each(["id", "invokeId"])("a cancel that names its invoke by %s aborts it, and only it", async (field) => {
  const signals = new Map<unknown, AbortSignal>();
  const untilAborted: InvokeHandler = (params, { signal }) => {
    signals.set(params, signal);
    return new Promise((_resolve, reject) =>
      signal.addEventListener("abort", () => reject(new InvokeError("CANCELLED", "stopped"))),
    );
  };
  const node = serve({ echo: untilAborted });
  const first = node.ask({ id: "a", params: "a" });
  void node.ask({ id: "b", params: "b" }).catch(() => {});
  await nextTurn();
  node.server.hear({ type: "event", event: "node.invoke.cancel", payload: { [field]: "a" } });
  expect(await first).toMatchObject({ ok: false, error: { code: "CANCELLED" } });
  expect([signals.get("a")?.aborted, signals.get("b")?.aborted]).toEqual([true, false]);
});

test("a cancel that arrives together with its invoke is heard before anything is started", async () => {
  let runs = 0;
  const node = serve({ echo: async () => runs++ });
  const answer = node.ask({});
  node.server.hear({ type: "event", event: "node.invoke.cancel", payload: { id: "1" } });
  expect(await answer).toMatchObject({ ok: false, error: { code: "CANCELLED" } });
  expect(runs).toBe(0);
});

test.each<[sleptMs: number, timeoutMs: number | undefined, isRun: boolean]>([
  [400, 300, true],
  [10_000, 5_000, false],
  [10_000, 20_000, true],
  [40_000, undefined, false],
  [10_000, 0, true],
])("after a sleep of %i ms an invoke with the time %s is run: %s", async (sleptMs, timeoutMs, isRun) => {
  let runs = 0;
  const node = serve({ echo: async () => runs++ });
  node.runtime.advance(sleptMs);
  const answer = await node.ask({ timeoutMs });
  expect(runs).toBe(isRun ? 1 : 0);
  expect(answer).toMatchObject(isRun ? { ok: true } : { ok: false, error: { code: "TIMEOUT" } });
  expect(node.reports.items).toMatchObject([{ id: "1", ok: isRun }]);
  await node.server.stop();
});

test("stopping aborts everything and resolves when it is over", async () => {
  const { promise: mayEnd, resolve: letEnd } = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  const slowToEnd: InvokeHandler = (_params, { signal }) =>
    new Promise((resolve) => {
      signal.addEventListener("abort", () => {
        aborted.resolve();
        resolve(mayEnd);
      });
    });
  const node = serve({ echo: slowToEnd });
  node.server.hear({ type: "event", event: "node.invoke.request", payload: { id: "1", nodeId: "n", command: "echo" } });
  await nextTurn();
  let isOver = false;
  const stopped = node.server.stop().then(() => (isOver = true));
  await aborted.promise;
  expect(isOver).toBe(false);
  letEnd();
  await stopped;
  await serve(echo).server.stop(); // with nothing running it is over at once
});

test.each<[string, string, unknown]>([
  ["another event", "tick", { ts: 1 }],
  ["a request that is no object", "node.invoke.request", "hello"],
  ["a request without a command", "node.invoke.request", { id: "1" }],
  ["a cancel of nothing", "node.invoke.cancel", {}],
])("%s is let pass", async (_name, event, payload) => {
  const node = serve(echo);
  node.server.hear({ type: "event", event, payload });
  expect(await node.ask({ id: "next" })).toMatchObject({ id: "next" });
  expect(node.sent.items).toHaveLength(1);
});

test("an answer that cannot be sent is a warning in the log, and events that cannot are less", async () => {
  const emits: InvokeHandler = async (_params, context) => context.emit("exec.finished", { a: 1 });
  const node = serve({ echo: emits }, () => true);
  await node.ask({});
  const warning = await node.runtime.lines.find(({ level }) => level === "warn");
  expect(warning).toMatchObject({ message: "an answer did not reach the gateway", fields: { invoke: "1" } });
  expect(node.sent.items[0]).toEqual({
    method: "node.event",
    params: { event: "exec.finished", payloadJSON: '{"a":1}' },
  });
});
