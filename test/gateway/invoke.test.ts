/** node.invoke: routing, every refusal of protocol.md § 7.3, deadlines, and what happens when either end goes away. */
import { expect, test } from "vitest";
import { at, makeDevice, type Message, type RawClient, textAt } from "../support/raw-client.ts";
import { type RawNode, sharedToken, startGateway } from "../support/world.ts";

const auth = { token: sharedToken };
let lastKey = 0;

function invoke(operator: RawClient, nodeId: string, more: Readonly<Record<string, unknown>> = {}): Promise<Message> {
  return operator.request("node.invoke", {
    nodeId,
    command: "system.which",
    idempotencyKey: `key-${++lastKey}`,
    ...more,
  });
}

/** The next invoke that reaches the node, and its id. */
async function received({ client }: RawNode, from = 0): Promise<{ readonly id: string; readonly payload: unknown }> {
  const { payload } = await client.event("node.invoke.request", from);
  return { id: textAt(payload, "id"), payload };
}

function answer({ client, device }: RawNode, id: string, fields: Readonly<Record<string, unknown>>): Promise<unknown> {
  return client.call("node.invoke.result", { id, nodeId: device.id, ...fields });
}

test("a node that nobody knows", async () => {
  await using world = await startGateway();
  const { error } = await invoke(await world.operator(), "nobody");
  expect(error).toMatchObject({
    code: "INVALID_REQUEST",
    message: "unknown nodeId",
    details: { code: "UNKNOWN_NODE" },
  });
});

test("a node that is not connected", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  await world.pair({ device, commands: ["system.which"] });
  const { error } = await invoke(await world.operator(), device.id);
  expect(error).toMatchObject({ code: "UNAVAILABLE", details: { code: "NOT_CONNECTED", nodeId: device.id } });
});

test.each([
  ["a command that the platform's policy does not have", "camera.snap", "command not allowlisted", undefined],
  ["a command that the node does not declare", "system.info", "command not declared by node", undefined],
  [
    "a command that is declared and not approved yet",
    "system.run",
    "command not declared by node",
    "SURFACE_NOT_APPROVED",
  ],
])("%s", async (_name, command, reason, code) => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { device } = await world.node({ commands: ["system.which"] });
  const wider = await world.admitted({ device, commands: ["system.which", "system.run"], auth });
  const { error } = await invoke(operator, device.id, { command });
  expect(error).toMatchObject({ code: "INVALID_REQUEST", details: { reason, command } });
  expect(at(error?.details, "code")).toBe(code);
  expect(at(error?.details, "requestId")).toBe(
    code === undefined ? undefined : world.gateway.pending().surfaces[0]?.requestId,
  );
  expect(wider.messages.items.some(({ event }) => event === "node.invoke.request")).toBe(false);
});

test("a node without any command", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { device } = await world.node({ commands: [] });
  const { error } = await invoke(operator, device.id);
  expect(error).toMatchObject({ code: "INVALID_REQUEST", details: { reason: "node did not declare commands" } });
});

test.each([
  [
    { code: "INVALID_REQUEST", message: "bins missing" },
    { code: "INVALID_REQUEST", message: "bins missing" },
  ],
  [{}, { code: "UNAVAILABLE", message: "the node gave no reason" }],
  [undefined, { code: "UNAVAILABLE", message: "the node gave no reason" }],
])("a node that answers with the error %j", async (error, nodeError) => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  const outcome = invoke(operator, node.device.id);
  await answer(node, (await received(node)).id, { ok: false, error });
  expect((await outcome).error).toEqual({
    code: "UNAVAILABLE",
    message: `${nodeError.code}: ${nodeError.message}`,
    details: { nodeError },
  });
});

test("a node that does not answer in time is told to stop, and its late answer is ignored", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  const outcome = invoke(operator, node.device.id, { timeoutMs: 30 });
  const { id, payload } = await received(node);
  expect(payload).toMatchObject({ timeoutMs: 30 });
  expect((await outcome).error).toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/^TIMEOUT: /u),
    details: { nodeError: { code: "TIMEOUT" } },
  });
  expect((await node.client.event("node.invoke.cancel")).payload).toEqual({
    id,
    nodeId: node.device.id,
    reason: "timeout",
  });
  expect(await answer(node, id, { ok: true, payloadJSON: "1" })).toEqual({ ok: true, ignored: true });
});

test("a node that goes away meanwhile", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  const outcome = invoke(operator, node.device.id);
  await received(node);
  node.client.socket.terminate();
  expect((await outcome).error).toMatchObject({
    code: "UNAVAILABLE",
    details: { nodeError: { code: "DISCONNECTED" } },
  });
});

test("a node that connects again takes the invokes over; what waited for the old connection fails", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  const waiting = invoke(operator, node.device.id);
  await received(node);
  const client = await world.admitted({ device: node.device, commands: ["system.which"], auth });
  expect(await node.client.closed).toEqual({ code: 1008, reason: "replaced by a newer connection of the same node" });
  expect((await waiting).error).toMatchObject({ details: { nodeError: { code: "DISCONNECTED" } } });
  const again = { ...node, client };
  const outcome = invoke(operator, node.device.id);
  await answer(again, (await received(again)).id, { ok: true, payload: 7 });
  expect((await outcome).payload).toMatchObject({ payload: 7, payloadJSON: "7" });
});

test("answers find their callers, whatever their order", async () => {
  await using world = await startGateway();
  const [one, two] = [await world.operator(), await world.operator()];
  const node = await world.node();
  const first = invoke(one, node.device.id, { params: "first" });
  const { id: firstId } = await received(node);
  const from = node.client.messages.items.length;
  const second = invoke(two, node.device.id, { params: "second" });
  const { id: secondId } = await received(node, from);
  await answer(node, secondId, { ok: true, payload: "second" });
  await answer(node, firstId, { ok: true, payload: "first" });
  expect((await first).payload).toMatchObject({ payload: "first" });
  expect((await second).payload).toMatchObject({ payload: "second" });
});

test("the same idempotency key joins the first call, while it runs and after it succeeded", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  const more = { idempotencyKey: "same" };
  const calls = [invoke(operator, node.device.id, more), invoke(operator, node.device.id, more)];
  await answer(node, (await received(node)).id, { ok: true, payload: 1 });
  for (const call of calls) expect((await call).payload).toMatchObject({ payload: 1 });
  expect((await invoke(operator, node.device.id, more)).payload).toMatchObject({ payload: 1 });
  expect(node.client.messages.items.filter(({ event }) => event === "node.invoke.request")).toHaveLength(1);
});

test("a call that failed may be repeated under its key", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  const more = { idempotencyKey: "same" };
  const failed = invoke(operator, node.device.id, more);
  await answer(node, (await received(node)).id, { ok: false, error: { code: "BUSY", message: "later" } });
  expect((await failed).ok).toBe(false);
  const from = node.client.messages.items.length;
  const repeated = invoke(operator, node.device.id, more);
  await answer(node, (await received(node, from)).id, { ok: true, payload: 2 });
  expect((await repeated).payload).toMatchObject({ payload: 2 });
});

test.each([
  ["params", { params: { bins: ["sh"] } }, '{"bins":["sh"]}'],
  ["no params", {}, null],
  ["params that are null", { params: null }, "null"],
])("%s reach the node as JSON text", async (_name, more, paramsJSON) => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  void invoke(operator, node.device.id, more).catch(() => {}); // nobody answers; the world's end ends it
  expect((await received(node)).payload).toMatchObject({ paramsJSON, timeoutMs: 30_000 });
});

test("an answer that is not JSON still reaches the operator as text", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  const outcome = invoke(operator, node.device.id);
  await answer(node, (await received(node)).id, { ok: true, payloadJSON: "{broken" });
  expect((await outcome).payload).toMatchObject({ payload: null, payloadJSON: "{broken" });
});

test.each(["system.execApprovals.get", "system.execApprovals.set"])(
  "%s is not carried by node.invoke",
  async (command) => {
    await using world = await startGateway();
    const operator = await world.operator();
    const { client, device } = await world.node({ commands: [command] });
    const { error } = await invoke(operator, device.id, { command });
    expect(error).toMatchObject({
      code: "INVALID_REQUEST",
      message: expect.stringContaining("exec.approvals.node.get"),
    });
    expect(client.messages.items.some(({ event }) => event === "node.invoke.request")).toBe(false);
  },
);

test("exec.approvals.node.get and .set reach the node and give its answer", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node({ commands: ["system.execApprovals.get", "system.execApprovals.set"] });
  const nodeId = node.device.id;
  const snapshot = { path: "/x", exists: true, hash: "h", file: { version: 1 } };
  const get = operator.call("exec.approvals.node.get", { nodeId });
  const asked = await received(node);
  expect(asked.payload).toMatchObject({ command: "system.execApprovals.get", paramsJSON: "{}" });
  const from = node.client.messages.items.length;
  await answer(node, asked.id, { ok: true, payloadJSON: JSON.stringify(snapshot) });
  expect(await get).toEqual(snapshot);
  const set = operator.call("exec.approvals.node.set", { nodeId, file: { version: 1 }, baseHash: "h" });
  const told = await received(node, from);
  expect(told.payload).toMatchObject({ command: "system.execApprovals.set" });
  expect(JSON.parse(textAt(told.payload, "paramsJSON"))).toEqual({ file: { version: 1 }, baseHash: "h" });
  await answer(node, told.id, { ok: true, payload: snapshot });
  expect(await set).toEqual(snapshot);
});

test("node.event and skills.bins are answered", async () => {
  await using world = await startGateway();
  const { client } = await world.node();
  expect(await client.call("node.event", { event: "exec.finished", payloadJSON: "{}" })).toEqual({
    ok: true,
    event: "exec.finished",
    handled: false,
  });
  expect(await client.call("skills.bins", {})).toEqual({ bins: [] });
});
