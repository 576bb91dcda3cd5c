/** device.key.rotate: a device takes a new key and keeps everything else. */
import { expect, test } from "vitest";
import type { DeviceIdentity } from "../../src/identity/device-identity.ts";
import { signSuccession } from "../../src/identity/key-succession.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { at, makeDevice, type RawClient, type RawDevice, textAt } from "../support/raw-client.ts";
import { sharedToken, startGateway, temporaryStore, type World } from "../support/world.ts";

const asked = { commands: ["system.which"], displayName: "kitchen" };
const goodName = { platform: "linux", deviceFamily: "Linux" };

/** A device as the signing functions take it. */
function identityOf({ id, publicKey, privateKey }: RawDevice): DeviceIdentity {
  return { deviceId: id, publicKey, privateKey, createdAtMs: 0 };
}

/** What the gateway calls this connection. */
async function connIdOf(client: RawClient): Promise<string> {
  const hello = await client.messages.find(({ payload }) => typeof at(payload, "server", "connId") === "string");
  return textAt(hello.payload, "server", "connId");
}

async function succession(client: RawClient, present: RawDevice, next: RawDevice) {
  return signSuccession(identityOf(present), identityOf(next), await connIdOf(client));
}

/** An approved node that offers a command which waits for approval. */
async function approvedNode(world: World) {
  const node = await world.node({ ...asked, device: makeDevice() });
  const wider = {
    ...asked,
    device: node.device,
    commands: ["system.which", "system.run"],
    auth: { token: sharedToken },
  };
  const client = await world.admitted(wider);
  await node.client.closed;
  return { ...node, client };
}

test("everything approved goes on under the new key; the old one is nobody's", async () => {
  using store = temporaryStore();
  const next = makeDevice();
  let oldId = "";
  {
    await using world = await startGateway({ store: store.path });
    const { client, device, deviceToken } = await approvedNode(world);
    oldId = device.id;
    const operator = await world.operator();
    await operator.call("device.pair.rename", { deviceId: oldId, label: "the kitchen" });
    const before = world.gateway.devices();
    const other = await world.admitted({ ...asked, device, mode: "probe", auth: { deviceToken } });
    const result = await client.call("device.key.rotate", await succession(client, device, next));
    expect(result).toEqual({ deviceId: next.id, previousDeviceId: oldId, rotatedAtMs: expect.any(Number) });
    expect(await client.closed).toEqual({ code: 4001, reason: "device key replaced" });
    await other.closed;
    expect(world.gateway.devices()).toEqual(
      before.map((paired) => ({
        ...paired,
        deviceId: next.id,
        formerDeviceIds: [oldId],
        publicKey: next.publicKey,
        connected: false,
      })),
    );
    expect(world.gateway.pending()).toMatchObject({ devices: [], surfaces: [{ nodeId: next.id }] });
    expect(await operator.event("device.pair.changed")).toBeDefined();

    // The same token, with the new key; and the old key has nothing any more, with whatever it comes.
    await world.admitted({ ...asked, device: next, auth: { deviceToken } });
    await expect(world.connect({ ...asked, device, auth: { deviceToken } })).resolves.toMatchObject({
      response: { ok: false },
    });
    const again = await world.connect({ ...asked, device: next, auth: { token: sharedToken } });
    expect(textAt(again.response.payload, "auth", "deviceToken")).toBe(deviceToken);
  }
  await using records = await openSqliteStore(store.path);
  expect([...(await records.all("devices")).keys()]).toEqual([next.id]);
  expect(await records.tail("audit", 100)).toContainEqual(
    expect.objectContaining({ action: "device.rekey", device: next.id, previous: oldId, byDevice: oldId }),
  );
});

test("a second rotation builds on the first, with the same token", async () => {
  await using world = await startGateway();
  const { client, device, deviceToken } = await world.node(asked);
  const [second, third] = [makeDevice(), makeDevice()];
  await client.call("device.key.rotate", await succession(client, device, second));
  const again = await world.admitted({ ...asked, device: second, auth: { deviceToken } });
  await again.call("device.key.rotate", await succession(again, second, third));
  const { response } = await world.connect({ ...asked, device: third, auth: { token: sharedToken } });
  expect(textAt(response.payload, "auth", "deviceToken")).toBe(deviceToken);
});

test.each<[name: string, reason: string, forge: (facts: Forgery) => Promise<unknown>]>([
  [
    "a key that its holder did not sign for",
    "new-signature",
    async ({ client, device, next }) => ({
      ...(await succession(client, device, next)),
      newSignature: (await succession(client, device, makeDevice())).newSignature,
    }),
  ],
  ["a signature by somebody else's key", "old-signature", ({ client, next }) => succession(client, makeDevice(), next)],
  [
    "what was said on another connection",
    "old-signature",
    async ({ device, next }) => signSuccession(identityOf(device), identityOf(next), "another-connection"),
  ],
  ["the key that it has", "same-key", ({ client, device }) => succession(client, device, device)],
  [
    "what is no key",
    "public-key",
    async ({ client, device, next }) => ({ ...(await succession(client, device, next)), publicKey: "AAAA" }),
  ],
])("%s changes nothing", async (_name, reason, forge) => {
  await using world = await startGateway();
  const { client, device } = await world.node(asked);
  const before = world.gateway.devices();
  const error = await client.refused("device.key.rotate", await forge({ client, device, next: makeDevice() }));
  expect(error).toMatchObject({ details: { code: "KEY_ROTATION_DENIED", reason } });
  expect(world.gateway.devices()).toEqual(before);
});

interface Forgery {
  readonly client: RawClient;
  readonly device: RawDevice;
  readonly next: RawDevice;
}

test("a key that is a device already cannot be taken", async () => {
  await using world = await startGateway();
  const { client, device } = await world.node(asked);
  const taken = makeDevice();
  await world.pair({ device: taken, ...goodName });
  const error = await client.refused("device.key.rotate", await succession(client, device, taken));
  expect(error).toMatchObject({ details: { code: "KEY_ROTATION_DENIED" } });
  expect(world.gateway.devices()).toHaveLength(2);
});

test("who has no device has no key to rotate", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const error = await operator.refused("device.key.rotate", await succession(operator, makeDevice(), makeDevice()));
  expect(error.message).toContain("no device");
});
