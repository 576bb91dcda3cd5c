/** One store, several who write it: what another process decided takes effect on live sessions within a second. */
import { expect, test } from "vitest";
import type { RecordStore } from "../../src/store/record-store.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { makeDevice, textAt } from "../support/raw-client.ts";
import { sharedToken, startGateway, temporaryStore } from "../support/world.ts";

const auth = { token: sharedToken };

test.each([
  ["device.pair.remove", {}],
  ["device.token.revoke", { role: "node" }],
  ["device.token.rotate", { role: "node" }],
])("%s at one gateway closes the device's session at the other", async (method, params) => {
  using store = temporaryStore();
  await using here = await startGateway({ store: store.path });
  await using there = await startGateway({ store: store.path });
  const { client, device } = await here.node();
  const operator = await there.operator();
  there.runtime.advance(1000); // so that a rotation is later than the connect in every clock
  await operator.call(method, { deviceId: device.id, ...params });
  expect(await client.closed).toEqual({ code: 4001, reason: "device removed" });
});

test("the removal is seen although a connect was the first to notice that the store had changed", async () => {
  using store = temporaryStore();
  await using here = await startGateway({ store: store.path });
  await using there = await startGateway({ store: store.path });
  const { client, device } = await here.node();
  await (await there.operator()).call("device.pair.remove", { deviceId: device.id });
  await here.connect({ device: makeDevice(), auth });
  expect(await client.closed).toEqual({ code: 4001, reason: "device removed" });
});

test("a device that another gateway removes in the middle of its connect does not get in", async () => {
  using file = temporaryStore();
  await using there = await startGateway({ store: file.path });
  const operator = await there.operator();
  const device = makeDevice();
  await there.pair({ device, auth });
  const store = await openSqliteStore(file.path);
  let beforeUpdate = async (): Promise<unknown> => undefined;
  const interrupted: RecordStore = {
    all: (collection) => store.all(collection),
    tail: (journal, limit) => store.tail(journal, limit),
    revision: () => store.revision(),
    close: () => store.close(),
    [Symbol.asyncDispose]: () => store.close(),
    update: async (change) => {
      await beforeUpdate();
      return store.update(change);
    },
  };
  await using here = await startGateway({ store: interrupted });
  beforeUpdate = () => operator.call("device.pair.remove", { deviceId: device.id });
  // The new command list is written down after the device was found approved.
  const { client, response } = await here.connect({ device, commands: ["system.which"], auth });
  beforeUpdate = async () => undefined;
  expect(response).toMatchObject({ ok: false, error: { code: "UNAVAILABLE" } });
  expect((await client.closed).code).toBe(1013);
  expect(here.gateway.pending().surfaces).toEqual([]);
  expect((await here.connect({ device, auth })).response.error?.details).toMatchObject({ reason: "not-paired" });
});

test("a device that another gateway approved gets in here at once", async () => {
  using store = temporaryStore();
  await using here = await startGateway({ store: store.path });
  await using there = await startGateway({ store: store.path });
  const device = makeDevice();
  const { response } = await here.connect({ device, auth });
  await there.gateway.approve(textAt(response.error?.details, "requestId"));
  const admitted = await here.connect({ device, auth });
  expect(admitted.response.ok).toBe(true);
  const deviceToken = textAt(admitted.response.payload, "auth", "deviceToken");
  expect((await there.connect({ device, auth: { deviceToken } })).response.ok).toBe(true);
});

test.each(["approve", "reject"])(
  "a node that waits for its command list hears of node.pair.%s at another gateway",
  async (decide) => {
    using store = temporaryStore();
    await using here = await startGateway({ store: store.path });
    await using there = await startGateway({ store: store.path });
    const asked = { device: makeDevice(), commands: ["system.which"], auth };
    await here.pair(asked);
    const node = await here.admitted(asked);
    const operator = await there.operator();
    const [request] = here.gateway.pending().surfaces;
    await operator.call(`node.pair.${decide}`, { requestId: request?.requestId });
    expect((await node.event("node.pair.resolved")).payload).toMatchObject({
      requestId: request?.requestId,
      decision: decide === "approve" ? "approved" : "rejected",
    });
  },
);

test("sessions of others stay when the store changes", async () => {
  using store = temporaryStore();
  await using here = await startGateway({ store: store.path });
  await using there = await startGateway({ store: store.path });
  const removed = await here.node();
  const kept = await here.node();
  const operator = await here.operator();
  await (await there.operator()).call("device.pair.remove", { deviceId: removed.device.id });
  await removed.client.closed;
  expect(await kept.client.call("skills.bins")).toEqual({ bins: [] });
  expect(await operator.call("health")).toMatchObject({ ok: true });
});

test("approvals at two gateways at once lose nothing", async () => {
  using store = temporaryStore();
  const limits = { maxRequestsPerAddress: 64 };
  await using here = await startGateway({ store: store.path, limits });
  await using there = await startGateway({ store: store.path, limits });
  const devices = Array.from({ length: 20 }, () => makeDevice());
  const requests = await Promise.all(
    devices.map(async (device, index) => (await (index % 2 === 0 ? here : there).connect({ device, auth })).response),
  );
  await Promise.all(
    requests.map(({ error }, index) =>
      (index % 3 === 0 ? here : there).gateway.approve(textAt(error?.details, "requestId")),
    ),
  );
  const operator = await here.operator();
  await operator.call("device.pair.list");
  expect(new Set(here.gateway.devices().map(({ deviceId }) => deviceId))).toEqual(new Set(devices.map(({ id }) => id)));
});
