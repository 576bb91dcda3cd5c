/** Clients without a key, over JSON-RPC: how they get a token of their own, what it is good for, and how it ends (auth.md § 6). */
import { describe, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { at, listAt, makeDevice, textAt } from "../support/raw-client.ts";
import { fromElsewhere, pairKeyless, RpcClient } from "../support/rpc-client.ts";
import { sharedToken, startGateway, temporaryStore, tokenKey, type World } from "../support/world.ts";

const approver = (world: World) => (requestId: string) => world.gateway.approve(requestId);

/** Connects with the token as its only credential, from where nothing else would let it in. */
const connectWith = (world: World, token: string, role = "control", more: Readonly<Record<string, unknown>> = {}) =>
  RpcClient.connect(world.url, { role, auth: { token }, more }, fromElsewhere);

describe("a request", () => {
  test("is pending, is shown as keyless, and gets its token with the notification once approved", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    await using client = await RpcClient.admitted(world.url, { name: "panel" }, fromElsewhere);
    const asked = await client.call("node.pair.request", { displayName: "wall panel" });
    expect(asked).toMatchObject({ status: "pending", role: "operator", scopes: ["operator.read", "operator.write"] });
    expect(textAt(asked, "deviceId")).toMatch(/^keyless-[0-9a-f]{32}$/u);
    expect(world.gateway.pending().devices).toMatchObject([
      { keyless: true, displayName: "wall panel", publicKey: "none", clientId: "json-rpc" },
    ]);
    expect(await control.notification("device.pair.requested")).toMatchObject({ keyless: true });

    await control.call("node.pair.approve", { requestId: textAt(asked, "requestId") });
    const told = await client.notification("node.pair.resolved");
    expect(told).toMatchObject({ decision: "approved", requestId: at(asked, "requestId"), role: "operator" });
    const token = textAt(told, "token");
    const paired = listAt(await control.call("device.pair.list"), "paired");
    expect(paired).toMatchObject([
      { deviceId: at(asked, "deviceId"), keyless: true, publicKey: "none", approvedVia: "owner" },
    ]);
    expect(JSON.stringify(paired)).not.toContain(token);
    expect(JSON.stringify(control.messages.items)).not.toContain(token);
    expect(JSON.stringify(world.runtime.lines.items)).not.toContain(token);

    const { client: session, answer } = await connectWith(world, token);
    await using _session = session;
    expect(answer).toMatchObject({
      result: { auth: { method: "device-token", scopes: ["operator.read", "operator.write"], deviceToken: token } },
    });
    expect(await session.call("status")).toMatchObject({ runtimeVersion: expect.any(String) });
    expect(at(await session.refused("node.pair.request"), "message")).toMatch(/is a device already/u);
  });

  test("is approved by the owner without a connection, too", async () => {
    await using world = await startGateway();
    const { token } = await pairKeyless(world.url, approver(world));
    expect((await connectWith(world, token)).answer).toMatchObject({ result: { auth: { role: "operator" } } });
  });

  test("that is rejected says why, once", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    await using client = await RpcClient.admitted(world.url, {}, fromElsewhere);
    const asked = await client.call("node.pair.request");
    await control.call("node.pair.reject", { requestId: at(asked, "requestId"), reason: "not ours" });
    expect(await client.notification("node.pair.resolved")).toMatchObject({ decision: "rejected", reason: "not ours" });
    const again = await client.call("node.pair.request", { claim: at(asked, "claim") });
    expect(again).toMatchObject({ status: "pending", deviceId: at(asked, "deviceId") });
    expect(at(again, "requestId")).not.toBe(at(asked, "requestId"));
  });

  test("with its claim is renewed, and what was decided while nobody was there is told then", async () => {
    await using world = await startGateway();
    const ask = async (params?: unknown) => {
      await using client = await RpcClient.admitted(world.url, {}, fromElsewhere);
      return await client.request("node.pair.request", params);
    };
    const first = at(await ask(), "result");
    const claim = textAt(first, "claim");
    const renewed = at(await ask({ claim }), "result");
    expect(renewed).toMatchObject({ status: "pending", requestId: at(first, "requestId"), claim });
    await world.gateway.approve(textAt(first, "requestId"));
    const approved = at(await ask({ claim }), "result");
    expect(approved).toMatchObject({ status: "approved", deviceId: at(first, "deviceId") });
    expect(at(await ask({ claim }), "result")).toEqual(approved); // the answer may have been lost: nobody has used it yet
    expect((await connectWith(world, textAt(approved, "token"))).answer).toMatchObject({ result: {} });
    expect(await ask({ claim })).toMatchObject({
      error: { code: -32000, data: { details: { code: "TOKEN_IN_USE" } } },
    });
  });

  test("that another process decides on the same store is told here", async () => {
    using store = temporaryStore();
    await using here = await startGateway({ store: store.path });
    await using there = await startGateway({ store: store.path });
    await using client = await RpcClient.admitted(here.url, {}, fromElsewhere);
    const asked = await client.call("node.pair.request");
    await there.gateway.approve(textAt(asked, "requestId"));
    const token = textAt(await client.notification("node.pair.resolved"), "token");
    expect((await connectWith(here, token)).answer).toMatchObject({ result: {} });
    expect((await connectWith(there, token)).answer).toMatchObject({ result: {} });
  });

  test("outlives a restart of the gateway between the approval and the telling", async () => {
    using store = temporaryStore();
    let claim: string;
    {
      await using world = await startGateway({ store: store.path, tokenKey });
      await using client = await RpcClient.admitted(world.url, {}, fromElsewhere);
      const asked = await client.call("node.pair.request");
      claim = textAt(asked, "claim");
      client.socket.terminate();
      await client.closed;
      await world.runtime.lines.find(({ message }) => message === "disconnected");
      await world.gateway.approve(textAt(asked, "requestId"));
    }
    await using world = await startGateway({ store: store.path, tokenKey });
    await using client = await RpcClient.admitted(world.url, {}, fromElsewhere);
    const approved = await client.call("node.pair.request", { claim });
    expect((await connectWith(world, textAt(approved, "token"))).answer).toMatchObject({ result: {} });
  });

  test.each<[name: string, role: string, params: unknown, problem: RegExp]>([
    ["operator.admin", "control", { scopes: ["operator.admin"] }, /cannot hold operator\.admin/u],
    ["a scope that does not exist", "control", { scopes: ["operator.dance"] }, /no scope operator\.dance/u],
    ["more than webchat holds", "webchat", { scopes: ["operator.pairing"] }, /cannot hold operator\.pairing/u],
    ["operator scopes for a node", "node", { scopes: ["operator.read"] }, /cannot hold operator\.read/u],
    ["a role that does not exist", "control", { role: "king" }, /role/u],
    ["a claim of another form", "control", { claim: "short" }, /claim/u],
    ["a name that rewrites terminals", "control", { displayName: "a\u001b[2J" }, /control characters/u],
  ])("for %s is refused", async (_name, role, params, problem) => {
    await using world = await startGateway();
    await using client = await RpcClient.admitted(world.url, { role }, fromElsewhere);
    expect(at(await client.refused("node.pair.request", params), "message")).toMatch(problem);
    expect(world.gateway.pending().devices).toEqual([]);
  });

  test("is one of a bounded number", async () => {
    await using world = await startGateway({ limits: { maxRequestsPerAddress: 1 } });
    await using client = await RpcClient.admitted(world.url, {}, fromElsewhere);
    await client.call("node.pair.request");
    expect(await client.refused("node.pair.request")).toMatchObject({
      code: -32005,
      data: { retryable: true, details: { code: "TOO_MANY_REQUESTS" } },
    });
  });

  test("is no method of the other dialect", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    expect(await operator.refused("node.pair.request", {})).toMatchObject({
      message: "unknown method: node.pair.request",
    });
  });
});

describe("a bearer token", () => {
  test("holds no more than was approved; more is a request of the same device, which keeps its token", async () => {
    await using world = await startGateway();
    const { token, deviceId } = await pairKeyless(world.url, approver(world), { scopes: ["operator.read"] });
    const scopes = ["operator.read", "operator.pairing"];
    const { answer } = await connectWith(world, token, "control", { scopes });
    expect(answer).toMatchObject({
      error: {
        code: -32002,
        data: { details: { reason: "scope-upgrade", deviceId, approvedScopes: ["operator.read"] } },
      },
    });
    expect((await connectWith(world, token)).answer).toMatchObject({ result: { auth: { scopes: ["operator.read"] } } });
    expect(world.gateway.pending().devices).toMatchObject([{ deviceId, keyless: true, isRepair: true }]);
    await world.gateway.approve(textAt(answer, "error", "data", "details", "requestId"));
    expect((await connectWith(world, token, "control", { scopes })).answer).toMatchObject({
      result: { auth: { scopes } },
    });
    expect(world.gateway.devices()).toMatchObject([{ deviceId, keyless: true }]);
  });

  test("never gets operator.admin, and a shared secret beside it changes nothing, not even on the gateway's host", async () => {
    await using world = await startGateway({ pairing: { autoApproveOperators: "loopback" } });
    const { token, deviceId } = await pairKeyless(world.url, approver(world), { scopes: ["operator.read"] });
    const scopes = ["operator.read", "operator.admin"];
    const { answer } = await connectWith(world, token, "control", { scopes });
    expect(answer).toMatchObject({
      result: {
        auth: {
          scopes: ["operator.read"],
          removedScopes: ["operator.admin"],
          removedScopesReason: "a token without a key cannot hold operator.admin",
        },
      },
    });
    const both = { auth: { token: sharedToken, deviceToken: token }, more: { scopes: ["operator.write"] } };
    expect((await RpcClient.connect(world.url, both)).answer).toMatchObject({
      error: { code: -32002, data: { details: { reason: "scope-upgrade", deviceId } } },
    });
    expect(world.gateway.devices()).toMatchObject([{ deviceId, scopes: ["operator.read"] }]);
  });

  test("as webchat holds less than as control", async () => {
    await using world = await startGateway();
    const { token } = await pairKeyless(world.url, approver(world), { scopes: ["operator.read", "operator.pairing"] });
    expect((await connectWith(world, token, "webchat")).answer).toMatchObject({
      result: { auth: { scopes: ["operator.read"] } },
    });
  });

  test.each(["the frame", "the header"])("counts in %s", async (where) => {
    await using world = await startGateway();
    const { token } = await pairKeyless(world.url, approver(world));
    const inHeader = where === "the header";
    const headers = inHeader ? { ...fromElsewhere, Authorization: `Bearer ${token}` } : fromElsewhere;
    await using client = await RpcClient.admitted(
      world.url,
      { auth: inHeader ? undefined : { deviceToken: token } },
      headers,
    );
    expect(client.hello).toMatchObject({ auth: { method: "device-token" } });
  });

  test("is good for its own role only", async () => {
    await using world = await startGateway();
    const { token } = await pairKeyless(world.url, approver(world));
    expect((await connectWith(world, token, "node")).answer).toMatchObject({
      error: { code: -32001, data: { details: { code: "AUTH_TOKEN_MISMATCH" } } },
    });
    const { token: ofNode } = await pairKeyless(world.url, approver(world), {}, "node");
    expect((await connectWith(world, ofNode)).answer).toMatchObject({ error: { code: -32001 } });
  });

  test("means nothing in the other dialect, and a token that is bound to a key means nothing in this one", async () => {
    await using world = await startGateway();
    const { token } = await pairKeyless(world.url, approver(world));
    const native = { role: "operator", scopes: ["operator.read"], auth: { token }, clientId: "cli", mode: "cli" };
    const { response } = await world.connect(native, fromElsewhere);
    expect(response).toMatchObject({ ok: false, error: { details: { code: "AUTH_TOKEN_MISMATCH" } } });
    const bound = await world.pair({ device: makeDevice() });
    expect((await connectWith(world, bound, "node")).answer).toMatchObject({ error: { code: -32001 } });
    const { response: stranger } = await world.connect({ ...native, device: makeDevice() }, fromElsewhere);
    expect(stranger).toMatchObject({ ok: false });
  });

  test("of a node opens a session whose commands need an approval of their own", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    const approve = (requestId: string) => control.call("node.pair.approve", { requestId });
    const { token, deviceId } = await pairKeyless(world.url, approve, { platform: "linux" }, "node");
    const { client: node, answer } = await connectWith(world, token, "node", { commands: ["system.which"], caps: [] });
    await using _node = node;
    expect(answer).toMatchObject({
      result: { auth: { role: "node" }, snapshot: { node: { approvalState: "pending", commands: [] } } },
    });
    const invoke = { nodeId: deviceId, command: "system.which", params: { bins: ["sh"] } };
    expect(await control.refused("node.invoke", { ...invoke, idempotencyKey: "1" })).toMatchObject({
      code: -32000,
      data: { details: { code: "SURFACE_NOT_APPROVED" } },
    });
    await approve(textAt(answer, "result", "snapshot", "node", "requestId"));
    expect(await node.notification("node.pair.resolved")).toMatchObject({
      decision: "approved",
      commands: ["system.which"],
    });
    const outcome = control.call("node.invoke", { ...invoke, idempotencyKey: "2" });
    const asked = await node.notification("node.invoke.request");
    node.send({
      jsonrpc: "2.0",
      method: "node.invoke.result",
      params: { id: at(asked, "id"), nodeId: deviceId, ok: true, payload: { sh: "/bin/sh" } },
    });
    expect(await outcome).toMatchObject({ ok: true, payload: { sh: "/bin/sh" } });
  });

  test("of a node on another platform than the approved one has to be approved again", async () => {
    await using world = await startGateway();
    const { token, deviceId } = await pairKeyless(world.url, approver(world), { platform: "linux" }, "node");
    const client = { name: "panel", version: "1", platform: "windows" };
    const { answer } = await connectWith(world, token, "node", { client });
    expect(answer).toMatchObject({
      error: { code: -32002, data: { details: { reason: "metadata-upgrade", deviceId } } },
    });
  });
});

describe("the end of a bearer token", () => {
  test("a rotation closes its sessions, and neither the old token nor the claim opens anything any more", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    const { token, deviceId, claim } = await pairKeyless(world.url, approver(world));
    const { client } = await connectWith(world, token);
    const rotated = await control.call("device.token.rotate", { deviceId, role: "operator" });
    expect(rotated).toMatchObject({ tokenDelivery: "withheld-cross-device" });
    expect(at(rotated, "token")).toBeUndefined();
    expect(await client.closed).toMatchObject({ code: 4001 });
    expect((await connectWith(world, token)).answer).toMatchObject({ error: { code: -32001 } });
    await using asking = await RpcClient.admitted(world.url, {}, fromElsewhere);
    expect(at(await asking.refused("node.pair.request", { claim }), "message")).toMatch(/has its token already/u);
  });

  test("a rotation with an overlap brings the new one to who watches, and ends the old one with its first use", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    const { token, deviceId } = await pairKeyless(world.url, approver(world));
    const { client } = await connectWith(world, token);
    await using _client = client;
    await client.call("device.token.watch");
    await control.call("device.token.rotate", { deviceId, role: "operator", overlapMs: 60_000 });
    const next = textAt(await client.notification("device.token.rotated"), "token");
    expect((await connectWith(world, token)).answer).toMatchObject({ result: { auth: { deviceToken: next } } });
    expect((await connectWith(world, next)).answer).toMatchObject({ result: {} });
    expect((await connectWith(world, token)).answer).toMatchObject({ error: { code: -32001 } });
  });

  test.each([[["operator.read", "operator.pairing"]], [["operator.read"]], [["operator.write"]]])(
    "its holder rotates it itself, whatever it may otherwise (%j), and gets the new one in the answer",
    async (scopes) => {
      await using world = await startGateway();
      const { token, deviceId } = await pairKeyless(world.url, approver(world), { scopes });
      const { client } = await connectWith(world, token);
      const rotated = await client.call("device.token.rotate", { deviceId, role: "operator" });
      expect(await client.closed).toMatchObject({ code: 4001 });
      expect((await connectWith(world, textAt(rotated, "token"))).answer).toMatchObject({
        result: { auth: { scopes } },
      });
    },
  );

  test("a revoked one is refused as revoked, and a new approval tells a new one", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    const { token, deviceId, claim } = await pairKeyless(world.url, approver(world));
    const { client } = await connectWith(world, token);
    await control.call("device.token.revoke", { deviceId, role: "operator" });
    expect(await client.closed).toMatchObject({ code: 4001 });
    expect((await connectWith(world, token)).answer).toMatchObject({
      error: {
        code: -32001,
        data: { details: { code: "AUTH_DEVICE_TOKEN_MISMATCH", authReason: "device_token_revoked" } },
      },
    });
    const again = await pairKeyless(world.url, approver(world), { claim });
    expect(again.deviceId).toBe(deviceId);
    expect(again.token).not.toBe(token);
    expect((await connectWith(world, again.token)).answer).toMatchObject({ result: {} });
  });

  test("a removed device is gone with its token", async () => {
    await using world = await startGateway();
    await using control = await RpcClient.admitted(world.url);
    const { token, deviceId } = await pairKeyless(world.url, approver(world));
    const { client } = await connectWith(world, token);
    await control.call("device.pair.remove", { deviceId });
    expect(await client.closed).toMatchObject({ code: 4001 });
    expect((await connectWith(world, token)).answer).toMatchObject({ error: { code: -32001 } });
  });

  test("a keyless device cannot take a key", async () => {
    await using world = await startGateway();
    const { token } = await pairKeyless(world.url, approver(world));
    const { client } = await connectWith(world, token);
    await using _client = client;
    const params = { publicKey: makeDevice().publicKey, signature: "AAAA", newSignature: "AAAA" };
    expect(at(await client.refused("device.key.rotate", params), "message")).toMatch(/rotation denied: old-signature/u);
  });
});

test("the store keeps neither claims nor tokens", async () => {
  const store = await openSqliteStore(":memory:", { runtime: systemRuntime });
  await using world = await startGateway({ store });
  const { token, claim } = await pairKeyless(world.url, approver(world));
  await connectWith(world, token);
  const kept = JSON.stringify([
    ...(await store.all("devices")),
    ...(await store.all("deviceRequests")),
    ...(await store.tail("audit", 100)),
  ]);
  expect(kept).toContain("token.told");
  expect([token, claim].filter((secret) => kept.includes(secret))).toEqual([]);
});
