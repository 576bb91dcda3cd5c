/** Rotations with an overlap: who is told, what still opens sessions, when the old token ends, and with it what hangs on it. */
import { expect, test } from "vitest";
import { hashSecret } from "../../src/secret.ts";
import { at, listAt, makeDevice, type RawClient, textAt } from "../support/raw-client.ts";
import { type RawNode, startGateway, temporaryStore, type World } from "../support/world.ts";

const overlapMs = 60_000;
const commands = ["system.which"];

/** A node that came with its device token and takes new ones in. */
async function tokenNode(world: World, takesTokens = true): Promise<RawNode> {
  const { client: first, device, deviceToken } = await world.node();
  first.socket.terminate();
  await first.closed;
  const client = await world.admitted({ device, commands, auth: { deviceToken } });
  if (takesTokens) await client.call("device.token.watch", {});
  return { client, device, deviceToken };
}

const rotate = (operator: RawClient, deviceId: string, more: object = { overlapMs }) =>
  operator.call("device.token.rotate", { deviceId, role: "node", ...more });

const pushedTo = async (client: RawClient, from = 0) =>
  textAt((await client.event("device.token.rotated", from)).payload, "token");

const deliver = (client: RawClient, token: string) =>
  client.call("device.token.delivered", { tokenHash: hashSecret(token) });

/** A connection that only shows a token, as a device proves it. */
const probe = ({ device }: RawNode, deviceToken: string) => ({ device, mode: "probe", auth: { deviceToken } });

const progress = async (operator: RawClient) => listAt(await operator.call("device.token.progress", {}), "rotations");

test("the new token is pushed to the device alone, delivered, used; then the old one is void and the session goes on", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world);
  const other = await tokenNode(world);
  const { client, device, deviceToken: old } = node;
  expect(await rotate(operator, device.id)).toMatchObject({
    deviceId: device.id,
    pushed: true,
    state: "pending",
    overlapUntilMs: expect.any(Number),
  });
  const token = await pushedTo(client);
  expect(token).not.toBe(old);
  expect(await progress(operator)).toMatchObject([
    { deviceId: device.id, role: "node", state: "pending", oldIsValid: true },
  ]);
  await (await world.admitted(probe(node, old)))[Symbol.asyncDispose](); // the old one still opens sessions
  expect(await deliver(client, token)).toEqual({ ok: true });
  expect(await progress(operator)).toMatchObject([{ state: "delivered", oldIsValid: true }]);
  await world.admitted(probe(node, token));
  expect(await progress(operator)).toMatchObject([{ state: "confirmed", oldIsValid: false }]);
  const { response } = await world.connect(probe(node, old));
  expect(response.error).toMatchObject({ details: { code: "AUTH_DEVICE_TOKEN_MISMATCH" } });
  // The session in which all of this was said serves on.
  const invoke = operator.call("node.invoke", { nodeId: device.id, command: "system.which", idempotencyKey: "k" });
  const request = await client.event("node.invoke.request");
  await client.call("node.invoke.result", { id: textAt(request.payload, "id"), nodeId: device.id, ok: true });
  expect(await invoke).toMatchObject({ ok: true });
  for (const ear of [operator, other.client]) {
    expect(ear.messages.items.filter(({ event }) => event === "device.token.rotated")).toEqual([]);
    expect(JSON.stringify(ear.messages.items)).not.toContain(token);
  }
});

test("without the params of ours a rotation is what it was: no overlap, sessions closed with 4001, nothing pushed", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world);
  const result = await rotate(operator, node.device.id, {});
  expect(Object.keys(result as object).toSorted()).toEqual([
    "deviceId",
    "role",
    "rotatedAtMs",
    "scopes",
    "tokenDelivery",
  ]);
  expect(await node.client.closed).toEqual({ code: 4001, reason: "device removed" });
  expect(node.client.messages.items.some(({ event }) => event === "device.token.rotated")).toBe(false);
  expect(await progress(operator)).toEqual([]);
});

test("a device that comes back with the old token within the window is told the new one in hello-ok", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world);
  node.client.socket.terminate();
  await node.client.closed;
  expect(await rotate(operator, node.device.id)).toMatchObject({ tokenDelivery: "withheld-cross-device" });
  const { client, response } = await world.connect({
    device: node.device,
    commands,
    auth: { deviceToken: node.deviceToken },
  });
  const token = textAt(response.payload, "auth", "deviceToken");
  expect(token).not.toBe(node.deviceToken);
  await client.call("device.token.watch", {}); // and pushed as well, for it has not been said to be written down
  expect(await pushedTo(client)).toBe(token);
  await world.admitted(probe(node, token));
  expect(await progress(operator)).toMatchObject([{ state: "confirmed" }]);
  expect((await client.closed).code).toBe(4001); // it never moved to the new token
});

test("when the window ends the old token is void, and what hangs on it ends with 4001; a session of the shared token stays", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world, false);
  const shared = await world.node();
  for (const { device } of [node, shared]) await rotate(operator, device.id);
  world.runtime.advance(overlapMs);
  expect(await node.client.closed).toEqual({ code: 4001, reason: "device token replaced" });
  const { response } = await world.connect(probe(node, node.deviceToken));
  expect(response.error).toMatchObject({ details: { code: "AUTH_DEVICE_TOKEN_MISMATCH" } });
  expect(await progress(operator)).toMatchObject([{ oldIsValid: false }, { oldIsValid: false }]);
  expect(await operator.call("node.list", {})).toMatchObject({
    nodes: [{ nodeId: shared.device.id, connected: true }, {}],
  });
});

test("of a critical device the old token stays valid until the new one was used", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world);
  await rotate(operator, node.device.id, { overlapMs, critical: true });
  world.runtime.advance(overlapMs * 100);
  const { response } = await world.connect(probe(node, node.deviceToken));
  const token = textAt(response.payload, "auth", "deviceToken");
  expect(await progress(operator)).toMatchObject([{ state: "pending", oldIsValid: true }]);
  await world.admitted(probe(node, token));
  expect((await node.client.closed).code).toBe(4001);
  expect(await progress(operator)).toMatchObject([{ state: "confirmed", oldIsValid: false }]);
});

test("rotated again before it moved, every generation leads to the last one, and the last one ends them all", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world);
  await rotate(operator, node.device.id);
  const second = await pushedTo(node.client);
  const from = node.client.messages.items.length;
  await rotate(operator, node.device.id);
  const third = await pushedTo(node.client, from);
  expect(await deliver(node.client, second)).toEqual({ ok: true, ignored: true });
  for (const token of [node.deviceToken, second]) {
    const { response } = await world.connect(probe(node, token));
    expect(textAt(response.payload, "auth", "deviceToken")).toBe(third);
  }
  // Who came with the second needs the first no more.
  expect((await world.connect(probe(node, node.deviceToken))).response.ok).toBe(false);
  await deliver(node.client, third);
  await world.admitted(probe(node, third));
  expect((await world.connect(probe(node, second))).response.ok).toBe(false);
  expect(await operator.call("node.list", {})).toMatchObject({ nodes: [{ connected: true }] });
});

test("revoking ends both generations at once", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world);
  await rotate(operator, node.device.id);
  const token = await pushedTo(node.client);
  await operator.call("device.token.revoke", { deviceId: node.device.id, role: "node" });
  expect((await node.client.closed).code).toBe(4001);
  for (const shown of [token, node.deviceToken]) {
    const { response } = await world.connect(probe(node, shown));
    expect(response).toMatchObject({
      ok: false,
      error: { details: { code: expect.stringMatching(/MISMATCH|PAIRING/u) } },
    });
  }
  expect(await progress(operator)).toEqual([]);
});

test("with an overlap of nothing the old token is void at once; a session that writes the new one down in time goes on", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world);
  const deaf = await tokenNode(world, false);
  for (const { device } of [node, deaf]) await rotate(operator, device.id, { overlapMs: 0 });
  expect((await deaf.client.closed).code).toBe(4001);
  const token = await pushedTo(node.client);
  const { response } = await world.connect(probe(node, node.deviceToken));
  expect(response.ok).toBe(false);
  await deliver(node.client, token);
  await world.admitted(probe(node, token));
  expect(await progress(operator)).toContainEqual(
    expect.objectContaining({ deviceId: node.device.id, state: "confirmed" }),
  );
  expect(await operator.call("node.list", {})).toMatchObject({
    nodes: expect.arrayContaining([expect.objectContaining({ connected: true })]),
  });
});

test("a restarted gateway knows both generations, and how far the device has come", async () => {
  using store = temporaryStore();
  const first = await startGateway({ store: store.path });
  const node = await tokenNode(first);
  await rotate(await first.operator(), node.device.id);
  const token = await pushedTo(node.client);
  await deliver(node.client, token);
  await first[Symbol.asyncDispose]();
  await using second = await startGateway({ store: store.path });
  const operator = await second.operator();
  expect(await progress(operator)).toMatchObject([{ state: "delivered", oldIsValid: true }]);
  await second.admitted(probe(node, node.deviceToken));
  await second.admitted(probe(node, token));
  expect(await progress(operator)).toMatchObject([{ state: "confirmed", oldIsValid: false }]);
});

test("what another gateway on the same store rotates is pushed here, and no session is lost for it", async () => {
  using store = temporaryStore();
  await using here = await startGateway({ store: store.path });
  await using there = await startGateway({ store: store.path });
  const node = await tokenNode(here);
  there.runtime.advance(1000); // so that the rotation is later than the connect in every clock
  await rotate(await there.operator(), node.device.id);
  const token = await pushedTo(node.client);
  await deliver(node.client, token);
  await there.admitted(probe(node, token));
  expect(await progress(await here.operator())).toMatchObject([{ state: "confirmed" }]);
  expect(node.client.socket.readyState).toBe(node.client.socket.OPEN);
});

test("a gateway whose token key is another one gives what it can derive, and the old token lives on beside it", async () => {
  using store = temporaryStore();
  const first = await startGateway({ store: store.path });
  const node = await tokenNode(first);
  await rotate(await first.operator(), node.device.id);
  await first[Symbol.asyncDispose]();
  await using second = await startGateway({ store: store.path, tokenKey: Buffer.alloc(32, 9) });
  const { response } = await second.connect(probe(node, node.deviceToken));
  const token = textAt(response.payload, "auth", "deviceToken");
  expect((await second.connect(probe(node, node.deviceToken))).response.ok).toBe(true);
  expect((await second.connect(probe(node, token))).response.ok).toBe(true);
  expect((await second.connect(probe(node, node.deviceToken))).response.ok).toBe(false);
});

test("a node that takes no pushes is told to connect again in a calm moment, and learns of its new token then", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await tokenNode(world, false);
  const { client, device, deviceToken } = node;
  const invoke = operator.call("node.invoke", { nodeId: device.id, command: "system.which", idempotencyKey: "k" });
  const request = await client.event("node.invoke.request");
  const idle = await tokenNode(world, false);
  for (const id of [device.id, idle.device.id]) await rotate(operator, id);
  world.runtime.advance(overlapMs / 2);
  expect(await idle.client.closed).toEqual({ code: 1012, reason: "service restart" });
  // Who is asked something was looked at too, and left alone.
  await client.call("node.invoke.result", { id: textAt(request.payload, "id"), nodeId: device.id, ok: true });
  expect(await invoke).toMatchObject({ ok: true });
  expect(await client.closed).toEqual({ code: 1012, reason: "service restart" });
  const back = await world.connect({ device, commands, auth: { deviceToken } });
  const token = textAt(back.response.payload, "auth", "deviceToken");
  expect(token).not.toBe(deviceToken);
  await world.admitted({ device, commands, auth: { deviceToken: token } });
  const moved = expect.objectContaining({ deviceId: device.id, state: "confirmed" });
  expect(await progress(operator)).toContainEqual(moved);
});

test("a critical node that takes no pushes is asked once more, to show that it has its new token", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { client, device, deviceToken } = await tokenNode(world, false);
  await rotate(operator, device.id, { overlapMs, critical: true });
  world.runtime.advance(overlapMs);
  expect((await client.closed).code).toBe(1012);
  const told = await world.connect({ device, commands, auth: { deviceToken } });
  world.runtime.advance(overlapMs);
  expect((await told.client.closed).code).toBe(1012);
  await world.admitted({
    device,
    commands,
    auth: { deviceToken: textAt(told.response.payload, "auth", "deviceToken") },
  });
  expect(await progress(operator)).toMatchObject([{ state: "confirmed", oldIsValid: false }]);
});

test("a probe takes no node's place", async () => {
  await using world = await startGateway();
  const node = await tokenNode(world);
  await (await world.admitted(probe(node, node.deviceToken)))[Symbol.asyncDispose]();
  expect(await (await world.operator()).call("node.list", {})).toMatchObject({
    nodes: [{ connected: true, commands }],
  });
  expect(world.gateway.pending().surfaces).toEqual([]);
});

test("who may see its own device only sees its own rotation", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  const scopes = ["operator.pairing"];
  const own = { device, role: "operator", clientId: "openclaw-tui", mode: "ui", scopes };
  const deviceToken = await world.pair(own);
  const session = await world.admitted({ ...own, auth: { deviceToken } });
  await rotate(operator, (await tokenNode(world)).device.id);
  const rotated = await session.call("device.token.rotate", { deviceId: device.id, role: "operator", overlapMs });
  expect(rotated).toMatchObject({ tokenDelivery: "in-band", token: expect.any(String), state: "pending" });
  expect((await progress(session)).map((one) => at(one, "deviceId"))).toEqual([device.id]);
  expect(await progress(operator)).toHaveLength(2);
  await deliver(session, textAt(rotated, "token"));
  const again = await world.admitted({ ...own, auth: { deviceToken: textAt(rotated, "token") } });
  expect(await progress(session)).toMatchObject([{ state: "confirmed" }]);
  await again[Symbol.asyncDispose]();
});
