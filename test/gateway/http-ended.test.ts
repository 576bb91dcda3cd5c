/** Requests behind the gateway's authentication end with what let them in, and so does what they made a service do. */
import { expect, test } from "vitest";
import type { GatewayRules } from "../../src/gateway/options.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { makeDevice, type RawDevice } from "../support/raw-client.ts";
import { event, startUpstream, type Upstream } from "../support/upstream.ts";
import { sharedToken, startGateway, temporaryStore, type World } from "../support/world.ts";

const auth = { token: sharedToken, loopback: false };
const scopes = ["operator.write", "operator.pairing"];

async function gatewayTo(upstream: Upstream, more: { readonly store?: string } = {}): Promise<World> {
  return startGateway({ ...more, auth, http: { routes: [{ path: "/v1/", upstream: upstream.url }] } });
}

/** A device that may ask, and its token. */
async function pairedDevice(world: World): Promise<{ readonly device: RawDevice; readonly token: string }> {
  const device = makeDevice();
  const token = await world.pair({ device, role: "operator", clientId: "openclaw-tui", mode: "ui", scopes });
  return { device, token };
}

/** A stream that has begun: how it goes on for the client, and the service's end of it. */
async function openStream(world: World, upstream: Upstream, token: string) {
  const asking = fetch(`${world.httpUrl}/v1/events`, { headers: { Authorization: `Bearer ${token}` } });
  const exchange = await upstream.exchange(upstream.exchanges.items.length);
  exchange.response.writeHead(200, { "Content-Type": "text/event-stream" }).write(event({ number: 1 }));
  const reader = (await asking).body?.getReader();
  expect(String(Buffer.from((await reader?.read())?.value ?? []))).toBe(event({ number: 1 }));
  return { exchange, next: () => reader?.read() };
}

test.each<[string, (deviceId: string) => readonly [method: string, params: unknown]]>([
  ["removed", (deviceId) => ["device.pair.remove", { deviceId }]],
  ["revoked", (deviceId) => ["device.token.revoke", { deviceId, role: "operator" }]],
  ["rotated", (deviceId) => ["device.token.rotate", { deviceId, role: "operator" }]],
  ["rotated at once", (deviceId) => ["device.token.rotate", { deviceId, role: "operator", overlapMs: 0 }]],
])("a stream of a device that is %s ends at both ends, and one of somebody else goes on", async (_name, callOf) => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const { device, token } = await pairedDevice(world);
  const theirs = await openStream(world, upstream, token);
  const others = await openStream(world, upstream, sharedToken);
  const operator = await world.operator();
  await operator.call(...callOf(device.id));
  await expect(theirs.next()).rejects.toThrow("terminated");
  await theirs.exchange.closed;
  others.exchange.response.write(event({ number: 2 }));
  expect(await others.next()).toMatchObject({ done: false });
  const line = world.runtime.lines.items.find(({ message }) => message === "request ended");
  expect(line?.fields).toMatchObject({ device: device.id, path: "/v1/events", why: "its device token has ended" });
});

test("a rotation with an overlap ends a stream of the old token when that one ends", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const { device, token } = await pairedDevice(world);
  const stream = await openStream(world, upstream, token);
  const operator = await world.operator();
  const overlapMs = 60_000;
  await operator.call("device.token.rotate", { deviceId: device.id, role: "operator", overlapMs });
  stream.exchange.response.write(event({ number: 2 }));
  expect(await stream.next()).toMatchObject({ done: false });
  world.runtime.advance(overlapMs);
  await expect(stream.next()).rejects.toThrow("terminated");
  await stream.exchange.closed;
});

test("a stream ends when the device is removed by somebody who has only the store", async () => {
  using file = temporaryStore();
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream, { store: file.path });
  const { device, token } = await pairedDevice(world);
  const stream = await openStream(world, upstream, token);
  await using store = await openSqliteStore(file.path, { runtime: world.runtime });
  await store.update((records) => records.delete("devices", device.id));
  await expect(stream.next()).rejects.toThrow("terminated");
  await stream.exchange.closed;
});

test.each<[string, GatewayRules, string]>([
  ["another token", { auth: { ...auth, token: "another-token-of-the-test" } }, "the token was changed"],
  [
    "another mode",
    { auth: { ...auth, mode: "password", password: "pass-word-of-the-test" } },
    "the mode is password now",
  ],
  ["no route", { http: { routes: [] } }, "nothing answers at its path now"],
])("new rules with %s end a stream that they would refuse, with the reason in the log", async (_name, rules, why) => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const stream = await openStream(world, upstream, sharedToken);
  world.gateway.setRules(rules);
  await expect(stream.next()).rejects.toThrow("terminated");
  await stream.exchange.closed;
  const line = world.runtime.lines.items.find(({ message }) => message === "request ended");
  expect(line).toMatchObject({ level: "info", fields: { by: "token", why } });
});

test("new rules that would let it in leave a stream alone", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const stream = await openStream(world, upstream, sharedToken);
  world.gateway.setRules({ auth, allowedOrigins: ["https://panel.example"] });
  stream.exchange.response.end(event({ number: 2 }));
  expect(await stream.next()).toMatchObject({ done: false });
  expect(await stream.next()).toMatchObject({ done: true });
});

test("a route that takes more than the sender holds now ends its stream", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const { token } = await pairedDevice(world);
  const stream = await openStream(world, upstream, token);
  world.gateway.setRules({ http: { routes: [{ path: "/v1/", upstream: upstream.url, scope: "operator.admin" }] } });
  await expect(stream.next()).rejects.toThrow("terminated");
  await stream.exchange.closed;
});

test("a request whose answer has not begun is told why it gets none", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const { device, token } = await pairedDevice(world);
  const asking = fetch(`${world.httpUrl}/v1/slow`, {
    method: "POST",
    body: "{}",
    headers: { "X-OpenClaw-Token": token },
  });
  const exchange = await upstream.exchange();
  const operator = await world.operator();
  await operator.call("device.pair.remove", { deviceId: device.id });
  const response = await asking;
  expect(response.status).toBe(401);
  expect(await response.json()).toMatchObject({ error: { code: "no_longer_allowed", type: "unauthorized" } });
  await exchange.closed;
});
