/** A node's whole life, lived by a client that knows protocol.md and nothing of ours. */
import { expect, test } from "vitest";
import { at, listAt, makeDevice, textAt } from "../support/raw-client.ts";
import { sharedToken, startGateway } from "../support/world.ts";

const commands = ["system.run", "system.which"];

test("a node is refused, approved, invoked, rotated and revoked as the protocol says", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  const auth = { token: sharedToken };

  const first = await world.connect({ device, commands, auth });
  expect(first.response.error).toMatchObject({
    code: "NOT_PAIRED",
    details: { code: "PAIRING_REQUIRED", reason: "not-paired", deviceId: device.id, requestedRole: "node" },
  });
  const requestId = textAt(first.response.error?.details, "requestId");
  expect(await first.client.closed).toEqual({
    code: 1008,
    reason: `pairing required: device is not approved yet (requestId: ${requestId})`,
  });
  expect((await operator.event("device.pair.requested")).payload).toMatchObject({ requestId, deviceId: device.id });

  const approved = await operator.call("device.pair.approve", { requestId });
  expect(approved).toMatchObject({
    requestId,
    device: { deviceId: device.id, roles: ["node"], tokens: [{ role: "node" }] },
  });
  expect((await operator.event("device.pair.resolved")).payload).toMatchObject({ requestId, decision: "approved" });

  const second = await world.connect({ device, commands, auth });
  const hello = second.response.payload;
  const node = second.client;
  expect(hello).toMatchObject({ type: "hello-ok", protocol: 4, auth: { role: "node", scopes: [] } });
  expect(hello).toMatchObject({ policy: { maxPayload: 26214400, maxBufferedBytes: 52428800, tickIntervalMs: 30000 } });
  const deviceToken = textAt(hello, "auth", "deviceToken");
  expect(deviceToken).toMatch(/^[A-Za-z0-9_-]{43}$/u);

  const pending = (await operator.event("node.pair.requested")).payload;
  expect(pending).toMatchObject({
    nodeId: device.id,
    commands,
    requiredApproveScopes: ["operator.pairing", "operator.admin"],
  });
  const invoke = { nodeId: device.id, command: "system.which", params: { bins: ["sh"] } };
  expect(await operator.refused("node.invoke", { ...invoke, idempotencyKey: "early" })).toMatchObject({
    code: "INVALID_REQUEST",
    details: { reason: "node did not declare commands", code: "SURFACE_NOT_APPROVED" },
  });
  await operator.call("node.pair.approve", { requestId: textAt(pending, "requestId") });
  expect((await node.event("node.pair.resolved")).payload).toMatchObject({ nodeId: device.id, decision: "approved" });

  const answers = [{ payloadJSON: '{"bins":{"sh":"/bin/sh"}}' }, { payload: { bins: { sh: "/bin/sh" } } }];
  for (const [index, answer] of answers.entries()) {
    const outcome = operator.call("node.invoke", { ...invoke, idempotencyKey: `key-${index}` });
    const { payload: request } = await node.event(
      "node.invoke.request",
      0,
      (seen) => at(seen, "idempotencyKey") === `key-${index}`,
    );
    expect(request).toMatchObject({ nodeId: device.id, command: "system.which", timeoutMs: 30000 });
    expect(JSON.parse(textAt(request, "paramsJSON"))).toEqual({ bins: ["sh"] });
    const id = textAt(request, "id");
    expect(await node.call("node.invoke.result", { id, nodeId: device.id, ok: true, ...answer })).toEqual({ ok: true });
    expect(await outcome).toEqual({
      ok: true,
      nodeId: device.id,
      command: "system.which",
      payload: { bins: { sh: "/bin/sh" } },
      payloadJSON: '{"bins":{"sh":"/bin/sh"}}',
    });
    const late = { id, nodeId: device.id, ok: true, ...answer };
    expect(await node.call("node.invoke.result", late)).toEqual({ ok: true, ignored: true });
  }

  const rotated = await operator.call("device.token.rotate", { deviceId: device.id, role: "node" });
  expect(rotated).toMatchObject({ deviceId: device.id, role: "node", tokenDelivery: "withheld-cross-device" });
  expect(at(rotated, "token")).toBeUndefined();
  expect(await node.closed).toEqual({ code: 4001, reason: "device removed" });

  const outdated = await world.connect({ device, commands, auth: { deviceToken } });
  expect(outdated.response.error).toMatchObject({
    code: "INVALID_REQUEST",
    details: { code: "AUTH_DEVICE_TOKEN_MISMATCH", authReason: "device_token_mismatch" },
  });
  expect((await outdated.client.closed).code).toBe(1008);

  const third = await world.connect({ device, commands, auth });
  const nextToken = textAt(third.response.payload, "auth", "deviceToken");
  expect(nextToken).not.toBe(deviceToken);
  const byToken = await world.connect({ device, commands, auth: { token: nextToken, deviceToken: nextToken } });
  expect(byToken.response.payload).toMatchObject({ auth: { method: "device-token", deviceToken: nextToken } });
  expect(await third.client.closed).toMatchObject({ code: 1008 });

  await operator.call("device.token.revoke", { deviceId: device.id, role: "node" });
  expect(await byToken.client.closed).toEqual({ code: 4001, reason: "device removed" });
  const revoked = await world.connect({ device, commands, auth: { deviceToken: nextToken } });
  expect(revoked.response.error?.details).toMatchObject({
    code: "AUTH_DEVICE_TOKEN_MISMATCH",
    authReason: "device_token_revoked",
  });
  const again = await world.connect({ device, commands, auth });
  expect(again.response.error?.details).toMatchObject({ code: "PAIRING_REQUIRED", reason: "role-upgrade" });

  const paired = listAt(await operator.call("device.pair.list"), "paired");
  expect(JSON.stringify(paired)).not.toContain(nextToken);
  expect(paired).toMatchObject([{ deviceId: device.id, roles: [], connected: false }]);
});

test("the same device token is given again at every connect until it is rotated", async () => {
  await using world = await startGateway();
  const { client, device, deviceToken } = await world.node();
  expect(textAt(client.messages.items[1]?.payload, "auth", "deviceToken")).toBe(deviceToken);
  const { response } = await world.connect({ device, commands: ["system.which"], auth: { deviceToken } });
  expect(response.payload).toMatchObject({ auth: { deviceToken, method: "device-token" } });
});

test("no token, salt or hash appears in the log or in the decisions", async () => {
  await using world = await startGateway();
  const { deviceToken } = await world.node();
  await world.connect({ device: makeDevice(), auth: { token: "a-wrong-secret-value" } });
  const told = JSON.stringify([world.runtime.lines.items, world.decisions.items]);
  for (const secret of [sharedToken, deviceToken, "a-wrong-secret-value"]) expect(told).not.toContain(secret);
});

test("health, status and config.get hold the lists that the product's CLI reads unasked", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  expect(await operator.call("health")).toMatchObject({
    ok: true,
    agents: [],
    channelOrder: [],
    sessions: { recent: [] },
  });
  expect(await operator.call("status")).toMatchObject({ heartbeat: { agents: [] }, channelSummary: [] });
  const settings = await operator.call("config.get");
  expect(settings).toMatchObject({ exists: false, valid: true, config: { gateway: { auth: {} } } });
  expect(JSON.stringify(settings)).not.toContain(sharedToken);
});
