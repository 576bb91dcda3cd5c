/** A node whose token is rotated while it works: nothing it was asked is lost, and on its disk there is always a token that works. */
import { expect, test } from "vitest";
import { originOf, type RememberedToken, type TokenKey } from "../../src/client/open-session.ts";
import { makeIdentity, Memory, startNode, type TestNode } from "../support/node-host.ts";
import { at, listAt, type RawClient } from "../support/raw-client.ts";
import { startGateway, type World } from "../support/world.ts";

/** An approved node that has nothing but its device token. */
async function tokenOnlyNode(world: World, memory = new Memory()) {
  const identity = makeIdentity();
  const { deviceId } = identity;
  await using first = startNode(world.url, { identity, memory });
  const device = await first.event("pairing-required");
  await world.gateway.approve(device.requestId);
  const surface = await first.event("pairing-required", first.events.items.indexOf(device) + 1);
  await world.gateway.approve(surface.requestId);
  await first.event("ready");
  await first.stop();
  const node = startNode(world.url, { identity, memory, credentials: {} });
  await node.event("ready");
  const key: TokenKey = { gateway: originOf(world.url), deviceId, role: "node" };
  return { node, memory, identity, deviceId, held: () => memory.tokens.get([key.gateway, deviceId, "node"].join(" ")) };
}

/** Resolves when the only rotation has come this far. */
async function untilState(operator: RawClient, state: string): Promise<void> {
  for (;;) {
    const rotations = listAt(await operator.call("device.token.progress", {}), "rotations");
    if (rotations.length === 1 && at(rotations[0], "state") === state) return;
  }
}

const rotate = (operator: RawClient, deviceId: string, overlapMs = 60_000) =>
  operator.call("device.token.rotate", { deviceId, role: "node", overlapMs });

test("a soak in miniature: invokes run all the time while the token is rotated ten times, and none is lost or answered wrongly", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { node, deviceId, held } = await tokenOnlyNode(world);
  await using _node = node;
  const before = node.events.items.length;
  let isOver = false;
  const counts = { asked: 0, right: 0 };
  const wrong: unknown[] = [];
  const keepAsking = async (lane: number) => {
    while (!isOver) {
      const params = { lane, number: counts.asked++ };
      const ask = { nodeId: deviceId, command: "system.which", params, idempotencyKey: crypto.randomUUID() };
      const { payload, error } = await operator.request("node.invoke", ask);
      if (JSON.stringify(at(payload, "payload")) === JSON.stringify(params)) counts.right++;
      else wrong.push({ params, payload, error });
    }
  };
  const lanes = [1, 2, 3, 4].map(keepAsking);
  const tokens = new Set([held()?.token.reveal()]);
  for (let rotation = 0; rotation < 10; rotation++) {
    await rotate(operator, deviceId);
    await untilState(operator, "confirmed");
    tokens.add(held()?.token.reveal());
  }
  isOver = true;
  await Promise.all(lanes);
  expect({ wrong, ...counts }).toEqual({ wrong: [], asked: counts.right, right: counts.right });
  expect(counts.right).toBeGreaterThan(10);
  expect(tokens.size).toBe(11);
  expect(node.events.items.slice(before).filter(({ event }) => event !== "invoke")).toEqual([]);
});

test("the old token is dropped from the disk only when the new one is proven", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const kept: (readonly [string | undefined, string | undefined])[] = [];
  class Watched extends Memory {
    override async remember(key: TokenKey, token: RememberedToken): Promise<void> {
      kept.push([token.token.reveal(), token.previous?.reveal()]);
      await super.remember(key, token);
    }
  }
  const { node, deviceId, held } = await tokenOnlyNode(world, new Watched());
  await using _node = node;
  const old = held()?.token.reveal();
  kept.length = 0;
  await rotate(operator, deviceId);
  await untilState(operator, "confirmed");
  await expect.poll(() => held()?.previous).toBeUndefined();
  const token = held()?.token.reveal();
  expect(kept).toEqual([
    [token, old],
    [token, undefined],
  ]);
});

test("a node that cannot write the new token down does not say that it has it, and works on with the old one", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  let isFull = false;
  class Full extends Memory {
    override async remember(key: TokenKey, token: RememberedToken): Promise<void> {
      if (isFull) throw new Error("no space left on the device");
      await super.remember(key, token);
    }
  }
  const { node, deviceId, held } = await tokenOnlyNode(world, new Full());
  await using _node = node;
  const old = held()?.token.reveal();
  isFull = true;
  await rotate(operator, deviceId);
  const params = { bins: ["sh"] };
  const ask = { nodeId: deviceId, command: "system.which", params, idempotencyKey: "k" };
  expect(await operator.call("node.invoke", ask)).toMatchObject({ payload: params });
  await untilState(operator, "pending");
  expect(held()?.token.reveal()).toBe(old);
  expect(node.events.items.at(-1)).toMatchObject({ event: "invoke" });
});

test("a node that was away comes back with the old token within the window, and moves to the new one by itself", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { node, memory, identity, deviceId, held } = await tokenOnlyNode(world);
  const old = held()?.token.reveal();
  await node.stop();
  await rotate(operator, deviceId);
  await using back: TestNode = startNode(world.url, { identity, memory, credentials: {} });
  await back.event("ready");
  await untilState(operator, "confirmed");
  expect(held()?.token.reveal()).not.toBe(old);
  expect(back.events.items.filter(({ event }) => event === "disconnected")).toEqual([]);
});

test("rotations that follow one another faster than the node moves cost it no session", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { node, deviceId } = await tokenOnlyNode(world);
  await using _node = node;
  const from = node.events.items.length;
  await Promise.all(Array.from({ length: 5 }, () => rotate(operator, deviceId)));
  await untilState(operator, "confirmed");
  await rotate(operator, deviceId, 0);
  await untilState(operator, "confirmed");
  expect(node.events.items.slice(from)).toEqual([]);
});
