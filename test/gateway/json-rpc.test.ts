/** The JSON-RPC dialect against a real gateway: connect, calls, events, batches, errors (auth.md § 6). */
import { describe, expect, test } from "vitest";
import { maxBatchMembers, maxBytesBeforeHello } from "../../src/protocol/limits.ts";
import { systemRuntime } from "../../src/runtime.ts";
import type { RecordStore } from "../../src/store/record-store.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import {
  at,
  connectParams as nativeParams,
  listAt,
  makeDevice,
  type RawDevice,
  textAt,
} from "../support/raw-client.ts";
import { connectParams, fromElsewhere, pairKeyless, type RpcAnswer, RpcClient } from "../support/rpc-client.ts";
import { everyScope, sharedToken, startGateway, type World } from "../support/world.ts";

const hasId = (id: unknown) => (message: RpcAnswer) => !Array.isArray(message) && at(message, "id") === id;
const isBatch = (message: RpcAnswer) => Array.isArray(message);

/** What one message as the first of a connection is answered with, and how the connection ends. */
async function firstMessage(world: World, message: unknown) {
  await using client = await RpcClient.open(world.url);
  client.send(message);
  const closed = await client.closed;
  // The first is the challenge, which is sent before anybody can know the dialect.
  return { answers: client.messages.items.slice(1), closed };
}

describe("connect", () => {
  test("control on a direct connection with the shared token holds every operator scope", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.open(world.url);
    const answer = await client.request("connect", connectParams({}));
    expect(answer).toMatchObject({ jsonrpc: "2.0", id: 1, result: { type: "hello-ok", auth: { role: "operator" } } });
    expect(Object.keys(answer).toSorted()).toEqual(["id", "jsonrpc", "result"]);
    expect(at(answer, "result", "auth", "scopes")).toEqual(expect.arrayContaining(everyScope));
    expect(at(answer, "result", "auth", "removedScopes")).toBeUndefined();
    expect(listAt(answer, "result", "features", "methods")).toContain("node.pair.request");
    const { fields } = await world.runtime.lines.find(({ message }) => message === "connected");
    expect(fields).toMatchObject({ client: "json-rpc/backend", role: "operator", by: "token" });
    const { outcome, trace } = await world.decisions.find(() => true);
    expect(outcome).toBe("admitted");
    expect(trace[1]).toEqual({ method: "frame", outcome: "accepted", reason: "connect of JSON-RPC as control" });
  });

  test("control gets no more than it asks for", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url, { more: { scopes: ["operator.read", "operator.dance"] } });
    expect(client.hello).toMatchObject({ auth: { scopes: ["operator.read"] } });
    expect(at(await client.refused("device.pair.list"), "code")).toBe(-32003);
  });

  test("webchat holds operator.read and operator.write at the most, and is told what was taken", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url, { role: "webchat" });
    expect(client.hello).toMatchObject({ auth: { scopes: ["operator.read", "operator.write"] } });
    await using greedy = await RpcClient.admitted(world.url, { role: "webchat", more: { scopes: everyScope } });
    expect(greedy.hello).toMatchObject({
      auth: {
        scopes: ["operator.read", "operator.write"],
        removedScopes: ["operator.admin", "operator.approvals", "operator.pairing"],
        removedScopesReason: "webchat holds operator.read and operator.write at the most",
      },
    });
  });

  test.each(["control", "webchat", "node"])(
    "%s from elsewhere holds nothing with the shared token alone, and is told what to do",
    async (role) => {
      await using world = await startGateway();
      await using client = await RpcClient.admitted(world.url, { role }, fromElsewhere);
      expect(client.hello).toMatchObject({ auth: { role: "operator", scopes: [] } });
      expect(textAt(client.hello, "auth", "removedScopesReason")).toMatch(/node\.pair\.request/u);
      expect(at(await client.refused("status"), "code")).toBe(-32003);
      expect(at(await client.refused("node.event", { event: "e" }), "code")).toBe(-32000);
    },
  );

  test("the password counts where it is configured", async () => {
    await using world = await startGateway({ auth: { password: "a-password-for-tests" } });
    await using client = await RpcClient.admitted(world.url, { auth: { password: "a-password-for-tests" } });
    expect(client.hello).toMatchObject({ auth: { method: "password" } });
  });

  test("a device with a key signs the challenge and pairs as in our own dialect", async () => {
    await using world = await startGateway();
    const device = makeDevice();
    const { answer: refused } = await connectWithKey(world, device, "node");
    const details = { deviceId: device.id, requestedRole: "node" };
    expect(refused).toMatchObject({ error: { code: -32002, data: { code: "NOT_PAIRED", details } } });
    await world.gateway.approve(textAt(refused, "error", "data", "details", "requestId"));
    const { client, answer } = await connectWithKey(world, device, "node");
    await using _client = client;
    expect(answer).toMatchObject({ result: { auth: { role: "node", deviceToken: expect.any(String) } } });
    expect(world.gateway.devices()).toMatchObject([{ deviceId: device.id, displayName: "kitchen" }]);
    expect(at(await client.refused("node.pair.request"), "message")).toMatch(/is a device already/u);
  });

  test("a signed connect holds the scopes that it names, as far as its role may hold them", async () => {
    await using world = await startGateway();
    const device = makeDevice();
    const scopes = ["operator.read", "operator.pairing"];
    const { answer: refused } = await connectWithKey(world, device, "control", scopes);
    await world.gateway.approve(textAt(refused, "error", "data", "details", "requestId"));
    const { answer } = await connectWithKey(world, device, "control", scopes);
    expect(answer).toMatchObject({ result: { auth: { scopes } } });
    const { answer: nothing } = await connectWithKey(world, device, "control");
    expect(nothing).toMatchObject({
      result: { auth: { scopes: [], removedScopesReason: "name the scopes that you want (params.scopes)" } },
    });
    const webchat = makeDevice();
    const { answer: waiting } = await connectWithKey(world, webchat, "webchat", scopes);
    await world.gateway.approve(textAt(waiting, "error", "data", "details", "requestId"));
    const { answer: page } = await connectWithKey(world, webchat, "webchat", scopes);
    expect(page).toMatchObject({
      result: { auth: { scopes: ["operator.read"], removedScopes: ["operator.pairing"] } },
    });
    const bent = await connectWithKey(world, device, "control", scopes, ["operator.admin"]);
    expect(bent.answer).toMatchObject({
      error: { code: -32001, data: { details: { code: "DEVICE_AUTH_SIGNATURE_INVALID" } } },
    });
  });

  test("a page behind a trusted proxy is a webchat session of its user", async () => {
    await using world = await startGateway({
      auth: {
        mode: "trusted-proxy",
        trustedProxy: { userHeader: "x-user", allowLoopback: true },
        identityScopes: { ada: ["operator.read"] },
      },
      trustedProxies: ["127.0.0.1"],
      allowedOrigins: ["https://panel.example"],
    });
    const headers = {
      ...fromElsewhere,
      Origin: "https://panel.example",
      "X-User": "ada",
      "X-Forwarded-For": "192.0.2.7",
    };
    await using page = await RpcClient.admitted(world.url, { role: "webchat", auth: undefined }, headers);
    expect(page.hello).toMatchObject({
      auth: { method: "trusted-proxy", scopes: ["operator.read"], removedScopes: ["operator.write"] },
    });
    const { answer } = await RpcClient.connect(world.url, { role: "webchat", auth: undefined }, fromElsewhere);
    expect(answer).toMatchObject({ error: { code: -32001 } });
  });
});

/** Connects with a key, and signs `scopes`; `said` are the scopes of the connect where they differ. */
async function connectWithKey(
  world: World,
  device: RawDevice,
  role: "control" | "webchat" | "node",
  scopes: readonly string[] = [],
  said = scopes,
) {
  const client = await RpcClient.open(world.url, fromElsewhere);
  const challenge = await client.next((message) => at(message, "event") === "connect.challenge");
  const mode = { control: "backend", webchat: "webchat", node: "node" }[role];
  const native = nativeParams(
    {
      device,
      clientId: "json-rpc",
      mode,
      role: role === "node" ? "node" : "operator",
      scopes,
      deviceFamily: undefined,
      auth: { token: sharedToken },
    },
    textAt(challenge, "payload", "nonce"),
    Number(at(challenge, "payload", "ts")),
  );
  const more = { device: native["device"], ...(said.length === 0 ? {} : { scopes: said }) };
  const described = { client: { name: "kitchen", version: "1", platform: "linux" } };
  const params = connectParams({ role, more: { ...more, ...described } });
  return { client, answer: await client.request("connect", params) };
}

describe("gateway.trustedLocalServices", () => {
  test("may list the dialect, which holds no more than that then", async () => {
    const trustedLocalServices = [{ id: "json-rpc", scopes: ["operator.read"] }];
    await using world = await startGateway({ pairing: { trustedLocalServices } });
    await using client = await RpcClient.admitted(world.url, { more: { scopes: ["operator.read", "operator.admin"] } });
    expect(client.hello).toMatchObject({ auth: { scopes: ["operator.read"], removedScopes: ["operator.admin"] } });
  });

  test("need not: a session that the shared token let in outlives new rules that keep the token, and no others", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url);
    world.gateway.setRules({ allowedOrigins: ["https://panel.example"] });
    expect(await client.call("health")).toMatchObject({ ok: true });
    world.gateway.setRules({ auth: { token: "another-token-for-the-tests" } });
    expect(await client.closed).toMatchObject({ code: 4001 });
  });
});

describe("refusals of a connect", () => {
  test("a wrong token is the standard's shape with our error in data, one log line, and a trace", async () => {
    await using world = await startGateway();
    const { client, answer } = await RpcClient.connect(world.url, { auth: { token: "wrong" } });
    expect(answer).toMatchObject({
      jsonrpc: "2.0",
      id: 1,
      error: { code: -32001, data: { code: "INVALID_REQUEST", details: { code: "AUTH_TOKEN_MISMATCH" } } },
    });
    expect(await client.closed).toMatchObject({ code: 1008 });
    const lines = world.runtime.lines.items.filter(({ level }) => level === "warn");
    expect(lines).toMatchObject([{ message: "auth failed", fields: { code: "AUTH_TOKEN_MISMATCH" } }]);
    expect(lines[0]?.fields["trace"]).toMatch(
      /frame:accepted\(connect of JSON-RPC as control\).*token:wrong\(token_mismatch\)/u,
    );
    expect(world.decisions.items).toMatchObject([{ outcome: "refused", code: "AUTH_TOKEN_MISMATCH" }]);
  });

  test("no credential from elsewhere is refused", async () => {
    await using world = await startGateway();
    const { answer } = await RpcClient.connect(world.url, { auth: undefined }, fromElsewhere);
    expect(answer).toMatchObject({ error: { code: -32001, data: { details: { code: "DEVICE_IDENTITY_REQUIRED" } } } });
  });

  const call = (method: string, id: unknown = 7) => ({ jsonrpc: "2.0", id, method, params: {} });
  test.each<[name: string, message: unknown, code: number, id: unknown]>([
    ["what breaks off", '{"jsonrpc":"2.0","method":"foobar,"params":"bar","baz]', -32700, null],
    ["another version", { jsonrpc: "1.0", id: 7, method: "connect" }, -32600, 7],
    ["no method", { jsonrpc: "2.0", id: 7 }, -32600, 7],
    ["another method", call("health"), -32600, 7],
    ["a connect that cannot be answered", { jsonrpc: "2.0", method: "connect", params: {} }, -32600, null],
    ["params of no connect", call("connect"), -32602, 7],
    [
      "a role that does not exist",
      { ...call("connect"), params: { role: "king", client: { name: "a", version: "1" } } },
      -32602,
      7,
    ],
    ["params by position", { ...call("connect"), params: ["control"] }, -32602, 7],
  ])("%s is answered and the connection ends", async (_name, message, code, id) => {
    await using world = await startGateway();
    const { answers, closed } = await firstMessage(world, message);
    expect(answers).toMatchObject([{ jsonrpc: "2.0", id, error: { code, message: expect.any(String) } }]);
    expect(closed.code).toBe(1008);
    expect(world.decisions.items).toMatchObject([{ outcome: "refused" }]);
  });

  test("a batch whose connect is refused is answered as a batch", async () => {
    await using world = await startGateway();
    const connect = { jsonrpc: "2.0", id: 1, method: "connect", params: connectParams({ auth: { token: "wrong" } }) };
    const { answers } = await firstMessage(world, [
      connect,
      call("health", 2),
      { jsonrpc: "2.0", method: "health" },
      5,
    ]);
    expect(answers).toMatchObject([
      [
        { id: 1, error: { code: -32001 } },
        { id: 2, error: { code: -32600, message: "the first request must be connect" } },
        { id: null, error: { code: -32600 } },
      ],
    ]);
    expect(answers).toHaveLength(1);
  });

  test("more than 64 KiB before hello end the connection", async () => {
    await using world = await startGateway();
    const { closed } = await firstMessage(world, {
      ...call("connect"),
      params: { p: "x".repeat(maxBytesBeforeHello * 2) },
    });
    expect(closed.code).toBe(1009);
  });

  test("the same address has to wait after too many wrong tokens", async () => {
    await using world = await startGateway({ limits: { maxAttempts: 2 } });
    const attempt = async () =>
      (await RpcClient.connect(world.url, { auth: { token: "wrong" } }, fromElsewhere)).answer;
    await attempt();
    await attempt();
    expect(await attempt()).toMatchObject({ error: { code: -32004, data: { retryAfterMs: expect.any(Number) } } });
  });
});

describe("calls", () => {
  test("ids come back as they were sent, and a notification is not answered", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url);
    for (const id of ["a", "", 0, -1, 1.5, null]) {
      client.send({ jsonrpc: "2.0", id, method: "health" });
      expect(await client.next(hasId(id))).toMatchObject({ jsonrpc: "2.0", result: { ok: true } });
    }
    const from = client.messages.items.length;
    client.send({ jsonrpc: "2.0", method: "health" });
    client.send({ jsonrpc: "2.0", method: "no.such.method" });
    await client.call("health");
    expect(client.messages.items.slice(from).filter((message) => at(message, "method") === undefined)).toHaveLength(1);
  });

  test.each<[name: string, message: unknown, code: number, data: unknown]>([
    ["a method that nobody knows", { method: "no.such.method" }, -32601, { code: "INVALID_REQUEST" }],
    ["a second connect", { method: "connect" }, -32600, { code: "INVALID_REQUEST" }],
    ["params that are missing", { method: "node.describe" }, -32602, { code: "INVALID_REQUEST" }],
    [
      "params of the wrong kind",
      { method: "node.describe", params: { nodeId: 1 } },
      -32602,
      { code: "INVALID_REQUEST" },
    ],
    ["params by position", { method: "node.describe", params: ["n"] }, -32602, { code: "INVALID_REQUEST" }],
    ["params that are text", { method: "node.describe", params: "n" }, -32600, { code: "INVALID_REQUEST" }],
    [
      "a node that is not there",
      { method: "node.describe", params: { nodeId: "n" } },
      -32000,
      { details: { code: "UNKNOWN_NODE" } },
    ],
    ["a method of nodes", { method: "skills.bins" }, -32000, { code: "INVALID_REQUEST" }],
    ["a scope that is not held", { method: "device.pair.setupList" }, -32003, { details: { code: "MISSING_SCOPE" } }],
  ])("%s is answered with an error, and the session goes on", async (_name, message, code, data) => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url, { more: { scopes: ["operator.read"] } });
    client.send({ jsonrpc: "2.0", id: "it", ...Object(message) });
    expect(await client.next(hasId("it"))).toMatchObject({ jsonrpc: "2.0", error: { code, data } });
    expect(await client.call("health", [])).toMatchObject({ ok: true });
  });

  test.each([
    ["no JSON", "hello", -32700, null],
    ["a number", "1", -32600, null],
    ["a frame of the other dialect", '{"type":"req","id":"a","method":"health"}', -32600, "a"],
    ["an empty batch", "[]", -32600, null],
    ["a batch that is too long", JSON.stringify(Array.from({ length: maxBatchMembers + 1 }, () => ({}))), -32600, null],
  ])("%s is answered once, and the session goes on", async (_name, text, code, id) => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url);
    client.send(text);
    expect(await client.next(hasId(id))).toMatchObject({ jsonrpc: "2.0", id, error: { code } });
    expect(await client.call("health")).toMatchObject({ ok: true });
  });

  test("a failure of ours is an internal error that describes nothing", async () => {
    const store = await openSqliteStore(":memory:", { runtime: systemRuntime });
    let isBroken = false;
    const breakable: RecordStore = {
      all: (collection) => store.all(collection),
      tail: (journal, limit) => store.tail(journal, limit),
      update: (change) => (isBroken ? Promise.reject(new Error("the disk is gone")) : store.update(change)),
      revision: () => store.revision(),
      close: () => store.close(),
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    };
    await using world = await startGateway({ store: breakable });
    await using client = await RpcClient.admitted(world.url);
    isBroken = true;
    const error = await client.refused("device.pair.remove", { deviceId: "d" });
    expect(error).toMatchObject({ code: -32603, data: { code: "UNAVAILABLE" } });
    expect(JSON.stringify(error)).not.toContain("disk");
    isBroken = false;
  });

  test("calls of methods that the role may never call end the session in the end", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url);
    client.send(Array.from({ length: 20 }, (_none, id) => ({ jsonrpc: "2.0", id, method: "skills.bins" })));
    expect(await client.closed).toEqual({ code: 1008, reason: "repeated unauthorized calls" });
    const answers = client.messages.items.find(isBatch);
    expect(answers).toHaveLength(11);
  });
});

describe("batches", () => {
  test("members are answered together, notifications and invalid ones among them", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url);
    client.send([
      { jsonrpc: "2.0", id: 1, method: "health" },
      { jsonrpc: "2.0", method: "health" },
      { foo: "boo" },
      { jsonrpc: "2.0", id: "9", method: "status" },
      { jsonrpc: "2.0", id: 5, method: "no.such.method" },
      7,
    ]);
    const answers = await client.next(isBatch);
    expect(answers).toHaveLength(5);
    expect(answers).toEqual(
      expect.arrayContaining([
        { jsonrpc: "2.0", id: 1, result: expect.objectContaining({ ok: true }) },
        { jsonrpc: "2.0", id: "9", result: expect.objectContaining({ authMode: "any" }) },
        expect.objectContaining({ id: 5, error: expect.objectContaining({ code: -32601 }) }),
        expect.objectContaining({ id: null, error: expect.objectContaining({ code: -32600 }) }),
      ]),
    );
  });

  test("one of notifications only is not answered", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url);
    client.send([
      { jsonrpc: "2.0", method: "health" },
      { jsonrpc: "2.0", method: "status" },
    ]);
    await client.call("health");
    expect(client.messages.items.filter(isBatch)).toEqual([]);
  });

  test("connect may be the first of a batch, and what follows is run once it is in", async () => {
    await using world = await startGateway();
    await using client = await RpcClient.open(world.url);
    client.send([
      { jsonrpc: "2.0", id: 1, method: "connect", params: connectParams({}) },
      { jsonrpc: "2.0", id: 2, method: "health" },
      { jsonrpc: "2.0", id: 3, method: "device.pair.list", params: {} },
    ]);
    client.send({ jsonrpc: "2.0", id: 4, method: "health" });
    expect(await client.next(isBatch)).toMatchObject([
      { id: 1, result: { type: "hello-ok" } },
      { id: 2, result: { ok: true } },
      { id: 3, result: { pending: [], paired: [] } },
    ]);
    expect(await client.next(hasId(4))).toMatchObject({ result: { ok: true } });
  });

  test("a member that ends its own session is answered before the end", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    const approve = (requestId: string) => control.call("node.pair.approve", { requestId });
    const scopes = ["operator.read", "operator.pairing"];
    const { token, deviceId } = await pairKeyless(world.url, approve, { scopes });
    await using client = await RpcClient.admitted(world.url, { auth: { token } }, fromElsewhere);
    const revoke = { jsonrpc: "2.0", id: 1, method: "device.token.revoke", params: { deviceId, role: "operator" } };
    client.send([revoke, { jsonrpc: "2.0", id: 2, method: "status" }]);
    expect(await client.next(isBatch)).toEqual(
      expect.arrayContaining([expect.objectContaining({ id: 1, result: expect.objectContaining({ deviceId }) })]),
    );
    expect(await client.closed).toMatchObject({ code: 4001 });
  });
});

test("events are notifications that hold nothing but what the standard names", async () => {
  await using world = await startGateway({ limits: { tickIntervalMs: 20 } });
  await using client = await RpcClient.admitted(world.url);
  const tick = await client.next((message) => at(message, "method") === "tick");
  expect(tick).toEqual({ jsonrpc: "2.0", method: "tick", params: { ts: expect.any(Number) } });
  const { client: refused } = await world.connect({ device: makeDevice(), auth: { token: sharedToken } });
  await refused.closed;
  expect(await client.notification("device.pair.requested")).toMatchObject({ role: "node" });
  await world.gateway.close();
  expect(await client.notification("shutdown")).toEqual({ reason: "gateway stopping" });
  expect(await client.closed).toMatchObject({ code: 1012 });
});

test("both dialects meet on one gateway: an invoke goes from JSON-RPC to a node of our own and back", async () => {
  await using world = await startGateway();
  await using control = await RpcClient.admitted(world.url);
  const { client: node, device } = await world.node({ commands: ["system.which"] });
  const invoke = { nodeId: device.id, command: "system.which", params: { bins: ["sh"] }, idempotencyKey: "1" };
  const outcome = control.call("node.invoke", invoke);
  const { payload } = await node.event("node.invoke.request");
  const answer = { id: at(payload, "id"), nodeId: device.id, ok: true, payloadJSON: '{"sh":"/bin/sh"}' };
  await node.call("node.invoke.result", answer);
  expect(await outcome).toMatchObject({ ok: true, payload: { sh: "/bin/sh" } });
});
