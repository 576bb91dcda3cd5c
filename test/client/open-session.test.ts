/** Which credential is tried, in which order, and what is remembered of it. */
import { expect, test } from "vitest";
import { openSession, originOf, type SessionOptions } from "../../src/client/open-session.ts";
import { Secret } from "../../src/secret.ts";
import { makeIdentity, Memory } from "../support/node-host.ts";
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
