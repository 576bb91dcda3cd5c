/** Which credential is tried, in which order, and what is remembered of it. */
import { expect, test } from "vitest";
import { openSession, originOf, type SessionOptions } from "../../src/client/open-session.ts";
import { Secret } from "../../src/secret.ts";
import { readSetupCode } from "../../src/protocol/setup-code.ts";
import { answering, startRawServer } from "../fixtures/raw-server.ts";
import { makeIdentity, Memory } from "../support/node-host.ts";
import { at, listAt, textAt } from "../support/raw-client.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";

const right = { kind: "token", secret: new Secret(sharedToken) } as const;
const wrong = { kind: "token", secret: new Secret("wrong") } as const;
const client = { id: "node-host", mode: "node", version: "1", platform: "linux", deviceFamily: "Linux" };

/** An approved node with a remembered token, and the options to connect as it. */
async function approved(world: World) {
  const memory = new Memory();
  const identity = makeIdentity();
  const options: SessionOptions = {
    gateway: { url: world.url },
    client,
    role: "node",
    scopes: [],
    identity,
    memory,
    timeoutMs: 20_000,
  };
  await openSession({ ...options, explicit: right }).catch(() => {}); // it has to be approved first
  await world.gateway.approve(world.gateway.pending().devices[0]?.requestId ?? "");
  await (await openSession({ ...options, explicit: right })).close();
  const key = { gateway: originOf(world.url), deviceId: identity.deviceId, role: "node" };
  return { memory, options, key, deviceId: identity.deviceId };
}

const lastMethod = (world: World) =>
  world.decisions.items.findLast(({ outcome }) => outcome === "admitted")?.authenticatedBy;

test.each<[string, Partial<SessionOptions>, string]>([
  ["what the caller says outright comes first", { explicit: right }, "token"],
  ["a remembered token comes before a configured one", { configured: wrong }, "device-token"],
  ["a remembered token is enough", {}, "device-token"],
  ["behind a wrong explicit token the remembered one is tried on loopback", { explicit: wrong }, "device-token"],
])("%s", async (_name, more, method) => {
  await using world = await startGateway();
  const { options } = await approved(world);
  await (await openSession({ ...options, ...more })).close();
  expect(lastMethod(world)).toBe(method);
});

test("a void token is forgotten, the configured one gets its turn, and the new token is remembered", async () => {
  await using world = await startGateway();
  const { options, memory, key, deviceId } = await approved(world);
  const before = (await memory.recall(key))?.token.reveal();
  await (await world.operator()).call("device.token.rotate", { deviceId, role: "node" });
  await (await openSession({ ...options, configured: right })).close();
  expect(lastMethod(world)).toBe("token");
  const after = (await memory.recall(key))?.token.reveal();
  expect(after).not.toBe(before);
  await (await openSession(options)).close();
  expect(lastMethod(world)).toBe("device-token");
});

test("a void token with nothing behind it fails as device-token-mismatch and is forgotten", async () => {
  await using world = await startGateway();
  const { options, memory, deviceId } = await approved(world);
  await (await world.operator()).call("device.pair.remove", { deviceId });
  await expect(openSession(options)).rejects.toMatchObject({ code: "device-token-mismatch" });
  expect(memory.tokens.size).toBe(0);
});

test("a new token that does not work costs nothing: the one before it steps in, and is kept", async () => {
  await using world = await startGateway();
  const { options, memory, key } = await approved(world);
  const good = (await memory.recall(key))?.token;
  const unproven = { token: new Secret("never-issued"), scopes: [], updatedAtMs: 1, previous: good };
  await memory.remember(key, unproven);
  await (await openSession(options)).close();
  expect(lastMethod(world)).toBe("device-token");
  expect((await memory.recall(key))?.token.reveal()).toBe(good?.reveal());
  expect(await memory.recall(key)).not.toHaveProperty("previous");
});

test("a new token that works is proven by that: the one before it goes", async () => {
  await using world = await startGateway();
  const { options, memory, key } = await approved(world);
  const known = await memory.recall(key);
  if (known === undefined) throw new Error("there is a token");
  await memory.remember(key, { ...known, previous: new Secret("the-one-before") });
  await (await openSession(options)).close();
  const after = await memory.recall(key);
  expect([after?.token.reveal(), after?.previous]).toEqual([known.token.reveal(), undefined]);
});

test("what another process has written down meanwhile is tried before anything is forgotten", async () => {
  await using world = await startGateway();
  const { options, memory, key } = await approved(world);
  const known = await memory.recall(key);
  if (known === undefined) throw new Error("there is a token");
  let recalls = 0;
  const stale = { ...known, token: new Secret("from-before") };
  memory.recall = async () => (recalls++ === 0 ? stale : known);
  await (await openSession(options)).close();
  expect(lastMethod(world)).toBe("device-token");
  expect(memory.tokens.size).toBe(1);
});

test("a token that was rotated with an overlap lets in, and the one that followed is remembered with it until it was used", async () => {
  await using world = await startGateway();
  const { options, memory, key, deviceId } = await approved(world);
  const old = (await memory.recall(key))?.token.reveal();
  const operator = await world.operator();
  await operator.call("device.token.rotate", { deviceId, role: "node", overlapMs: 60_000 });
  await (await openSession(options)).close();
  const both = await memory.recall(key);
  expect(both?.previous?.reveal()).toBe(old);
  expect(both?.token.reveal()).not.toBe(old);
  await (await openSession(options)).close();
  expect((await memory.recall(key))?.previous).toBeUndefined();
  expect(await operator.call("device.token.progress", {})).toMatchObject({ rotations: [{ state: "confirmed" }] });
});

test("a gateway that cannot be reached costs no token", async () => {
  await using world = await startGateway();
  const { options, memory } = await approved(world);
  await world.gateway.close();
  await expect(openSession(options)).rejects.toMatchObject({ code: "unreachable" });
  expect(memory.tokens.size).toBe(1);
});

test("a token of one gateway is never shown to another", async () => {
  await using world = await startGateway();
  await using other = await startGateway();
  const { options, memory } = await approved(world);
  await expect(openSession({ ...options, gateway: { url: other.url } })).rejects.toMatchObject({
    code: "credential-missing",
  });
  expect(memory.tokens.size).toBe(1);
});

test.each([
  ["ws://127.0.0.1:18789", "ws://127.0.0.1:18789"],
  ["wss://gateway.example/path?x=1", "wss://gateway.example"],
  ["ws://[::1]:80/", "ws://[::1]"],
])("tokens for %s are filed under %s", (url, origin) => {
  expect(originOf(url)).toBe(origin);
});

/** The secret of an invite that this gateway has just made. */
async function invited(world: World): Promise<Secret> {
  const made = await (await world.operator()).call("device.pair.setupCode", { publicUrl: world.url });
  const read = readSetupCode(textAt(made, "setupCode"));
  return new Secret("code" in read ? read.code.bootstrapToken : "");
}

const inviteStates = async (world: World) =>
  listAt(await (await world.operator()).call("device.pair.setupList"), "invites").map((one) => at(one, "state"));

test("an invite stays unused while the device has a good token of its own", async () => {
  await using world = await startGateway();
  const { options } = await approved(world);
  await (await openSession({ ...options, bootstrap: await invited(world) })).close();
  expect(lastMethod(world)).toBe("device-token");
  expect(await inviteStates(world)).toEqual(["open"]);
});

test("an invite steps in for a token that is void, and the new token takes its place", async () => {
  await using world = await startGateway();
  const { options, memory, key, deviceId } = await approved(world);
  await (await world.operator()).call("device.pair.remove", { deviceId });
  const bootstrap = await invited(world);
  const session = await openSession({ ...options, bootstrap });
  await session.close();
  expect(lastMethod(world)).toBe("bootstrap-token");
  expect((await memory.recall(key))?.token.reveal()).toBe(session.hello.auth?.deviceToken);
  await (await openSession({ ...options, bootstrap })).close();
  expect(lastMethod(world)).toBe("device-token");
});

test("with an invite no other credential is shown, whatever else is configured", async () => {
  await using world = await startGateway();
  const { options } = await approved(world);
  const fresh = { ...options, identity: makeIdentity(), explicit: right, configured: right };
  await (await openSession({ ...fresh, bootstrap: await invited(world) })).close();
  expect(lastMethod(world)).toBe("bootstrap-token");
});

test("a dead invite fails as bootstrap-invalid, with the gateway's reason", async () => {
  await using world = await startGateway();
  const { options } = await approved(world);
  const bootstrap = await invited(world);
  world.runtime.advance(600_000);
  await expect(openSession({ ...options, identity: makeIdentity(), bootstrap })).rejects.toMatchObject({
    code: "bootstrap-invalid",
    message: expect.stringContaining("the invite expired at"),
    details: { inviteState: "expired" },
  });
});

test("one that the gateway knows nothing of fails on the upgrade already", async () => {
  await using world = await startGateway();
  const { options } = await approved(world);
  const bootstrap = new Secret("x".repeat(43));
  await expect(openSession({ ...options, identity: makeIdentity(), bootstrap })).rejects.toMatchObject({
    code: "bootstrap-invalid",
  });
});

test("an edge that refuses is shown one credential, and no token is forgotten over it", async () => {
  const page = "<html><title>Log in</title></html>";
  await using edge = await startRawServer(
    answering(`HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n${page}`),
  );
  const [memory, identity] = [new Memory(), makeIdentity()];
  const url = `ws://127.0.0.1:${edge.port}`;
  const key = { gateway: originOf(url), deviceId: identity.deviceId, role: "node" };
  const [token, previous] = [new Secret("the-new-token"), new Secret("the-old-token")];
  await memory.remember(key, { token, previous, scopes: [], updatedAtMs: 1 });
  const options: SessionOptions = {
    gateway: { url },
    client,
    role: "node",
    scopes: [],
    identity,
    memory,
    timeoutMs: 20_000,
  };
  for (const more of [{ configured: right }, { explicit: wrong }]) {
    await expect(openSession({ ...options, ...more })).rejects.toMatchObject({ code: "upgrade-refused" });
  }
  expect(edge.connections).toBe(2);
  expect((await memory.recall(key))?.token.reveal()).toBe("the-new-token");
});
