/** Signs of life: ticks, presence, pings, and the end of a peer that gives none. */
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { expect, test } from "vitest";
import { at, connectParams, listAt, type Message, RawClient } from "../support/raw-client.ts";
import { sharedToken, startGateway } from "../support/world.ts";

test("operators and nodes hear the tick, with numbers that show a lost event", async () => {
  await using world = await startGateway({ limits: { tickIntervalMs: 20 } });
  const operator = await world.operator([]);
  const { client: node } = await world.node();
  for (const session of [operator, node]) {
    const first = await session.event("tick");
    const second = await session.event("tick", session.messages.items.indexOf(first) + 1);
    expect(first.payload).toEqual({ ts: expect.any(Number) });
    expect(Number(at(second.payload, "ts"))).toBeGreaterThan(Number(at(first.payload, "ts")));
    const numbers = session.messages.items.filter(({ type }) => type === "event").flatMap(({ seq }) => seq ?? []);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  }
});

test("hello-ok states the tick's interval", async () => {
  await using world = await startGateway({ limits: { tickIntervalMs: 1234 } });
  const operator = await world.operator();
  expect(operator.messages.items[1]?.payload).toMatchObject({ policy: { tickIntervalMs: 1234 } });
});

test("who may read hears who came and who went; others do not", async () => {
  await using world = await startGateway();
  const reader = await world.operator(["operator.read"]);
  const stranger = await world.operator([]);
  const { client, device } = await world.node({ displayName: "kitchen" });
  const isHere = (payload: unknown) => listAt(payload, "presence").some((entry) => at(entry, "deviceId") === device.id);
  const came = await reader.event("presence", 0, isHere);
  expect(listAt(came.payload, "presence")).toMatchObject([
    { mode: "gateway" },
    { deviceId: device.id, host: "kitchen", roles: ["node"], mode: "node" },
  ]);
  expect(at(came, "stateVersion", "presence")).toBeGreaterThan(0);
  const from = reader.messages.items.indexOf(came) + 1;
  client.socket.close();
  await reader.event("presence", from, (payload) => !isHere(payload));
  expect(await reader.call("system-presence")).toMatchObject([{ mode: "gateway" }]);
  expect(stranger.messages.items.some(({ event }) => event === "presence")).toBe(false);
  expect(client.messages.items.some(({ event }) => event === "presence")).toBe(false);
});

test("a peer that answers pings stays", async () => {
  await using world = await startGateway({ limits: { pingIntervalMs: 30, tickIntervalMs: 1_000_000 } });
  const operator = await world.operator();
  for (let pings = 0; pings < 4; pings++) await once(operator.socket, "ping");
  expect(await operator.call("health")).toMatchObject({ ok: true });
});

test("a peer that stopped answering is dropped, and its node counts as gone", async () => {
  await using world = await startGateway({ limits: { pingIntervalMs: 30 } });
  const operator = await world.operator();
  const { client, device } = await world.node();
  Reflect.get(client.socket, "_receiver").removeAllListeners("ping"); // hears, and answers nothing
  await client.closed;
  expect(await operator.call("node.describe", { nodeId: device.id })).toMatchObject({ connected: false });
});

test("a raw TCP peer that goes silent after hello is dropped", async () => {
  await using world = await startGateway({ limits: { pingIntervalMs: 30 } });
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  const peer = silentPeer(await handUpgrade(socket, world.gateway.port));
  const { nonce, ts } = challengeIn(await peer.next());
  const params = connectParams(
    { role: "operator", clientId: "cli", mode: "cli", auth: { token: sharedToken } },
    nonce,
    ts,
  );
  peer.send(JSON.stringify({ type: "req", id: "c", method: "connect", params }));
  expect(await peer.next()).toMatchObject({ type: "res", ok: true });
  await once(socket, "close");
  expect(await (await world.operator()).call("status")).toMatchObject({ sessions: { count: 1 } });
});

test("a peer that only sends requests and never pongs is alive", async () => {
  await using world = await startGateway({ limits: { pingIntervalMs: 40 } });
  const operator = await world.operator();
  Reflect.get(operator.socket, "_receiver").removeAllListeners("ping");
  let pings = 0;
  Reflect.get(operator.socket, "_receiver").on("ping", () => pings++);
  while (pings < 4) expect(await operator.call("health")).toMatchObject({ ok: true });
});

function challengeIn({ payload }: Message): { readonly nonce: string; readonly ts: number } {
  return { nonce: String(at(payload, "nonce")), ts: Number(at(payload, "ts")) };
}

/** Upgrades by hand, so that no library answers a ping. */
async function handUpgrade(
  socket: ReturnType<typeof connectTcp>,
  port: number,
): Promise<ReturnType<typeof connectTcp>> {
  const headers = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
  ];
  socket.write(["GET / HTTP/1.1", `Host: 127.0.0.1:${port}`, ...headers, "", ""].join("\r\n"));
  await once(socket, "connect");
  return socket;
}

/** Reads unmasked text frames and writes masked ones (RFC 6455 § 5.2); pings are seen and not answered. */
function silentPeer(socket: ReturnType<typeof connectTcp>) {
  let bytes = Buffer.alloc(0);
  let isUpgraded = false;
  const take = (): Message | undefined => {
    if (!isUpgraded) {
      const end = bytes.indexOf("\r\n\r\n");
      if (end === -1) return undefined;
      bytes = bytes.subarray(end + 4);
      isUpgraded = true;
    }
    const short = (bytes[1] ?? 0) & 0x7f;
    const [start, length] = short === 126 ? [4, bytes.length < 4 ? Infinity : bytes.readUInt16BE(2)] : [2, short];
    if (bytes.length < start + length || bytes.length < 2) return undefined;
    const isText = ((bytes[0] ?? 0) & 0x0f) === 1;
    const body = bytes.subarray(start, start + length).toString();
    bytes = bytes.subarray(start + length);
    return isText ? (JSON.parse(body) as Message) : take();
  };
  return {
    async next(): Promise<Message> {
      for (;;) {
        const message = take();
        if (message !== undefined) return message;
        const [chunk] = (await once(socket, "data")) as [Buffer];
        bytes = Buffer.concat([bytes, chunk]);
      }
    },
    send(text: string): void {
      const body = Buffer.from(text);
      const header = Buffer.from([0x81, 0x80 | 126, body.length >> 8, body.length & 0xff, 0, 0, 0, 0]);
      socket.write(Buffer.concat([header, body]));
    },
  };
}

test("a client that closes is answered with a close", async () => {
  await using world = await startGateway();
  const client = await RawClient.open(world.url);
  client.socket.close(1000, "bye");
  expect(await client.closed).toEqual({ code: 1000, reason: "bye" });
});
