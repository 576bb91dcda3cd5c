/** Requests and their ends: five minutes, renewal, superseding, approval, rejection; who may decide what; and what a restart keeps. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import {
  at,
  listAt,
  makeDevice,
  type Message,
  type RawConnect,
  type RawDevice,
  textAt,
} from "../support/raw-client.ts";
import { everyScope, sharedToken, startGateway, temporaryStore, type World } from "../support/world.ts";

const auth = { token: sharedToken };
const minutes = (count: number) => count * 60_000;

type Asked = RawConnect & { readonly device: RawDevice };

/** An operator's program with a key of its own. */
const asOperator = (device: RawDevice, scopes: readonly string[], more: Omit<RawConnect, "device"> = {}): Asked => ({
  device,
  role: "operator",
  clientId: "openclaw-tui",
  mode: "ui",
  scopes,
  auth,
  ...more,
});

/** Connects something that has to wait, and gives the id of its request. */
async function ask(world: World, options: RawConnect): Promise<string> {
  return textAt((await refusal(world, options)).details, "requestId");
}

async function refusal(world: World, options: RawConnect): Promise<NonNullable<Message["error"]>> {
  const { client, response } = await world.connect(options);
  await client.closed;
  if (response.error === undefined) throw new Error("it was let in");
  return response.error;
}

test("a request waits five minutes, and its id says afterwards that it expired", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  const requestId = await ask(world, { device, auth });
  world.runtime.advance(minutes(5) - 10_000);
  expect(listAt(await operator.call("device.pair.list"), "pending")).toMatchObject([
    { requestId, deviceId: device.id },
  ]);
  world.runtime.advance(10_000);
  expect(listAt(await operator.call("device.pair.list"), "pending")).toEqual([]);
  const error = await operator.refused("device.pair.approve", { requestId });
  expect(error).toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringMatching(/^unknown requestId: it expired/u),
    details: { code: "UNKNOWN_REQUEST", requestId, expired: true },
  });
  expect(world.gateway.devices()).toEqual([]);
  expect(await ask(world, { device, auth })).not.toBe(requestId);
});

test("the same key renews its request, under the same id and without another event", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  const requestId = await ask(world, { device, auth });
  for (let time = 0; time < 3; time++) {
    world.runtime.advance(minutes(4));
    expect(await ask(world, { device, auth })).toBe(requestId);
  }
  await operator.call("device.pair.approve", { requestId });
  expect(operator.messages.items.filter(({ event }) => event === "device.pair.requested")).toHaveLength(1);
});

test("a narrower ask keeps the request", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const requestId = await ask(world, asOperator(device, ["operator.read", "operator.pairing"]));
  expect(await ask(world, asOperator(device, ["operator.read"]))).toBe(requestId);
  expect(world.gateway.pending().devices).toMatchObject([{ scopes: ["operator.read", "operator.pairing"] }]);
});

test.each<[string, RawConnect]>([
  ["wider ask", { scopes: ["operator.read", "operator.admin"] }],
  ["ask for another role", { role: "node", clientId: "node-host", mode: "node", scopes: [] }],
  ["ask from another platform", { platform: "macos", deviceFamily: "Mac" }],
])("a %s supersedes the request, and the old id names the new one", async (_name, more) => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  const oldId = await ask(world, asOperator(device, ["operator.read"]));
  const newId = await ask(world, asOperator(device, ["operator.read"], more));
  expect(newId).not.toBe(oldId);
  expect((await operator.event("device.pair.resolved")).payload).toMatchObject({
    requestId: oldId,
    decision: "rejected",
  });
  expect(await operator.refused("device.pair.approve", { requestId: oldId })).toMatchObject({
    details: { code: "REQUEST_SUPERSEDED", supersededBy: newId },
  });
  expect(listAt(await operator.call("device.pair.list"), "pending")).toMatchObject([{ requestId: newId }]);
});

test("approving twice says that it was approved already", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const requestId = await ask(world, { device: makeDevice(), auth });
  await operator.call("device.pair.approve", { requestId });
  expect(await operator.refused("device.pair.approve", { requestId })).toMatchObject({
    details: { code: "REQUEST_RESOLVED", decision: "approved" },
  });
});

test("two who approve at once: one does, the other hears of it", async () => {
  await using world = await startGateway();
  const [one, other] = [await world.operator(), await world.operator()];
  const requestId = await ask(world, { device: makeDevice(), auth });
  const answers = await Promise.all([
    one.request("device.pair.approve", { requestId }),
    other.request("device.pair.approve", { requestId }),
  ]);
  expect(answers.filter(({ ok }) => ok === true)).toHaveLength(1);
});

test.each([
  ["device.pair.approve", { requestId: "nothing" }, "unknown requestId", "UNKNOWN_REQUEST"],
  ["device.pair.reject", { requestId: "nothing" }, "unknown requestId", "UNKNOWN_REQUEST"],
  ["device.pair.remove", { deviceId: "nobody" }, "unknown deviceId", "UNKNOWN_DEVICE"],
  ["device.pair.rename", { deviceId: "nobody", label: "x" }, "unknown deviceId", "UNKNOWN_DEVICE"],
  ["device.token.rotate", { deviceId: "nobody", role: "node" }, "unknown deviceId", "UNKNOWN_DEVICE"],
  ["device.token.revoke", { deviceId: "nobody", role: "node" }, "unknown deviceId", "UNKNOWN_DEVICE"],
  ["node.pair.approve", { requestId: "nothing" }, "unknown requestId", "UNKNOWN_REQUEST"],
  ["node.pair.reject", { requestId: "nothing" }, "unknown requestId", "UNKNOWN_REQUEST"],
  ["node.pair.remove", { nodeId: "nobody" }, "unknown nodeId", "UNKNOWN_NODE"],
  ["node.rename", { nodeId: "nobody", displayName: "x" }, "unknown nodeId", "UNKNOWN_NODE"],
  ["node.describe", { nodeId: "nobody" }, "unknown nodeId", "UNKNOWN_NODE"],
])("%s of something unknown says so", async (method, params, message, code) => {
  await using world = await startGateway();
  const operator = await world.operator();
  expect(await operator.refused(method, params)).toMatchObject({ code: "INVALID_REQUEST", message, details: { code } });
});

test.each(["device.token.rotate", "device.token.revoke"])(
  "%s of a role that the device does not have is denied",
  async (method) => {
    await using world = await startGateway();
    const operator = await world.operator();
    const { device } = await world.node();
    expect(await operator.refused(method, { deviceId: device.id, role: "operator" })).toMatchObject({
      message: expect.stringMatching(/^device token (rotation|revocation) denied/u),
      details: { code: "UNKNOWN_DEVICE" },
    });
  },
);

test("a rejection reaches the device once, with its reason; asking again makes a new request", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  const requestId = await ask(world, { device, auth });
  expect(await operator.call("device.pair.reject", { requestId, reason: "not ours" })).toEqual({
    requestId,
    deviceId: device.id,
  });
  expect((await operator.event("device.pair.resolved")).payload).toMatchObject({ requestId, decision: "rejected" });
  const told = await refusal(world, { device, auth });
  expect(told).toMatchObject({
    code: "NOT_PAIRED",
    message: "pairing required: the request was rejected: not ours",
    details: { code: "PAIRING_REQUIRED", requestId, rejected: true, rejectedReason: "not ours" },
  });
  expect(world.gateway.pending().devices).toEqual([]);
  const next = await refusal(world, { device, auth });
  expect(at(next.details, "rejected")).toBeUndefined();
  expect(textAt(next.details, "requestId")).not.toBe(requestId);
});

test("a node that waits is told to keep asking; one that was told no is not, nor is one that lost its role, nor an operator", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const keepAsking = { recommendedNextStep: "wait_then_retry", retryable: true, pauseReconnect: false };
  const device = makeDevice();
  const waiting = await refusal(world, { device, auth });
  expect(waiting.details).toMatchObject(keepAsking);
  await operator.call("device.pair.reject", { requestId: textAt(waiting.details, "requestId") });
  const rejected = await refusal(world, { device, auth });
  const node = await world.node();
  await operator.call("device.token.revoke", { deviceId: node.device.id, role: "node" });
  const revoked = await refusal(world, { device: node.device, auth });
  const person = await refusal(world, asOperator(makeDevice(), ["operator.read"]));
  for (const { details } of [rejected, revoked, person]) expect(at(details, "recommendedNextStep")).toBeUndefined();
});

test("an old rejection is no news", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  await operator.call("device.pair.reject", { requestId: await ask(world, { device, auth }) });
  world.runtime.advance(minutes(6));
  expect(at((await refusal(world, { device, auth })).details, "rejected")).toBeUndefined();
});

test("requests of one address are bounded, and a device that waits already keeps its place", async () => {
  await using world = await startGateway({ limits: { maxRequestsPerAddress: 2 } });
  const device = makeDevice();
  const requestId = await ask(world, { device, auth });
  await ask(world, { device: makeDevice(), auth });
  const { client, response } = await world.connect({ device: makeDevice(), auth });
  expect(response.error).toMatchObject({
    code: "UNAVAILABLE",
    retryable: true,
    retryAfterMs: 60_000,
    details: { code: "TOO_MANY_REQUESTS" },
  });
  expect((await client.closed).code).toBe(1013);
  expect(world.decisions.items.at(-1)).toMatchObject({ outcome: "refused", code: "TOO_MANY_REQUESTS" });
  expect(world.runtime.lines.items.at(-1)).toMatchObject({ level: "warn", message: "enrolment refused" });
  expect(await ask(world, { device, auth })).toBe(requestId);
  world.runtime.advance(minutes(5));
  await ask(world, { device: makeDevice(), auth });
});

test("a removed device is gone with its sessions, requests and command list", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { client, device, deviceToken } = await world.node();
  const upgrade = await ask(world, asOperator(device, ["operator.read"]));
  expect(await operator.call("device.pair.remove", { deviceId: device.id })).toEqual({ deviceId: device.id });
  expect(await client.closed).toEqual({ code: 4001, reason: "device removed" });
  expect(await operator.call("device.pair.list")).toEqual({ pending: [], paired: [] });
  expect(await operator.call("node.pair.list")).toEqual({ pending: [], paired: [] });
  expect(await operator.refused("device.pair.approve", { requestId: upgrade })).toMatchObject({
    message: "unknown requestId",
  });
  expect(await refusal(world, { device, auth: { deviceToken } })).toMatchObject({
    details: { code: "AUTH_DEVICE_TOKEN_MISMATCH" },
  });
  expect(await refusal(world, { device, auth })).toMatchObject({ details: { reason: "not-paired" } });
});

test("a device that is removed while it connects does not stay", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  for (let turns = 0; turns < 20; turns++) {
    const device = makeDevice();
    await world.pair({ device, auth });
    const client = await world.open();
    const connecting = client.connect({ device, commands: ["system.which"], auth });
    for (let turn = 0; turn < turns; turn++) await nextTurn();
    await operator.call("device.pair.remove", { deviceId: device.id });
    await connecting.catch(() => {}); // let in, refused, or asked to come again
    await client.closed;
  }
  expect(await operator.call("status")).toMatchObject({ sessions: { count: 1 } });
});

test("node.pair.remove closes the node too", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { client, device } = await world.node();
  expect(await operator.call("node.pair.remove", { nodeId: device.id })).toEqual({ nodeId: device.id });
  expect(await client.closed).toEqual({ code: 4001, reason: "device removed" });
});

test("a name given by an operator wins over the device's own", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { device } = await world.node({ displayName: "own name" });
  expect(await operator.call("node.describe", { nodeId: device.id })).toMatchObject({ displayName: "own name" });
  await operator.call("device.pair.rename", { deviceId: device.id, label: "kitchen" });
  expect((await operator.event("device.pair.changed")).payload).toEqual({});
  expect(await operator.call("node.describe", { nodeId: device.id })).toMatchObject({ displayName: "kitchen" });
  await operator.call("node.rename", { nodeId: device.id, displayName: "cellar" });
  expect(listAt(await operator.call("node.list"), "nodes")).toMatchObject([{ displayName: "cellar" }]);
});

test.each([
  ["device.pair.list", {}, "operator.pairing"],
  ["device.pair.approve", { requestId: "x" }, "operator.pairing"],
  ["device.token.rotate", { deviceId: "x", role: "node" }, "operator.pairing"],
  ["node.list", {}, "operator.read"],
  ["node.invoke", { nodeId: "x", command: "y", idempotencyKey: "z" }, "operator.write"],
  ["exec.approvals.node.get", { nodeId: "x" }, "operator.admin"],
])("%s without its scope is forbidden, and the answer names the scope", async (method, params, scope) => {
  await using world = await startGateway();
  const operator = await world.operator([]);
  expect(await operator.refused(method, params)).toEqual({
    code: "FORBIDDEN",
    message: `missing scope: ${scope}`,
    details: { code: "MISSING_SCOPE", missingScope: scope, requiredScopes: [scope] },
  });
  expect(world.runtime.lines.items.at(-1)).toMatchObject({ message: "call refused", fields: { method } });
});

test("the role node takes admin to approve, to rotate and to revoke", async () => {
  await using world = await startGateway();
  const clerk = await world.operator(["operator.pairing"]);
  const needsAdmin = { code: "FORBIDDEN", details: { missingScope: "operator.admin" } };
  const requestId = await ask(world, { device: makeDevice(), auth });
  // The product's CLI asks with the least scope first, and comes back with more when it reads these words.
  expect(await clerk.refused("device.pair.approve", { requestId })).toMatchObject({
    ...needsAdmin,
    message: "device pairing approval denied: missing scope: operator.admin",
  });
  expect(world.gateway.pending().devices).toMatchObject([{ requestId }]);
  const { device } = await world.node();
  for (const method of ["device.token.rotate", "device.token.revoke"]) {
    expect(await clerk.refused(method, { deviceId: device.id, role: "node" })).toMatchObject(needsAdmin);
  }
  expect(await clerk.refused("node.pair.remove", { nodeId: device.id })).toMatchObject(needsAdmin);
});

test("operator scopes can only be granted by who holds them", async () => {
  await using world = await startGateway();
  const clerk = await world.operator(["operator.pairing", "operator.write"]);
  const low = await ask(world, asOperator(makeDevice(), ["operator.read", "operator.pairing"]));
  const high = await ask(world, asOperator(makeDevice(), ["operator.admin"]));
  await clerk.call("device.pair.approve", { requestId: low });
  expect(await clerk.refused("device.pair.approve", { requestId: high })).toMatchObject({
    details: { missingScope: "operator.admin" },
  });
});

test.each([
  ["no commands", [], ["operator.pairing"]],
  ["a harmless command", ["system.notify"], ["operator.pairing", "operator.write"]],
  ["system.run", ["system.run", "system.notify"], ["operator.pairing", "operator.admin"]],
])("a command list with %s takes %j", async (_name, commands, required) => {
  await using world = await startGateway();
  const asked = { device: makeDevice(), commands, caps: ["system"], auth };
  await world.pair(asked);
  await world.admitted(asked);
  const [pending] = world.gateway.pending().surfaces;
  expect(pending?.requiredApproveScopes).toEqual(required);
  const requestId = pending?.requestId;
  const clerk = await world.operator(["operator.write"]);
  expect((await clerk.refused("node.pair.approve", { requestId })).code).toBe("FORBIDDEN");
  const approver = await world.operator(required);
  expect(await approver.call("node.pair.approve", { requestId })).toMatchObject({
    requestId,
    node: { commands: commands.toSorted() },
  });
});

test("approving a command list without the scopes it takes is refused with all of them", async () => {
  await using world = await startGateway();
  const asked = { device: makeDevice(), commands: ["system.run"], auth };
  await world.pair(asked);
  await world.admitted(asked);
  const clerk = await world.operator(["operator.pairing", "operator.write"]);
  const [pending] = world.gateway.pending().surfaces;
  const required = ["operator.pairing", "operator.admin"];
  expect(await clerk.refused("node.pair.approve", { requestId: pending?.requestId })).toMatchObject({
    details: { code: "MISSING_SCOPE", missingScope: "operator.admin", requiredScopes: required },
  });
  expect(world.gateway.pending().surfaces).toEqual([pending]);
});

test("a rejected command list is told to the node, and asked for again at the next connect", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const asked = { device: makeDevice(), commands: ["system.which"], auth };
  await world.pair(asked);
  const node = await world.admitted(asked);
  const requestId = world.gateway.pending().surfaces[0]?.requestId;
  await operator.call("node.pair.reject", { requestId, reason: "no shells here" });
  expect((await node.event("node.pair.resolved")).payload).toMatchObject({
    requestId,
    decision: "rejected",
    reason: "no shells here",
  });
  await world.admitted(asked);
  expect(world.gateway.pending().surfaces).toMatchObject([{ nodeId: asked.device.id }]);
  expect(world.gateway.pending().surfaces[0]?.requestId).not.toBe(requestId);
});

test("a wider command list waits while the approved part works on; a narrower one asks nothing", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { device } = await world.node({ commands: ["system.which"] });
  await world.admitted({ device, commands: ["system.which", "system.run"], auth });
  expect(world.gateway.pending().surfaces).toMatchObject([{ commands: ["system.run", "system.which"] }]);
  expect(await operator.call("node.describe", { nodeId: device.id })).toMatchObject({
    commands: ["system.which"],
    approvalState: "pending",
  });
  await world.gateway.approve(world.gateway.pending().surfaces[0]?.requestId ?? "");
  await world.admitted({ device, commands: ["system.run"], auth });
  expect(world.gateway.pending().surfaces).toEqual([]);
  expect(await operator.call("node.describe", { nodeId: device.id })).toMatchObject({
    commands: ["system.run"],
    approvalState: "approved",
  });
});

test("commands outside the platform's policy are dropped without a word", async () => {
  await using world = await startGateway({ commands: { allow: ["camera.snap"], deny: ["system.run"] } });
  await world.node({ commands: ["system.which", "system.run", "camera.snap", "sms.send"] });
  const operator = await world.operator();
  const [node] = listAt(await operator.call("node.list"), "nodes");
  expect(node).toMatchObject({ commands: ["camera.snap", "system.which"] });
});

test("who came with a device token and is no admin sees and manages only its own device", async () => {
  await using world = await startGateway();
  const { device: other } = await world.node();
  const device = makeDevice();
  const scopes = ["operator.read", "operator.pairing"];
  const deviceToken = await world.pair(asOperator(device, scopes));
  const requestId = await ask(world, asOperator(makeDevice(), ["operator.read"]));
  const session = await world.admitted(asOperator(device, scopes, { auth: { deviceToken } }));
  const seen = await session.call("device.pair.list");
  expect(seen).toMatchObject({ pending: [], paired: [{ deviceId: device.id }] });
  const needsAdmin = { code: "FORBIDDEN", details: { missingScope: "operator.admin" } };
  const forbidden = [
    ["device.pair.approve", { requestId }],
    ["device.pair.reject", { requestId }],
    ["device.pair.remove", { deviceId: other.id }],
    ["device.pair.rename", { deviceId: other.id, label: "mine" }],
    ["node.rename", { nodeId: other.id, displayName: "mine" }],
    ["device.token.rotate", { deviceId: other.id, role: "node" }],
    ["device.token.revoke", { deviceId: other.id, role: "node" }],
  ] as const;
  for (const [method, params] of forbidden) {
    expect([method, await session.refused(method, params)]).toMatchObject([method, needsAdmin]);
  }
  await session.call("device.pair.rename", { deviceId: device.id, label: "me" });
});

test("a session rotates its own token in-band: it gets the new one, and then has to use it", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const scopes = ["operator.read", "operator.pairing"];
  const deviceToken = await world.pair(asOperator(device, scopes));
  const session = await world.admitted(asOperator(device, scopes, { auth: { deviceToken } }));
  const rotated = await session.call("device.token.rotate", { deviceId: device.id, role: "operator" });
  expect(rotated).toMatchObject({ tokenDelivery: "in-band", scopes, role: "operator" });
  expect(await session.closed).toEqual({ code: 4001, reason: "device removed" });
  const next = { deviceToken: textAt(rotated, "token") };
  expect(next.deviceToken).not.toBe(deviceToken);
  expect(await refusal(world, asOperator(device, scopes, { auth: { deviceToken } }))).toMatchObject({
    details: { code: "AUTH_DEVICE_TOKEN_MISMATCH" },
  });
  await world.admitted(asOperator(device, scopes, { auth: next }));
});

test("a session rotates its own token without operator.pairing, and nothing else", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const scopes = ["operator.write"];
  const deviceToken = await world.pair(asOperator(device, scopes));
  const session = await world.admitted(asOperator(device, ["operator.read"], { auth: { deviceToken } }));
  const own = { deviceId: device.id, role: "operator" };
  const lacksPairing = { code: "FORBIDDEN", details: { missingScope: "operator.pairing" } };
  expect(await session.refused("device.token.rotate", { ...own, role: "node" })).toMatchObject(lacksPairing);
  expect(await session.refused("device.token.rotate", { ...own, deviceId: "x" })).toMatchObject(lacksPairing);
  expect(await session.refused("device.token.revoke", own)).toMatchObject(lacksPairing);
  expect(await session.refused("device.token.rotate", { ...own, scopes: ["operator.admin"] })).toMatchObject({
    details: { missingScope: "operator.admin" },
  });
  const rotated = await session.call("device.token.rotate", own);
  expect(rotated).toMatchObject({ tokenDelivery: "in-band", scopes });
  const next = { deviceToken: textAt(rotated, "token") };
  await world.admitted(asOperator(device, scopes, { auth: next }));
});

test("who came with the shared secret rotates no device's token without operator.pairing, its own neither", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  await world.pair(asOperator(device, ["operator.write"]));
  const session = await world.admitted(asOperator(device, ["operator.write"]));
  expect(await session.refused("device.token.rotate", { deviceId: device.id, role: "operator" })).toMatchObject({
    details: { missingScope: "operator.pairing" },
  });
});

test("a rotation may narrow the token's scopes, not widen them", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  await world.pair(asOperator(device, ["operator.read", "operator.write"]));
  const rotate = (scopes: readonly string[]) =>
    operator.request("device.token.rotate", { deviceId: device.id, role: "operator", scopes });
  expect((await rotate(["operator.admin"])).error).toMatchObject({ details: { code: "SCOPES_NOT_APPROVED" } });
  expect((await rotate(["operator.read"])).payload).toMatchObject({
    scopes: ["operator.read"],
    tokenDelivery: "withheld-cross-device",
  });
});

test("an upgrade is a request of its own, and what was approved works meanwhile", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  await world.pair(asOperator(device, ["operator.read"]));
  const session = await world.admitted(asOperator(device, ["operator.read"]));
  const error = await refusal(world, asOperator(device, everyScope));
  expect(error.details).toMatchObject({
    reason: "scope-upgrade",
    approvedScopes: ["operator.read"],
    requestedScopes: everyScope,
  });
  expect(await session.call("node.list")).toMatchObject({ nodes: [] });
  await operator.call("device.pair.approve", { requestId: textAt(error.details, "requestId") });
  expect(world.gateway.devices()).toMatchObject([{ scopes: expect.arrayContaining(everyScope) }]);
});

test.each(["loopback", "never"] as const)(
  "operators on direct loopback with the shared secret, rule %s",
  async (autoApproveOperators) => {
    await using world = await startGateway({ pairing: { autoApproveOperators } });
    const device = makeDevice();
    const { response } = await world.connect(asOperator(device, ["operator.read"]));
    expect(response.ok).toBe(autoApproveOperators === "loopback");
    expect(world.gateway.devices()).toMatchObject(
      autoApproveOperators === "loopback" ? [{ deviceId: device.id, approvedVia: "local" }] : [],
    );
    const node = await world.connect({ device: makeDevice(), auth });
    expect(node.response.error?.details).toMatchObject({ code: "PAIRING_REQUIRED" });
  },
);

test("approvals, command lists and tokens survive a restart; with the same key the same token is given again", async () => {
  using store = temporaryStore();
  const device = makeDevice();
  let deviceToken: string;
  let waiting: string;
  {
    await using world = await startGateway({ store: store.path });
    ({ deviceToken } = await world.node({ device }));
    waiting = await ask(world, asOperator(makeDevice(), ["operator.read"]));
  }
  await using world = await startGateway({ store: store.path });
  const { response } = await world.connect({ device, commands: ["system.which"], auth: { deviceToken } });
  expect(response.payload).toMatchObject({
    auth: { deviceToken, method: "device-token" },
    snapshot: { node: { approvalState: "approved", commands: ["system.which"] } },
  });
  await world.gateway.approve(waiting);
  expect(world.gateway.devices()).toHaveLength(2);
});

test("without the old key the old token still counts, and the next connect with the shared one brings a new token", async () => {
  using store = temporaryStore();
  const device = makeDevice();
  let deviceToken: string;
  {
    await using world = await startGateway({ store: store.path });
    ({ deviceToken } = await world.node({ device }));
  }
  await using world = await startGateway({ store: store.path, tokenKey: Buffer.alloc(32, 9) });
  const kept = await world.connect({ device, auth: { deviceToken } });
  expect(kept.response.payload).toMatchObject({ auth: { method: "device-token", deviceToken } });
  const { response } = await world.connect({ device, auth: { token: sharedToken } });
  const renewed = textAt(response.payload, "auth", "deviceToken");
  expect(renewed).not.toBe(deviceToken);
  expect((await world.connect({ device, auth: { deviceToken: renewed } })).response.ok).toBe(true);
});

test("a device with nothing but its token asks for more scopes: a request, and once approved the same token holds them", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const deviceToken = await world.pair(asOperator(device, ["operator.read"]));
  const own = { auth: { deviceToken } };
  const wider = asOperator(device, ["operator.read", "operator.pairing"], own);
  const error = await refusal(world, wider);
  expect(error).toMatchObject({
    code: "NOT_PAIRED",
    details: {
      code: "PAIRING_REQUIRED",
      reason: "scope-upgrade",
      requestedScopes: ["operator.read", "operator.pairing"],
      approvedScopes: ["operator.read"],
    },
  });
  const meanwhile = await world.admitted(asOperator(device, ["operator.read"], own));
  await world.gateway.approve(textAt(error.details, "requestId"));
  const { response } = await world.connect(wider);
  expect(response).toMatchObject({ ok: true, payload: { auth: { scopes: wider.scopes, deviceToken } } });
  expect(meanwhile.socket.readyState).toBe(meanwhile.socket.OPEN);
});

test("a device that comes with its token and the shared one is judged by the one that is worth more", async () => {
  await using world = await startGateway({ pairing: { autoApproveOperators: "loopback" } });
  const device = makeDevice();
  const first = await world.admitted(asOperator(device, ["operator.read"]));
  const hello = first.messages.items.find(({ type }) => type === "res");
  const deviceToken = textAt(hello?.payload, "auth", "deviceToken");
  const both = { auth: { token: sharedToken, deviceToken } };
  const { response } = await world.connect(asOperator(device, ["operator.read", "operator.pairing"], both));
  expect(response).toMatchObject({ ok: true, payload: { auth: { method: "token" } } });
});

test("a device whose platform changed keeps its token over the approval", async () => {
  await using world = await startGateway();
  const { device, deviceToken } = await world.node();
  const moved = { device, auth: { deviceToken }, platform: "macos", deviceFamily: "Mac" };
  await world.gateway.approve(await ask(world, moved));
  expect((await world.connect(moved)).response).toMatchObject({ ok: true, payload: { auth: { deviceToken } } });
});

test.each<[string, RawConnect]>([
  ["the gateway's own caller", { role: "operator", clientId: "gateway-client", mode: "backend", auth }],
  ["an approved device", asOperator(makeDevice(), [])],
])("scopes that nobody knows are not granted to %s, which is told so", async (_who, options) => {
  await using world = await startGateway({ pairing: { autoApproveOperators: "loopback" } });
  const { client, response } = await world.connect({ ...options, scopes: ["operator.bogus", "operator.read"] });
  expect(response.payload).toMatchObject({
    auth: {
      scopes: ["operator.read"],
      removedScopes: ["operator.bogus"],
      removedScopesReason: "this gateway knows no operator.bogus",
    },
  });
  expect(world.decisions.items).toMatchObject([{ outcome: "admitted", scopes: ["operator.read"] }]);
  expect(await client.call("node.list")).toMatchObject({ nodes: [] });
  const line = world.runtime.lines.items.find(({ message }) => message === "connected");
  expect(line?.fields).toMatchObject({ removed: "operator.bogus" });
});

test("a person is asked only for scopes that exist, and the device gets in with them", async () => {
  await using world = await startGateway();
  const asked = asOperator(makeDevice(), ["operator.read", "operator.bogus"]);
  const requestId = await ask(world, asked);
  expect(world.gateway.pending().devices).toMatchObject([{ requestId, scopes: ["operator.read"] }]);
  await world.gateway.approve(requestId);
  expect(world.gateway.devices()).toMatchObject([
    { scopes: ["operator.read"], tokens: [{ scopes: ["operator.read"] }] },
  ]);
  const { response } = await world.connect(asked);
  expect(response.payload).toMatchObject({ auth: { scopes: ["operator.read"], removedScopes: ["operator.bogus"] } });
});

test("a request shows what its device says of itself now, and keeps its id", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const requestId = await ask(world, { device, auth, displayName: "kitchen" });
  expect(await ask(world, { device, auth, displayName: "cellar" })).toBe(requestId);
  expect(world.gateway.pending().devices).toMatchObject([{ requestId, displayName: "cellar" }]);
  expect(await ask(world, { device, auth })).toBe(requestId);
  expect(world.gateway.pending().devices[0]).not.toHaveProperty("displayName");
});

test("so does a request for a command list, which does not shrink by it", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const commands = ["system.run", "system.which"];
  await world.pair({ device, commands, displayName: "kitchen" });
  const [first] = world.gateway.pending().surfaces;
  await world.admitted({ device, auth, commands: ["system.which"], displayName: "cellar" });
  expect(world.gateway.pending().surfaces).toEqual([
    { ...first, displayName: "cellar", commands, ts: expect.any(Number) },
  ]);
});
