/** What a gateway does with input that no honest client sends: it answers, or ends the connection, and stays as small as it was. */
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { connectParams, makeDevice, RawClient, textAt, UpgradeRefused } from "../support/raw-client.ts";
import { sharedToken, startGateway } from "../support/world.ts";

const auth = { token: sharedToken };
const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

test.each<[string, string | Buffer, { readonly code: number; readonly reason: RegExp }]>([
  ["text that is not JSON", "hello", { code: 1000, reason: /^$/u }],
  ["a truncated frame", '{"type":"req","id":"1","method":"connect","params":{', { code: 1000, reason: /^$/u }],
  ["an empty message", "", { code: 1000, reason: /^$/u }],
  ["a binary message", Buffer.from([1, 2, 3]), { code: 1000, reason: /^$/u }],
  ["a JSON value that is no object", "[1]", { code: 1008, reason: /^invalid frame: a frame is a JSON object/u }],
  ["a frame without a type", '{"id":"1"}', { code: 1008, reason: /^invalid frame: type must be/u }],
  [
    "a frame with an unknown field",
    '{"type":"req","id":"1","method":"connect","x":1}',
    { code: 1008, reason: /unknown field "x"/u },
  ],
  [
    "a number as id",
    '{"type":"req","id":1,"method":"connect"}',
    { code: 1008, reason: /id must be a non-empty string/u },
  ],
  [
    "another method first",
    '{"type":"req","id":"1","method":"health"}',
    { code: 1008, reason: /first request must be connect/u },
  ],
  ["an event first", '{"type":"event","event":"tick"}', { code: 1008, reason: /first request must be connect/u }],
  ["a response first", '{"type":"res","id":"1","ok":true}', { code: 1008, reason: /first request must be connect/u }],
  [
    "a connect without params",
    '{"type":"req","id":"1","method":"connect"}',
    { code: 1008, reason: /^invalid connect params/u },
  ],
  ["30,000 open brackets", nested(30_000), { code: 1008, reason: /nested deeper/u }],
  ["more than 64 KiB", `"${"x".repeat(65 * 1024)}"`, { code: 1009, reason: /^$/u }],
])("before hello, %s ends the connection", async (_name, message, { code, reason }) => {
  await using world = await startGateway();
  const client = await world.open();
  await client.challenge();
  client.socket.send(message);
  const closed = await client.closed;
  expect(closed.code).toBe(code);
  expect(closed.reason).toMatch(reason);
  await expectHealthy(world.httpUrl);
});

test("what is sent behind a message that ended the connection is not heard", async () => {
  await using world = await startGateway();
  const client = await world.open();
  const { nonce, ts } = await client.challenge();
  const params = connectParams({ role: "operator", clientId: "cli", mode: "cli", auth }, nonce, ts);
  client.sendText("not JSON");
  client.sendText(JSON.stringify({ type: "req", id: "1", method: "connect", params }));
  expect(await client.closed).toMatchObject({ code: 1000 });
  expect(client.messages.items).toHaveLength(1);
  expect(world.decisions.items).toMatchObject([{ outcome: "refused", reason: "the first message is not JSON" }]);
});

test("the fragments of one message before hello count together", async () => {
  await using world = await startGateway();
  const client = await world.open();
  for (let sent = 0; sent < 70; sent++) client.socket.send("x".repeat(1024), { fin: false });
  expect((await client.closed).code).toBe(1009);
});

test("a flood before hello is thrown away and not collected", async () => {
  await using world = await startGateway();
  // Half open, so that the gateway's goodbye does not stop us.
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port, allowHalfOpen: true });
  socket.on("error", () => {}); // the gateway may hang up while we still write
  socket.write(upgradeRequest(world.gateway.port));
  await once(socket, "data");
  const before = await keptBytes();
  const floodBytes = 24 * 1024 * 1024;
  socket.write(frameHeader(floodBytes + 1)); // one byte will be missing: the message never ends
  const chunk = Buffer.alloc(256 * 1024, 0x78);
  for (let sent = 0; sent < floodBytes && socket.writable; sent += chunk.length) {
    if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), once(socket, "close")]);
  }
  const kept = (await keptBytes()) - before;
  socket.destroy();
  expect(kept).toBeLessThan(4 * 1024 * 1024);
  await expectHealthy(world.httpUrl);
});

test("fifteen frames behind connect are answered after hello-ok, in order", async () => {
  await using world = await startGateway();
  const client = await sendEarly(await world.open(), 15);
  const last = await client.response("early-15");
  expect(last.ok).toBe(true);
  const order = client.messages.items.filter(({ type }) => type === "res").map(({ id }) => id);
  expect(order).toEqual(["connect", ...Array.from({ length: 15 }, (_, index) => `early-${index + 1}`)]);
});

test("sixteen frames behind connect end the connection", async () => {
  await using world = await startGateway();
  const client = await sendEarly(await world.open(), 16);
  expect((await client.closed).code).toBe(1008);
  expect(client.messages.items.some(({ type }) => type === "res")).toBe(false);
});

async function sendEarly(client: RawClient, count: number): Promise<RawClient> {
  const { nonce, ts } = await client.challenge();
  const params = connectParams({ role: "operator", clientId: "cli", mode: "cli", auth }, nonce, ts);
  const frames = Array.from({ length: count }, (_, index) => ({
    type: "req",
    id: `early-${index + 1}`,
    method: "health",
  }));
  // One write, so that all of it is there before the gateway has decided.
  const raw = Reflect.get(client.socket, "_socket") as { cork(): void; uncork(): void };
  raw.cork();
  client.sendText(JSON.stringify({ type: "req", id: "connect", method: "connect", params }));
  for (const frame of frames) client.sendText(JSON.stringify(frame));
  raw.uncork();
  return client;
}

test("a client that says nothing is shown out at the handshake's deadline", async () => {
  await using world = await startGateway({ limits: { handshakeDeadlineMs: 50 } });
  const client = await world.open();
  expect(await client.closed).toEqual({ code: 1000, reason: "" });
});

test("a session outlives the handshake's deadline", async () => {
  await using world = await startGateway({ limits: { handshakeDeadlineMs: 200, tickIntervalMs: 100 } });
  const operator = await world.operator();
  for (let ticks = 0, from = 0; ticks < 4; ticks++) {
    await operator.event("tick", from);
    from = operator.messages.items.length;
  }
  expect(await operator.call("health")).toMatchObject({ ok: true });
});

test("more than 32 sockets of one address that have not said who they are: HTTP 503", async () => {
  await using world = await startGateway();
  const silent = await Promise.all(Array.from({ length: 32 }, () => world.open()));
  const refused: unknown = await world.open().catch((error: unknown) => error);
  if (!(refused instanceof UpgradeRefused)) throw new Error("the upgrade was not refused");
  expect(refused).toMatchObject({ status: 503, body: "Too many unauthenticated sockets" });
  expect(refused.headers).toMatchObject({ connection: "close" });
  await silent[0]?.[Symbol.asyncDispose]();
  const [, second] = silent;
  expect((await second?.connect({ role: "operator", clientId: "cli", mode: "cli", auth }))?.ok).toBe(true);
  await world.operator(); // two places are free again: one closed, one known
});

test.each<[string, string, { readonly id: string; readonly message: RegExp }]>([
  [
    "an unknown method",
    '{"type":"req","id":"a","method":"make.tea"}',
    { id: "a", message: /^unknown method: make\.tea$/u },
  ],
  ["a method of Object", '{"type":"req","id":"a","method":"constructor"}', { id: "a", message: /^unknown method/u }],
  [
    "bad params",
    '{"type":"req","id":"a","method":"device.pair.approve","params":{}}',
    { id: "a", message: /^invalid device\.pair\.approve params: requestId/u },
  ],
  [
    "params that are no object",
    '{"type":"req","id":"a","method":"node.describe","params":7}',
    { id: "a", message: /^invalid node\.describe params/u },
  ],
  [
    "a second connect",
    '{"type":"req","id":"a","method":"connect","params":{}}',
    { id: "a", message: /connect is only the first request/u },
  ],
  [
    "a method of nodes",
    '{"type":"req","id":"a","method":"node.event","params":{"event":"x"}}',
    { id: "a", message: /^unauthorized role: operator$/u },
  ],
  ["an event", '{"type":"event","event":"tick"}', { id: "invalid", message: /only requests come from clients/u }],
  ["a frame of an unknown type", '{"type":"poem","id":"a"}', { id: "a", message: /^invalid frame/u }],
  [
    "a frame with an unknown field",
    '{"type":"req","id":"a","method":"health","x":1}',
    { id: "a", message: /unknown field "x"/u },
  ],
  ["a request without an id", '{"type":"req","method":"health"}', { id: "invalid", message: /id must be/u }],
  ["200,000 open brackets", nested(200_000), { id: "invalid", message: /nested deeper/u }],
])("after hello, %s is answered with an error and the session stays", async (_name, text, { id, message }) => {
  await using world = await startGateway();
  const operator = await world.operator();
  operator.sendText(text);
  const response = await operator.response(id);
  expect(response).toMatchObject({
    ok: false,
    error: { code: "INVALID_REQUEST", message: expect.stringMatching(message) },
  });
  expect(await operator.call("health")).toMatchObject({ ok: true });
});

test.each([
  ["text that is not JSON", "hello"],
  ["an empty message", ""],
  ["a binary message", Buffer.from([0, 255])],
])("after hello, %s is ignored", async (_name, message) => {
  await using world = await startGateway();
  const operator = await world.operator();
  const before = operator.messages.items.length;
  operator.socket.send(message);
  expect(await operator.call("health")).toMatchObject({ ok: true });
  expect(operator.messages.items.slice(before).filter(({ type }) => type === "res")).toHaveLength(1);
});

test("after hello, a message of more than 25 MiB ends the session", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  operator.sendText("x".repeat(25 * 1024 * 1024 + 1));
  expect((await operator.closed).code).toBe(1009);
  await expectHealthy(world.httpUrl);
});

test("after hello, a message of just under 25 MiB is heard", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const frame = (fill: string) => `{"type":"req","id":"big","method":"health","params":{"x":"${fill}"}}`;
  operator.sendText(frame("x".repeat(25 * 1024 * 1024 - frame("").length)));
  expect((await operator.response("big")).ok).toBe(true);
});

test("the eleventh call of the wrong role ends the session", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  for (let call = 1; call <= 10; call++) await operator.refused("skills.bins", {});
  expect(await operator.call("health")).toMatchObject({ ok: true });
  operator.sendText('{"type":"req","id":"11","method":"skills.bins"}');
  expect(await operator.closed).toEqual({ code: 1008, reason: "repeated unauthorized calls" });
});

test("a node cannot answer for another node", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const honest = await world.node();
  const other = await world.node();
  const outcome = operator.request("node.invoke", {
    nodeId: honest.device.id,
    command: "system.which",
    idempotencyKey: "k",
  });
  const id = textAt((await honest.client.event("node.invoke.request")).payload, "id");
  const forged = { id, ok: true, payloadJSON: '"forged"' };
  expect(await other.client.refused("node.invoke.result", { ...forged, nodeId: honest.device.id })).toMatchObject({
    message: "nodeId mismatch",
  });
  expect(await other.client.call("node.invoke.result", { ...forged, nodeId: other.device.id })).toEqual({
    ok: true,
    ignored: true,
  });
  await honest.client.call("node.invoke.result", { id, nodeId: honest.device.id, ok: true, payloadJSON: '"honest"' });
  expect((await outcome).payload).toMatchObject({ payload: "honest" });
});

test("a session that lost its rights is not heard while it is being closed", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const admin = makeDevice();
  const asked = {
    device: admin,
    role: "operator",
    clientId: "openclaw-tui",
    mode: "ui",
    scopes: ["operator.admin", "operator.pairing"],
    auth,
  };
  await world.pair(asked);
  const thief = await world.admitted(asked);
  const { device } = await world.node();
  // A peer that never answers the close frame: it goes on sending instead.
  Reflect.get(thief.socket, "_receiver").removeAllListeners("conclude");
  await operator.call("device.pair.remove", { deviceId: admin.id });
  thief.sendText(
    JSON.stringify({ type: "req", id: "x", method: "device.pair.remove", params: { deviceId: device.id } }),
  );
  await thief.closed; // the gateway dropped it; by then it has read whatever was sent
  expect(world.gateway.devices().map(({ deviceId }) => deviceId)).toEqual([device.id]);
});

test("a consumer too slow for its answers is dropped, although it never reads that it was closed", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { client: node, device } = await world.node();
  const payloadJSON = JSON.stringify("x".repeat(8 * 1024 * 1024));
  operator.socket.pause();
  const calls = Array.from({ length: 8 }, (_, index) => index);
  for (const index of calls) {
    const params = { nodeId: device.id, command: "system.which", idempotencyKey: String(index) };
    operator.sendText(JSON.stringify({ type: "req", id: `slow-${index}`, method: "node.invoke", params }));
  }
  for (const index of calls) {
    const fits = (payload: unknown) => textAt(payload, "idempotencyKey") === String(index);
    const id = textAt((await node.event("node.invoke.request", 0, fits)).payload, "id");
    await node.call("node.invoke.result", { id, nodeId: device.id, ok: true, payloadJSON });
  }
  const connId = textAt(operator.messages.items[1]?.payload, "server", "connId");
  await world.runtime.lines.find(({ message, fields }) => message === "disconnected" && fields["conn"] === connId);
  expect(await (await world.operator()).call("status")).toMatchObject({ sessions: { count: 2 } });
});

/** Bytes in buffers that somebody still holds: what several collections leave, since part of each goes on in the background. */
async function keptBytes(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  let kept = Infinity;
  for (let rounds = 0; rounds < 10; rounds++) {
    collect();
    await nextTurn();
    kept = Math.min(kept, process.memoryUsage().arrayBuffers);
  }
  return kept;
}

async function expectHealthy(httpUrl: string): Promise<void> {
  const response = await fetch(`${httpUrl}/health`);
  expect(await response.json()).toEqual({ ok: true, status: "live" });
}

function upgradeRequest(port: number): string {
  const headers = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
  ];
  return ["GET / HTTP/1.1", `Host: 127.0.0.1:${port}`, ...headers, "", ""].join("\r\n");
}

/** The header of a masked text frame with a 64-bit length and a mask of zeros (RFC 6455 § 5.2). */
function frameHeader(length: number): Buffer {
  const header = Buffer.alloc(14);
  header[0] = 0x81;
  header[1] = 0x80 | 127;
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}
