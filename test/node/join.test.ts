/** A node host with an invite: how it joins, and what becomes of the invite then. */
import { expect, test } from "vitest";
import { readSetupCode } from "../../src/protocol/setup-code.ts";
import { Secret } from "../../src/secret.ts";
import { makeIdentity, Memory, startNode, type TestNode } from "../support/node-host.ts";
import { textAt } from "../support/raw-client.ts";
import { startRelay } from "../support/relay.ts";
import { startGateway, type World } from "../support/world.ts";

async function invited(world: World, params: object = {}): Promise<Secret> {
  const made = await (await world.operator()).call("device.pair.setupCode", { publicUrl: world.url, ...params });
  const read = readSetupCode(textAt(made, "setupCode"));
  return new Secret("code" in read ? read.code.bootstrapToken : "");
}

const told = (node: TestNode) => node.events.items.map(({ event }) => event);

test("once: it joins, is ready and ends, without a request to anybody", async () => {
  await using world = await startGateway();
  const credentials = { bootstrap: await invited(world) };
  await using node = startNode(world.url, { credentials, memory: new Memory(), once: true });
  expect(await node.ended).toBeUndefined();
  expect(told(node)).toEqual(["connecting", "ready", "stopped"]);
  expect(world.gateway.pending()).toEqual({ devices: [], surfaces: [] });
});

test("once: a gateway that cannot be reached ends it at once", async () => {
  await using world = await startGateway();
  const { url } = world;
  await world.gateway.close();
  await using node = startNode(url, { credentials: {}, memory: new Memory(), once: true });
  expect(await node.ended).toMatchObject({ code: "unreachable" });
  expect(told(node)).toEqual(["connecting", "stopped"]);
});

test("the invite is shown until there is a token, and the token from then on", async () => {
  await using world = await startGateway();
  await using relay = await startRelay(world.gateway.port);
  const credentials = { bootstrap: await invited(world) };
  const identity = makeIdentity();
  const url = `ws://127.0.0.1:${relay.port}`;
  await using node = startNode(url, { credentials, identity, memory: new Memory() });
  await node.event("ready");
  const from = node.events.items.length;
  relay.cut();
  await node.event("ready", from);
  const methods = world.decisions.items.filter(({ role }) => role === "node").map((one) => one.authenticatedBy);
  expect(methods).toEqual(["bootstrap-token", "device-token"]);
});

test("removed while it serves, it does not come back with the invite", async () => {
  await using world = await startGateway();
  const identity = makeIdentity();
  const credentials = { bootstrap: await invited(world) };
  await using node = startNode(world.url, { credentials, identity, memory: new Memory() });
  await node.event("ready");
  await (await world.operator()).call("device.pair.remove", { deviceId: identity.deviceId });
  expect(await node.ended).toMatchObject({
    code: expect.stringMatching(/^(device-token-mismatch|credential-missing)$/u),
  });
  const shown = world.decisions.items.filter(({ outcome }) => outcome === "refused").flatMap(({ trace }) => trace);
  expect(shown.filter(({ method, outcome }) => method === "bootstrap-token" && outcome === "wrong")).toEqual([]);
});

test("a dead invite ends it with the reason", async () => {
  await using world = await startGateway();
  const credentials = { bootstrap: await invited(world, { forDeviceId: "a".repeat(64) }) };
  await using node = startNode(world.url, { credentials, memory: new Memory() });
  expect(await node.ended).toMatchObject({
    code: "bootstrap-invalid",
    message: expect.stringContaining("the invite is for another key (device aaaaaaaa)"),
  });
});
