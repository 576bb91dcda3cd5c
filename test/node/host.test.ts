/** The node host against a real gateway: approvals, reconnects, credentials that change, and every way it ends. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { createGateway } from "../../src/gateway/index.ts";
import { createHandlers } from "../../src/node/handlers/index.ts";
import { originOf } from "../../src/client/open-session.ts";
import { Secret } from "../../src/secret.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { textAt } from "../support/raw-client.ts";
import { makeIdentity, Memory, startNode, type TestNode, withToken } from "../support/node-host.ts";
import { startRelay } from "../support/relay.ts";
import { impatient, sharedToken, startGateway, temporaryStore, tokenKey, type World } from "../support/world.ts";
import { approvalsInMemory } from "./handlers/approvals-in-memory.ts";
import { isRunning, pidFrom, temporaryDirectory } from "./handlers/processes.ts";

const wrongToken = { explicit: { kind: "token", secret: new Secret("wrong") } } as const;

/** Approves both layers as they are asked for, and waits until the node is ready. */
async function approveAll(world: World, node: TestNode) {
  const device = await node.event("pairing-required");
  await world.gateway.approve(device.requestId);
  const surface = await node.event("pairing-required", node.events.items.indexOf(device) + 1);
  await world.gateway.approve(surface.requestId);
  return node.event("ready");
}

async function invoke(world: World, nodeId: string, params: unknown = {}, command = "system.which") {
  await using operator = await world.operator();
  return await operator.request("node.invoke", { nodeId, command, params, idempotencyKey: crypto.randomUUID() });
}

test("it waits for both approvals and goes on without a restart", async () => {
  await using world = await startGateway();
  const identity = makeIdentity();
  await using node = startNode(world.url, { identity, displayName: "kitchen" });
  const device = await node.event("pairing-required");
  expect(device).toMatchObject({
    layer: "device",
    deviceId: identity.deviceId,
    approve: `openclaw devices approve ${device.requestId}`,
  });
  expect(world.gateway.pending().devices).toMatchObject([{ requestId: device.requestId, displayName: "kitchen" }]);
  await world.gateway.approve(device.requestId);
  const surface = await node.event("pairing-required", node.events.items.indexOf(device) + 1);
  expect(surface).toMatchObject({ layer: "surface", approve: `openclaw nodes approve ${surface.requestId}` });
  await world.gateway.approve(surface.requestId);
  expect(await node.event("ready")).toMatchObject({
    deviceId: identity.deviceId,
    protocol: 4,
    commands: ["system.which"],
  });
  expect((await invoke(world, identity.deviceId, { bins: ["sh"] })).payload).toMatchObject({
    payload: { bins: ["sh"] },
  });
  expect(await node.event("invoke")).toMatchObject({ command: "system.which", ok: true });
  expect(await node.stop()).toBeUndefined();
  expect(node.events.items.at(-1)).toEqual({ event: "stopped", reason: "asked to stop" });
});

test("an approval that comes while its token is written down is told like any other, and once", async () => {
  await using world = await startGateway();
  await using operator = await world.operator();
  const memory = new Memory();
  const remember = memory.remember.bind(memory);
  memory.remember = async (...entry) => {
    const [surface] = world.gateway.pending().surfaces;
    if (surface !== undefined) await world.gateway.approve(surface.requestId);
    await operator.call("health"); // what was sent before has arrived
    return remember(...entry);
  };
  await using node = startNode(world.url, { memory });
  const { requestId } = await node.event("pairing-required");
  await world.gateway.approve(requestId);
  await node.event("ready");
  await operator.call("health");
  const told = node.events.items.map((event) => ("layer" in event ? `${event.event} ${event.layer}` : event.event));
  expect(told.filter((name) => name !== "connecting")).toEqual([
    "pairing-required device",
    "approved device",
    "pairing-required surface",
    "approved surface",
    "ready",
  ]);
});

test("a request is shown once, however often it is asked for", async () => {
  await using world = await startGateway();
  await using node = startNode(world.url);
  const { requestId } = await node.event("pairing-required");
  for (let attempt = 0; attempt < 5; attempt++) await node.next("connecting");
  expect(world.gateway.pending().devices).toMatchObject([{ requestId }]);
  expect(node.events.items.filter(({ event }) => event === "pairing-required")).toHaveLength(1);
});

test("with wait off the first request is the end, for either layer", async () => {
  await using world = await startGateway();
  const identity = makeIdentity();
  const first = startNode(world.url, { identity, wait: false });
  const error = await first.ended;
  expect(error).toMatchObject({ code: "pairing-required", details: { layer: "device", deviceId: identity.deviceId } });
  const requestId = textAt(error, "details", "requestId");
  expect(error).toMatchObject({ fix: `openclaw devices approve ${requestId}` });
  await world.gateway.approve(requestId);
  const second = startNode(world.url, { identity, wait: false });
  expect(await second.ended).toMatchObject({ code: "surface-approval-required", details: { layer: "surface" } });
  await world.gateway.approve(world.gateway.pending().surfaces[0]?.requestId ?? "");
  await using third = startNode(world.url, { identity, wait: false });
  await third.event("ready");
});

test.each(["device", "surface"] as const)("a rejected %s request ends it, with the reason", async (layer) => {
  await using world = await startGateway();
  const operator = await world.operator();
  await using node = startNode(world.url);
  const device = await node.event("pairing-required");
  if (layer === "device") {
    await operator.call("device.pair.reject", { requestId: device.requestId, reason: "not ours" });
  } else {
    await world.gateway.approve(device.requestId);
    const surface = await node.event("pairing-required", node.events.items.indexOf(device) + 1);
    await operator.call("node.pair.reject", { requestId: surface.requestId, reason: "not ours" });
  }
  const error = await node.ended;
  expect(error).toMatchObject({ code: "pairing-rejected", message: expect.stringMatching(/: not ours$/u) });
  expect(node.events.items.at(-1)).toEqual({ event: "stopped", reason: textAt(error, "message") });
});

test("approvals that do not come in time end it", async () => {
  await using world = await startGateway();
  await using first = startNode(world.url, { approvalTimeoutMs: 0 });
  expect(await first.ended).toMatchObject({ code: "pairing-required", details: { layer: "device" } });
  const runtime = { ...impatient(systemRuntime), now: () => 0 }; // no time passes before the surface is asked for
  await using second = startNode(world.url, { runtime, approvalTimeoutMs: 50 });
  await world.gateway.approve((await second.event("pairing-required")).requestId);
  expect(await second.ended).toMatchObject({ code: "pairing-required", details: { layer: "surface" } });
});

test.each([
  ["on the upgrade", true],
  ["in the frame", false],
])("a wrong token %s stops it with token-mismatch", async (_name, sendAuthHeader) => {
  await using world = await startGateway();
  await using node = startNode(world.url, { gateway: { url: world.url, sendAuthHeader }, credentials: wrongToken });
  expect(await node.ended).toMatchObject({ code: "token-mismatch" });
  expect(node.events.items.filter(({ event }) => event === "connecting")).toHaveLength(1);
  const failures = world.runtime.lines.items.filter(({ message }) => message === "auth failed");
  expect(failures).toHaveLength(1);
});

test.each([
  ["deferred", "credential-missing"],
  ["required", "credential-missing"],
] as const)("no token at all, upgrade %s, stops it with %s", async (upgrade, code) => {
  await using world = await startGateway({ auth: { token: sharedToken, upgrade } });
  await using node = startNode(world.url, { credentials: {} });
  expect(await node.ended).toMatchObject({ code });
});

test("a gateway that speaks another protocol stops it", async () => {
  // What a gateway of another version does, in the protocol's words.
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  server.on("connection", (socket) => {
    socket.send('{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}');
    socket.on("message", (data) => {
      const { id } = JSON.parse((data as Buffer).toString()) as { id: string };
      const error = {
        code: "INVALID_REQUEST",
        message: "protocol mismatch",
        details: { code: "PROTOCOL_MISMATCH", expectedProtocol: 9 },
      };
      socket.send(JSON.stringify({ type: "res", id, ok: false, error }));
      socket.close(1002, "protocol mismatch");
    });
  });
  const { port } = server.address() as AddressInfo;
  await using node = startNode(`ws://127.0.0.1:${port}`);
  expect(await node.ended).toMatchObject({ code: "incompatible" });
  server.close();
});

test("it tries again while nothing listens, and connects when the gateway is there", async () => {
  await using first = await startGateway();
  const { port } = first.gateway;
  await first.gateway.close();
  await using node = startNode(first.url);
  expect(await node.event("disconnected")).toMatchObject({ code: "unreachable" });
  await using world = await startGateway({ port });
  await node.event("pairing-required");
  expect(world.gateway.pending().devices).toHaveLength(1);
});

test("a gateway that restarts on its port is found again, nothing to approve anew", async () => {
  using store = temporaryStore();
  const identity = makeIdentity();
  await using first = await startGateway({ store: store.path });
  const { port } = first.gateway;
  await using node = startNode(first.url, { identity });
  await approveAll(first, node);
  const from = node.events.items.length;
  await first.gateway.close();
  await using second = await startGateway({ store: store.path, port });
  expect(await node.event("disconnected", from)).toMatchObject({ code: 1012, reason: "service restart" });
  await node.event("ready", from);
  expect((await invoke(second, identity.deviceId)).ok).toBe(true);
  expect(node.events.items.slice(from).some(({ event }) => event === "pairing-required")).toBe(false);
});

test("a node with the shared token survives a rotation by itself", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const identity = makeIdentity();
  const memory = new Memory();
  await using node = startNode(world.url, { identity, memory });
  await approveAll(world, node);
  const [before] = [...memory.tokens.values()];
  const from = node.events.items.length;
  await operator.call("device.token.rotate", { deviceId: identity.deviceId, role: "node" });
  expect(await node.event("disconnected", from)).toMatchObject({ code: 4001, reason: "device removed" });
  await node.event("ready", from);
  const [after] = [...memory.tokens.values()];
  expect(after?.token.reveal()).not.toBe(before?.token.reveal());
});

test("a node that has only its device token stops with device-token-mismatch after a rotation, and forgets the token", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const identity = makeIdentity();
  const memory = new Memory();
  {
    await using node = startNode(world.url, { identity, memory });
    await approveAll(world, node);
  }
  await using node = startNode(world.url, { identity, memory, credentials: {} });
  await node.event("ready");
  await operator.call("device.token.rotate", { deviceId: identity.deviceId, role: "node" });
  expect(await node.ended).toMatchObject({ code: "device-token-mismatch" });
  expect(memory.tokens.size).toBe(0);
});

test("a remembered token that is void gives way to the configured one", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const identity = makeIdentity();
  const memory = new Memory();
  {
    await using node = startNode(world.url, { identity, memory });
    await approveAll(world, node);
  }
  await operator.call("device.token.rotate", { deviceId: identity.deviceId, role: "node" });
  await using node = startNode(world.url, { identity, memory, credentials: { configured: withToken.explicit } });
  await node.event("ready");
  expect(memory.tokens.size).toBe(1);
});

test.each([
  ["with the shared token", withToken],
  ["with its device token alone", {}],
])("a node whose role is revoked while it runs stops, %s", async (_name, credentials) => {
  await using world = await startGateway();
  const operator = await world.operator();
  const identity = makeIdentity();
  const memory = new Memory();
  {
    await using node = startNode(world.url, { identity, memory });
    await approveAll(world, node);
  }
  await using node = startNode(world.url, { identity, memory, credentials });
  await node.event("ready");
  await operator.call("device.token.revoke", { deviceId: identity.deviceId, role: "node" });
  expect(await node.ended).toMatchObject({ code: "device-token-mismatch" });
});

test("a node that was removed while it runs asks to be approved again", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const identity = makeIdentity();
  await using node = startNode(world.url, { identity });
  await approveAll(world, node);
  const from = node.events.items.length;
  await operator.call("device.pair.remove", { deviceId: identity.deviceId });
  expect(await node.event("pairing-required", from)).toMatchObject({ layer: "device" });
});

test("of two hosts with the same identity the older one stops with conflict", async () => {
  await using world = await startGateway();
  const identity = makeIdentity();
  await using older = startNode(world.url, { identity });
  await approveAll(world, older);
  await using newer = startNode(world.url, { identity });
  await newer.event("ready");
  expect(await older.ended).toMatchObject({ code: "conflict", hint: expect.stringContaining("same identity") });
  expect((await invoke(world, identity.deviceId)).ok).toBe(true);
  expect(newer.events.items.some(({ event }) => event === "disconnected")).toBe(false);
});

test("the token of the last start is enough for the next one", async () => {
  using store = temporaryStore();
  const identity = makeIdentity();
  const memory = new Memory();
  await using world = await startGateway({ store: store.path });
  {
    await using node = startNode(world.url, { identity, memory });
    await approveAll(world, node);
  }
  expect([...memory.tokens.keys()]).toEqual([`${originOf(world.url)} ${identity.deviceId} node`]);
  await using node = startNode(world.url, { identity, memory, credentials: {} });
  await node.event("ready");
  expect(world.decisions.items.at(-1)).toMatchObject({ outcome: "admitted", authenticatedBy: "device-token" });
});

test("a connection that froze without closing is noticed and made anew", async () => {
  await using world = await startGateway({ limits: { tickIntervalMs: 1_000_000 } });
  await using relay = await startRelay(world.gateway.port);
  const identity = makeIdentity();
  await using node = startNode(relay.url, { identity, liveness: { quietMs: 50, pongDeadlineMs: 100 } });
  await approveAll(world, node);
  const from = node.events.items.length;
  relay.freeze();
  expect(await node.event("disconnected", from)).toMatchObject({ code: 1006 });
  await node.event("ready", from);
  expect((await invoke(world, identity.deviceId)).ok).toBe(true);
});

test("a quiet connection that answers pings is kept", async () => {
  await using world = await startGateway({ limits: { tickIntervalMs: 1_000_000, pingIntervalMs: 1_000_000 } });
  const identity = makeIdentity();
  let now = 0;
  const runtime = { ...impatient(systemRuntime), now: () => Date.now() + now };
  await using node = startNode(world.url, { identity, runtime, liveness: { quietMs: 10, pongDeadlineMs: 60_000 } });
  await approveAll(world, node);
  const before = node.events.items.length;
  for (let time = 0; time < 5; time++) {
    now += 1000;
    expect((await invoke(world, identity.deviceId)).ok).toBe(true);
  }
  expect(node.events.items.slice(before).some(({ event }) => event === "disconnected")).toBe(false);
});

test("a tunnel that breaks is crossed again", async () => {
  await using world = await startGateway();
  await using relay = await startRelay(world.gateway.port);
  await using node = startNode(relay.url);
  await approveAll(world, node);
  const from = node.events.items.length;
  relay.cut();
  expect(await node.event("disconnected", from)).toMatchObject({ code: 1006 });
  await node.event("ready", from);
});

test("a gateway that dies in the middle of an invoke aborts it, and the node serves the next gateway", async () => {
  using store = temporaryStore();
  await using first = await startGateway({ store: store.path });
  await using relay = await startRelay(first.gateway.port);
  const identity = makeIdentity();
  const started = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<unknown>();
  const handlers = {
    "system.which": (params: unknown, { signal }: { readonly signal: AbortSignal }) => {
      if (params !== "wait") return Promise.resolve(params);
      started.resolve();
      return new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          aborted.resolve(signal.reason);
          reject(signal.reason);
        });
      });
    },
  };
  await using node = startNode(relay.url, { identity, handlers });
  await approveAll(first, node);
  void invoke(first, identity.deviceId, "wait").catch(() => {}); // its gateway dies
  await started.promise;
  await using second = await createGateway({ store: store.path, tokenKey, auth: { token: sharedToken } });
  const from = node.events.items.length;
  relay.pointTo(second.port);
  relay.cut();
  expect(await aborted.promise).toBeInstanceOf(Error);
  await node.event("ready", from);
  expect(second.devices()).toMatchObject([{ deviceId: identity.deviceId, connected: true }]);
});

test("stopping it kills what it runs, and it has not stopped before", async () => {
  await using world = await startGateway();
  using directory = temporaryDirectory();
  const pidFile = `${directory.path}/pid`;
  const handlers = createHandlers({
    approvals: approvalsInMemory(),
    execPolicy: "full",
    env: process.env,
    pathEnv: process.env["PATH"],
  });
  const identity = makeIdentity();
  await using node = startNode(world.url, { identity, handlers });
  await approveAll(world, node);
  const script = `echo $$ > ${pidFile}.new && mv ${pidFile}.new ${pidFile}; trap '' TERM; while :; do sleep 1; done`;
  void invoke(world, identity.deviceId, { command: ["/bin/sh", "-c", script] }, "system.run").catch(() => {}); // nobody answers it
  const pid = await pidFrom(pidFile);
  expect(isRunning(pid)).toBe(true);
  expect(await node.stop()).toBeUndefined();
  expect(isRunning(pid)).toBe(false);
});

test.each([
  ["while it waits for an approval", async (node: TestNode) => void (await node.event("pairing-required"))],
  ["before it has connected", async () => {}],
])("it stops at once %s", async (_name, ready) => {
  await using world = await startGateway();
  await using node = startNode(world.url, { runtime: systemRuntime });
  await ready(node);
  expect(await node.stop()).toBeUndefined();
  expect(node.events.items.at(-1)).toEqual({ event: "stopped", reason: "asked to stop" });
});

test("it stops although the gateway does not answer any more", async () => {
  await using world = await startGateway();
  await using relay = await startRelay(world.gateway.port);
  await using node = startNode(relay.url);
  await approveAll(world, node);
  relay.freeze();
  expect(await node.stop()).toBeUndefined();
});

test("an invoke that was cancelled is aborted on the node", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const identity = makeIdentity();
  const aborted = Promise.withResolvers<void>();
  const handlers = {
    "system.which": (_params: unknown, { signal }: { readonly signal: AbortSignal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          aborted.resolve();
          reject(signal.reason);
        });
      }),
  };
  await using node = startNode(world.url, { identity, handlers });
  await approveAll(world, node);
  const params = { nodeId: identity.deviceId, command: "system.which", idempotencyKey: "k", timeoutMs: 50 };
  expect(await operator.refused("node.invoke", params)).toMatchObject({ details: { nodeError: { code: "TIMEOUT" } } });
  await aborted.promise;
  expect(await node.event("invoke")).toMatchObject({ ok: false });
});

test("a gateway that stops answers with 503 to nobody: the node just tries again", async () => {
  await using world = await startGateway({ limits: { maxUnauthenticatedPerAddress: 0 } });
  await using node = startNode(world.url);
  expect(await node.event("disconnected")).toMatchObject({
    code: "unreachable",
    reason: expect.stringContaining("503"),
  });
});
