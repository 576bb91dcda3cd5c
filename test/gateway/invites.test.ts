/** Invites over the wire, with a client written from the protocol alone. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { readSetupCode } from "../../src/protocol/setup-code.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import {
  at,
  listAt,
  makeDevice,
  type RawClient,
  type RawConnect,
  RawClient as Raw,
  textAt,
} from "../support/raw-client.ts";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { Secret } from "../../src/secret.ts";
import { createCertificate } from "../fixtures/certificate.ts";
import { everyScope, sharedToken, startGateway, temporaryStore, type World } from "../support/world.ts";

const publicUrl = "ws://127.0.0.1:1";
const caller = join(import.meta.dirname, "../support/local-caller.ts");

interface Invite {
  readonly id: string;
  readonly secret: string;
  readonly code: string;
}

async function mint(operator: RawClient, params: object = {}): Promise<Invite> {
  const made = await operator.call("device.pair.setupCode", { publicUrl, ...params });
  const code = textAt(made, "setupCode");
  const read = readSetupCode(code);
  if ("problem" in read) throw new Error(read.problem);
  return { id: textAt(made, "setupId"), secret: read.code.bootstrapToken, code };
}

const withInvite = ({ secret }: Pick<Invite, "secret">, more: RawConnect = {}): RawConnect => ({
  device: makeDevice(),
  commands: ["system.run", "system.which"],
  auth: { bootstrapToken: secret },
  ...more,
});

async function refusal(world: World, connect: RawConnect, headers = {}) {
  const { client, response } = await world.connect(connect, headers);
  return { ok: response.ok, error: response.error, closed: await client.closed };
}

describe("an invite lets one node in", () => {
  test("with its commands approved, its token issued, and everybody told", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const invite = await mint(operator, { displayName: "the kitchen" });
    const device = makeDevice();
    const from = operator.messages.items.length;
    const node = await world.admitted(withInvite(invite, { device, displayName: "raspberry" }));
    const hello = node.messages.items.find(({ type }) => type === "res")?.payload;
    expect(hello).toMatchObject({
      auth: { method: "bootstrap-token", role: "node", scopes: [], deviceToken: expect.stringMatching(/^[\w-]{43}$/u) },
      snapshot: { node: { approvalState: "approved", commands: ["system.run", "system.which"] } },
    });
    const resolved = await operator.event("device.pair.resolved", from);
    expect(resolved.payload).toMatchObject({
      deviceId: device.id,
      decision: "approved",
      requestId: expect.any(String),
    });
    const surface = await operator.event("node.pair.resolved", from);
    expect(surface.payload).toMatchObject({ nodeId: device.id, decision: "approved" });
    const completed = await operator.event("device.pair.setup.completed", from);
    expect(completed.payload).toEqual({
      setupId: invite.id,
      deviceId: device.id,
      deviceName: "the kitchen",
      access: "node",
      ts: expect.any(Number),
    });
    expect(await operator.call("device.pair.setupStatus", { setupId: invite.id })).toEqual({
      completion: completed.payload,
    });
    const { paired } = (await operator.call("device.pair.list")) as { paired: object[] };
    expect(paired).toMatchObject([{ deviceId: device.id, approvedVia: "bootstrap", operatorLabel: "the kitchen" }]);
    const again = await world.admitted({ device, auth: { deviceToken: textAt(hello, "auth", "deviceToken") } });
    expect(again.messages.items.find(({ type }) => type === "res")?.payload).toMatchObject({
      auth: { method: "device-token" },
    });
  });

  test("in every mode of authentication", async () => {
    for (const mode of ["token", "password", "none", "trusted-proxy"] as const) {
      await using world = await startGateway({
        auth: { mode, token: sharedToken, password: "p".repeat(20), upgrade: "deferred" },
      });
      const operator = await world.admitted({
        role: "operator",
        clientId: "gateway-client",
        mode: "backend",
        scopes: everyScope,
        ...(mode === "none"
          ? {}
          : { auth: mode === "password" ? { password: "p".repeat(20) } : { token: sharedToken } }),
      });
      await world.admitted(withInvite(await mint(operator)));
      expect(world.gateway.devices()).toMatchObject([{ approvedVia: "bootstrap" }]);
    }
  });

  test("where the upgrade must carry a credential: the invite is one, dead or alive", async () => {
    await using world = await startGateway({ auth: { token: sharedToken, upgrade: "required" } });
    const bearer = (secret: string) => ({ Authorization: `Bearer ${secret}` });
    const operatorSocket = await world.open(bearer(sharedToken));
    await operatorSocket.connect({
      role: "operator",
      clientId: "gateway-client",
      mode: "backend",
      scopes: everyScope,
      auth: { token: sharedToken },
    });
    const invite = await mint(operatorSocket);
    const { response } = await world.connect(withInvite(invite), bearer(invite.secret));
    expect(response.ok).toBe(true);
    const dead = await refusal(world, withInvite(invite), bearer(invite.secret));
    expect(at(dead.error?.details, "inviteState")).toBe("used");
    await expect(Raw.open(world.url, bearer("x".repeat(43)))).rejects.toMatchObject({ status: 401 });
  });

  test("and resolves what it had asked for before", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const device = makeDevice();
    const asked = await refusal(world, { device, auth: { token: sharedToken } });
    const requestId = textAt(asked.error?.details, "requestId");
    await world.admitted(withInvite(await mint(operator), { device }));
    expect(listAt(await operator.call("device.pair.list"), "pending")).toEqual([]);
    expect(await operator.refused("device.pair.approve", { requestId })).toMatchObject({
      details: { code: "REQUEST_RESOLVED", decision: "approved" },
    });
  });

  test("with no more commands than it names; the rest waits for a person", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const invite = await mint(operator, { commands: ["system.which", "camera.snap"] });
    const device = makeDevice();
    const node = await world.admitted(withInvite(invite, { device }));
    const hello = node.messages.items.find(({ type }) => type === "res")?.payload;
    expect(at(hello, "snapshot", "node")).toMatchObject({ approvalState: "pending", commands: ["system.which"] });
    const ask = { nodeId: device.id, command: "system.run", idempotencyKey: "k" };
    expect(await operator.refused("node.invoke", ask)).toMatchObject({ code: "INVALID_REQUEST" });
  });
});

describe("a dead one says why, in the error and in the close frame:", () => {
  test("used, when and by whom; also to a second device that came at the same moment", async () => {
    await using world = await startGateway();
    const invite = await mint(await world.operator(), { displayName: "kitchen" });
    const both = await Promise.all([world.connect(withInvite(invite)), world.connect(withInvite(invite))]);
    expect(both.filter(({ response }) => response.ok === true)).toHaveLength(1);
    const usedBy = world.gateway.devices()[0]?.deviceId ?? "";
    const { error, closed } = await refusal(world, withInvite(invite));
    expect(error).toMatchObject({
      code: "INVALID_REQUEST",
      message: expect.stringMatching(
        new RegExp(`^unauthorized: the invite was used at \\S+Z by kitchen \\(device ${usedBy.slice(0, 8)}\\)$`, "u"),
      ),
      details: {
        code: "AUTH_BOOTSTRAP_TOKEN_INVALID",
        authReason: "bootstrap_token_used",
        inviteState: "used",
        setupId: invite.id,
        usedAtMs: expect.any(Number),
        usedBy,
        usedByName: "kitchen",
        canRetryWithDeviceToken: false,
      },
    });
    expect(closed).toEqual({ code: 1008, reason: error?.message });
    expect(world.gateway.devices()).toHaveLength(1);
  });

  test("expired", async () => {
    await using world = await startGateway();
    const invite = await mint(await world.operator(), { ttlMs: 60_000 });
    world.runtime.advance(60_000);
    const { error } = await refusal(world, withInvite(invite));
    expect(error?.message).toMatch(/the invite expired at \S+Z$/u);
    expect(at(error?.details, "inviteState")).toBe("expired");
    expect(world.gateway.devices()).toEqual([]);
  });

  test("withdrawn", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const invite = await mint(operator);
    await operator.call("device.pair.setupWithdraw", { setupId: invite.id });
    const { error } = await refusal(world, withInvite(invite));
    expect(error?.message).toMatch(/the invite was withdrawn at/u);
  });

  test("for another key; the right one gets in afterwards", async () => {
    await using world = await startGateway();
    const device = makeDevice();
    const invite = await mint(await world.operator(), { forDeviceId: device.id });
    const { error } = await refusal(world, withInvite(invite));
    expect(error?.message).toContain(`for another key (device ${device.id.slice(0, 8)})`);
    await world.admitted(withInvite(invite, { device }));
  });

  test("unknown, as for whoever guesses", async () => {
    await using world = await startGateway();
    const { error } = await refusal(world, withInvite({ secret: "x".repeat(43) }));
    expect(at(error?.details, "authReason")).toBe("bootstrap_token_unknown");
  });

  test.each<[name: string, more: RawConnect]>([
    ["shown for another role", { role: "operator", clientId: "cli", mode: "cli", scopes: ["operator.read"] }],
    ["shown without a device", { device: undefined }],
    [
      "shown without a device by one of the gateway's own clients, for scopes",
      { device: undefined, role: "operator", clientId: "gateway-client", mode: "backend", scopes: ["operator.admin"] },
    ],
  ])("%s, and it stays good", async (_name, more) => {
    await using world = await startGateway();
    const invite = await mint(await world.operator());
    const { ok, error } = await refusal(world, withInvite(invite, more));
    expect({ ok, code: at(error?.details, "code") }).toEqual({ ok: false, code: "AUTH_BOOTSTRAP_TOKEN_INVALID" });
    await world.admitted(withInvite(invite));
  });
});

describe("the device that used it", () => {
  test("may come back with it when its answer was lost, and finds the same token", async () => {
    await using world = await startGateway();
    const invite = await mint(await world.operator());
    const connect = withInvite(invite);
    const tokens: string[] = [];
    for (let time = 0; time < 2; time++) {
      const { client, response } = await world.connect(connect);
      tokens.push(textAt(response.payload, "auth", "deviceToken"));
      client.socket.terminate();
    }
    expect(tokens[0]).toBe(tokens[1]);
  });

  test("may not, once it was removed or its role was taken away", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const removed = makeDevice();
    const first = await mint(operator);
    await world.admitted(withInvite(first, { device: removed }));
    await operator.call("device.pair.remove", { deviceId: removed.id });
    expect((await refusal(world, withInvite(first, { device: removed }))).error?.message).toContain("was removed");
    const revoked = makeDevice();
    const second = await mint(operator);
    await world.admitted(withInvite(second, { device: revoked }));
    await operator.call("device.token.revoke", { deviceId: revoked.id, role: "node" });
    expect((await refusal(world, withInvite(second, { device: revoked }))).error?.message).toContain("was removed");
  });

  test("gets back what was revoked by a new invite", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const device = makeDevice();
    await world.admitted(withInvite(await mint(operator), { device }));
    await operator.call("device.token.revoke", { deviceId: device.id, role: "node" });
    const node = await world.admitted(withInvite(await mint(operator), { device }));
    expect(node.messages.items.find(({ type }) => type === "res")?.payload).toMatchObject({
      snapshot: { node: { approvalState: "approved" } },
    });
  });
});

describe("looking at one", () => {
  const looker = (secret: string): RawConnect => ({
    device: undefined,
    role: "operator",
    clientId: "openclaw-probe",
    mode: "probe",
    auth: { bootstrapToken: secret },
  });

  test("tells all but the secret, uses nothing up, and opens nothing else", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const invite = await mint(operator, { displayName: "kitchen", commands: ["system.which"], ttlMs: 60_000 });
    const client = await world.admitted(looker(invite.secret));
    const seen = await client.call("device.pair.setupInspect", { bootstrapToken: invite.secret });
    expect(seen).toMatchObject({
      setupId: invite.id,
      state: "open",
      role: "node",
      url: publicUrl,
      displayName: "kitchen",
      commands: ["system.which"],
    });
    expect(JSON.stringify(seen)).not.toContain("Hash");
    for (const method of ["device.pair.list", "node.list", "device.pair.setupList", "device.pair.setupCode"]) {
      expect(await client.refused(method, {})).toMatchObject({ code: "FORBIDDEN" });
    }
    expect(await client.refused("device.pair.setupInspect", { bootstrapToken: "x".repeat(43) })).toMatchObject({
      details: { code: "UNKNOWN_INVITE" },
    });
    await world.admitted(withInvite(invite));
    const after = await operator.call("device.pair.setupInspect", { bootstrapToken: invite.secret });
    expect(after).toMatchObject({ state: "used", reason: expect.stringMatching(/^the invite was used at/u) });
  });

  test("at a dead one is refused with the reason", async () => {
    await using world = await startGateway();
    const invite = await mint(await world.operator());
    world.runtime.advance(600_000);
    expect((await refusal(world, looker(invite.secret))).error?.message).toContain("the invite expired at");
  });
});

describe("making one", () => {
  test("takes operator.admin, and so do listing and withdrawing", async () => {
    await using world = await startGateway();
    const operator = await world.operator(["operator.pairing", "operator.write"]);
    for (const method of [
      "device.pair.setupCode",
      "device.pair.setupStatus",
      "device.pair.setupList",
      "device.pair.setupWithdraw",
    ]) {
      const params = { publicUrl, setupId: "x" };
      expect(await operator.refused(method, method === "device.pair.setupCode" ? { publicUrl } : params)).toMatchObject(
        {
          code: "FORBIDDEN",
        },
      );
    }
  });

  test("answers in the product's words, and lives ten minutes", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const made = await operator.call("device.pair.setupCode", { publicUrl: "wss://gateway.example/claw" });
    const nowMs = world.runtime.now();
    expect(made).toEqual({
      setupId: expect.any(String),
      setupCode: expect.stringMatching(/^[\w-]+$/u),
      gatewayUrl: "wss://gateway.example/claw",
      auth: "token",
      urlSource: "publicUrl",
      access: "node",
      expiresAtMs: expect.any(Number),
    });
    const leftMs = Number(at(made, "expiresAtMs")) - nowMs;
    expect(leftMs).toBeGreaterThan(590_000);
    expect(leftMs).toBeLessThanOrEqual(600_000);
  });

  test("needs to be told an address where the gateway listens on loopback only", async () => {
    await using world = await startGateway();
    expect(await (await world.operator()).refused("device.pair.setupCode", {})).toMatchObject({
      details: { code: "PUBLIC_URL_REQUIRED" },
    });
  });

  test.each<[name: string, params: object]>([
    ["for a web server's address", { publicUrl: "https://gateway.example" }],
    ["for an address with a password in it", { publicUrl: "wss://u:p@gateway.example" }],
    ["with a pin for an address without TLS", { tlsFingerprint: "ab".repeat(32) }],
    ["of another profile", { bootstrapProfile: "limited" }],
    ["that lives for a month", { ttlMs: 30 * 86_400_000 }],
    ["for half a device id", { forDeviceId: "abcd" }],
  ])("is refused %s", async (_name, params) => {
    await using world = await startGateway();
    const operator = await world.operator();
    expect(await operator.refused("device.pair.setupCode", { publicUrl, ...params })).toMatchObject({
      code: "INVALID_REQUEST",
    });
    expect(listAt(await operator.call("device.pair.setupList"), "invites")).toEqual([]);
  });

  test("puts the gateway's own certificate into the code where the address is its own", async () => {
    const { fingerprint, ...tls } = createCertificate("DNS:localhost", "IP:127.0.0.1");
    const pin = fingerprint.replaceAll(":", "").toLowerCase();
    await using world = await startGateway({ tls });
    await using operator = await connectGateway({
      gateway: { url: world.url, tlsFingerprint: pin },
      client: { id: "gateway-client", mode: "backend", version: "1", platform: "linux" },
      role: "operator",
      scopes: ["operator.admin"],
      credential: { kind: "token", secret: new Secret(sharedToken) },
      timeoutMs: 20_000,
    });
    const pinFor = async (params: { publicUrl: string; tlsFingerprint?: string }) =>
      at(readSetupCode((await operator.call("device.pair.setupCode", params)).setupCode), "code", "tlsFingerprint");
    expect(await pinFor({ publicUrl: `wss://gateway.example:${world.gateway.port}` })).toBe(pin);
    expect(await pinFor({ publicUrl: "wss://proxy.example" })).toBeUndefined();
    const proxys = "cd".repeat(32);
    expect(await pinFor({ publicUrl: "wss://proxy.example", tlsFingerprint: proxys })).toBe(proxys);
  });

  test("ends at 256 that wait, until some are withdrawn", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    const made = await Promise.all(Array.from({ length: 256 }, () => mint(operator)));
    expect((await operator.refused("device.pair.setupCode", { publicUrl })).message).toContain("256 invites wait");
    await operator.call("device.pair.setupWithdraw", { setupId: made[0]?.id });
    await mint(operator);
  });
});

test("they are listed newest first, with what became of them, and withdrawn once", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const used = await mint(operator);
  world.runtime.advance(1000);
  const withdrawn = await mint(operator, { displayName: "cellar" });
  await world.admitted(withInvite(used));
  await operator.call("device.pair.setupWithdraw", { setupId: withdrawn.id });
  const { invites } = (await operator.call("device.pair.setupList")) as { invites: object[] };
  expect(invites).toMatchObject([
    { setupId: withdrawn.id, state: "withdrawn", displayName: "cellar" },
    { setupId: used.id, state: "used", usedBy: expect.any(String) },
  ]);
  for (const [{ id }, code] of [
    [used, "INVITE_ENDED"],
    [withdrawn, "INVITE_ENDED"],
    [{ id: "nobody's" }, "UNKNOWN_INVITE"],
  ] as const) {
    expect(await operator.refused("device.pair.setupWithdraw", { setupId: id })).toMatchObject({ details: { code } });
  }
});

test("neither the store nor the log holds the secret, and the audit says who made and who used it", async () => {
  using store = temporaryStore();
  let secret = "";
  {
    await using world = await startGateway({ store: store.path });
    const operator = await world.operator();
    const invite = await mint(operator);
    secret = invite.secret;
    await world.admitted(withInvite(invite));
    await refusal(world, withInvite(invite));
    const told = JSON.stringify([world.runtime.lines.items, world.decisions.items]);
    expect(told).not.toContain(secret);
    expect(told).not.toContain(invite.code);
  }
  await using records = await openSqliteStore(store.path);
  const kept = JSON.stringify([[...(await records.all("invites"))], await records.tail("audit", 100)]);
  expect(kept).not.toContain(secret);
  expect(kept).toContain('"action":"invite.make"');
  expect(kept).toContain('"action":"invite.use"');
  expect(kept).toContain('"action":"surface.approve","via":"bootstrap"');
});

test("it outlives a restart of the gateway", async () => {
  using store = temporaryStore();
  let invite: Invite;
  {
    await using world = await startGateway({ store: store.path });
    invite = await mint(await world.operator());
  }
  await using world = await startGateway({ store: store.path });
  await world.admitted(withInvite(invite));
  expect(world.gateway.devices()).toHaveLength(1);
});

describe("who guesses", () => {
  const guess = { secret: "x".repeat(43) };
  const limits = { maxAttempts: 3, attemptWindowMs: 60_000, lockoutMs: 300_000 };
  // A forwarded connection: nobody can show that it is the gateway's own user.
  const afar = { "X-Forwarded-For": "192.0.2.7" };

  test("is locked out for a while, also with a right one; a dead one is no guess", async () => {
    await using world = await startGateway({ limits });
    const invite = await mint(await world.operator());
    for (let time = 0; time < limits.maxAttempts; time++) {
      const { error } = await refusal(world, withInvite(guess), afar);
      expect(at(error?.details, "code")).toBe("AUTH_BOOTSTRAP_TOKEN_INVALID");
    }
    const { error } = await refusal(world, withInvite(invite), afar);
    expect(error).toMatchObject({
      retryable: true,
      retryAfterMs: expect.any(Number),
      details: { code: "AUTH_RATE_LIMITED" },
    });
    world.runtime.advance(limits.lockoutMs);
    expect((await world.connect(withInvite(invite), afar)).response.ok).toBe(true);
    for (let time = 0; time <= limits.maxAttempts; time++) {
      expect(at((await refusal(world, withInvite(invite), afar)).error?.details, "inviteState")).toBe("used");
    }
  });

  test("slowly is not locked out, and a right one takes the wrong ones back", async () => {
    await using world = await startGateway({ limits });
    const operator = await world.operator();
    for (let time = 0; time < 5; time++) {
      await refusal(world, withInvite(guess), afar);
      world.runtime.advance(limits.attemptWindowMs / 2 + 1);
    }
    await refusal(world, withInvite(guess), afar);
    expect((await world.connect(withInvite(await mint(operator)), afar)).response.ok).toBe(true);
    await refusal(world, withInvite(guess), afar);
    await refusal(world, withInvite(guess), afar);
    expect((await world.connect(withInvite(await mint(operator)), afar)).response.ok).toBe(true);
  });

  test.each([
    ["direct", "the gateway's own user is never locked out", "out: bootstrap-invalid"],
    ["listening", "who may be passing on somebody else's words is", "out: rate-limited"],
  ])("%s: %s", async (mode, _name, want) => {
    await using world = await startGateway({ limits: { ...limits, maxAttempts: 1 } });
    const invite = await mint(await world.operator());
    await refusal(world, withInvite(guess));
    // It asks as an operator, for which no invite is good: it is heard, or it is not.
    const words = [caller, world.url, invite.secret, mode, "bootstrapToken"];
    const { stdout } = await promisify(execFile)(process.execPath, words);
    expect(stdout.trim()).toBe(want);
  });
});
