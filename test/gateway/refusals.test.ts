/** Every way to be turned away: what the client is told, how the connection ends, and the one line and one decision it leaves. */
import { createPublicKey } from "node:crypto";
import { connect as dial } from "node:net";
import { expect, test } from "vitest";
import type { GatewayOptions } from "../../src/gateway/options.ts";
import { makeDevice, type RawConnect, textAt, UpgradeRefused } from "../support/raw-client.ts";
import { everyScope, sharedToken, startGateway, type World } from "../support/world.ts";

const device = makeDevice();
const token = { token: sharedToken };
const wrong = { token: "wrong" };

interface Refusal {
  readonly gateway?: GatewayOptions;
  readonly connect: RawConnect;
  readonly headers?: Readonly<Record<string, string>>;
  readonly code: string;
  readonly details: string | undefined;
  /** `details.reason` or `details.authReason`. */
  readonly reason?: string;
  readonly close?: number;
  readonly closeReason?: RegExp | string;
  readonly line?: "auth failed" | "enrolment refused";
}

const passwordMode: GatewayOptions = { auth: { mode: "password", password: "right" } };
const clock = (aheadMs: number): RawConnect => ({ device, auth: token, clockAheadMs: aheadMs });
const proof = (deviceFields: Readonly<Record<string, unknown>>): RawConnect => ({ device, auth: token, deviceFields });
const invalidParams = (more: Readonly<Record<string, unknown>>): RawConnect => ({ device, auth: token, more });

const refusals: readonly [name: string, refusal: Refusal][] = [
  // protocol.md § 3
  [
    "an id that is not the key's",
    {
      connect: proof({ id: makeDevice().id }),
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_DEVICE_ID_MISMATCH",
      reason: "device-id-mismatch",
    },
  ],
  [
    "a key that is no key",
    {
      connect: proof({ publicKey: "!!" }),
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_DEVICE_ID_MISMATCH",
      reason: "device-id-mismatch",
    },
  ],
  [
    "a clock 121 s ahead",
    {
      connect: clock(121_500),
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_SIGNATURE_EXPIRED",
      reason: "device-signature-stale",
      closeReason: /12[12] s ahead of/u,
    },
  ],
  [
    "a clock two hours behind",
    {
      connect: clock(-7_200_000),
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_SIGNATURE_EXPIRED",
      reason: "device-signature-stale",
      closeReason: /720\d s behind/u,
    },
  ],
  [
    "no nonce",
    {
      connect: proof({ nonce: "" }),
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_NONCE_REQUIRED",
      reason: "device-nonce-missing",
    },
  ],
  [
    "another nonce",
    {
      connect: proof({ nonce: "11fda516-c7f1-4317-be2e-66b937fe9f4c" }),
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_NONCE_MISMATCH",
      reason: "device-nonce-mismatch",
    },
  ],
  [
    "a signature of something else",
    {
      connect: proof({ signature: Buffer.alloc(64, 1).toString("base64url") }),
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_SIGNATURE_INVALID",
      reason: "device-signature",
    },
  ],
  [
    "a wrong token under a bad signature: the signature is told",
    {
      connect: { device, auth: wrong, deviceFields: { signature: "AAAA" } },
      code: "INVALID_REQUEST",
      details: "DEVICE_AUTH_SIGNATURE_INVALID",
    },
  ],
  // protocol.md § 4.10
  [
    "no token",
    { connect: { device }, code: "INVALID_REQUEST", details: "AUTH_TOKEN_MISSING", reason: "token_missing" },
  ],
  [
    "a wrong token",
    {
      connect: { device, auth: wrong },
      code: "INVALID_REQUEST",
      details: "AUTH_TOKEN_MISMATCH",
      reason: "token_mismatch",
    },
  ],
  [
    "a wrong token without a device",
    {
      connect: { auth: wrong, role: "operator", clientId: "gateway-client", mode: "backend" },
      code: "INVALID_REQUEST",
      details: "AUTH_TOKEN_MISMATCH",
    },
  ],
  [
    "no password",
    { gateway: passwordMode, connect: { device }, code: "INVALID_REQUEST", details: "AUTH_PASSWORD_MISSING" },
  ],
  [
    "a wrong password",
    {
      gateway: passwordMode,
      connect: { device, auth: { password: "wrong" } },
      code: "INVALID_REQUEST",
      details: "AUTH_PASSWORD_MISMATCH",
    },
  ],
  [
    "no token where none is configured",
    {
      gateway: { auth: { mode: "token" } },
      connect: { device },
      code: "INVALID_REQUEST",
      details: "AUTH_TOKEN_NOT_CONFIGURED",
    },
  ],
  [
    "no password where none is configured",
    {
      gateway: { auth: { mode: "password" } },
      connect: { device },
      code: "INVALID_REQUEST",
      details: "AUTH_PASSWORD_NOT_CONFIGURED",
    },
  ],
  [
    "a device token that nobody issued",
    {
      connect: { device, auth: { deviceToken: "unknown" } },
      code: "INVALID_REQUEST",
      details: "AUTH_DEVICE_TOKEN_MISMATCH",
      reason: "device_token_mismatch",
    },
  ],
  [
    "a node without a device",
    { connect: { auth: token }, code: "NOT_PAIRED", details: "DEVICE_IDENTITY_REQUIRED", line: "enrolment refused" },
  ],
  ["nothing at all", { connect: {}, code: "NOT_PAIRED", details: "DEVICE_IDENTITY_REQUIRED" }],
  [
    "a control UI without a device",
    {
      connect: { auth: token, role: "operator", clientId: "openclaw-control-ui", mode: "ui" },
      code: "INVALID_REQUEST",
      details: "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
      line: "enrolment refused",
    },
  ],
  [
    "a page of another origin",
    {
      connect: { device, auth: token, role: "operator", clientId: "webchat", mode: "webchat" },
      headers: { Origin: "https://elsewhere.example" },
      code: "INVALID_REQUEST",
      details: "CONTROL_UI_ORIGIN_NOT_ALLOWED",
    },
  ],
  [
    "a device nobody approved",
    {
      connect: { device, auth: token },
      code: "NOT_PAIRED",
      details: "PAIRING_REQUIRED",
      reason: "not-paired",
      closeReason: /^pairing required: .+ \(requestId: [0-9a-f-]{36}\)$/u,
      line: "enrolment refused",
    },
  ],
  [
    "an operator's device nobody approved",
    {
      connect: {
        device,
        auth: token,
        role: "operator",
        clientId: "openclaw-tui",
        mode: "ui",
        scopes: ["operator.read"],
      },
      code: "NOT_PAIRED",
      details: "PAIRING_REQUIRED",
      reason: "not-paired",
      line: "enrolment refused",
    },
  ],
  [
    "a protocol from the future",
    {
      connect: { device, auth: token, protocol: [5, 6] },
      code: "INVALID_REQUEST",
      details: "PROTOCOL_MISMATCH",
      close: 1002,
      closeReason: "protocol mismatch",
    },
  ],
  [
    "a protocol from the past",
    {
      connect: { device, auth: token, protocol: [1, 2] },
      code: "INVALID_REQUEST",
      details: "PROTOCOL_MISMATCH",
      close: 1002,
    },
  ],
  [
    "a header and a frame with different tokens",
    {
      connect: { device, auth: wrong },
      headers: { Authorization: `Bearer ${sharedToken}` },
      code: "INVALID_REQUEST",
      details: "AUTH_TOKEN_MISMATCH",
      reason: "header_frame_token_differ",
      closeReason: /different tokens/u,
    },
  ],
  // protocol.md § 2.2, § 2.3
  [
    "an unknown client id",
    {
      connect: { device, auth: token, clientId: "toaster" },
      code: "INVALID_REQUEST",
      details: undefined,
      closeReason: /^invalid connect params: client\.id/u,
    },
  ],
  [
    "an unknown client mode",
    {
      connect: { device, auth: token, mode: "toaster" },
      code: "INVALID_REQUEST",
      details: undefined,
      closeReason: /^invalid connect params: client\.mode/u,
    },
  ],
  [
    "an unknown role",
    {
      connect: { device, auth: token, role: "boss" },
      code: "INVALID_REQUEST",
      details: undefined,
      closeReason: "invalid role",
    },
  ],
  [
    "a field that does not exist",
    {
      connect: invalidParams({ extra: 1 }),
      code: "INVALID_REQUEST",
      details: undefined,
      closeReason: /^invalid connect params: extra/u,
    },
  ],
  [
    "a field of the wrong type",
    {
      connect: invalidParams({ scopes: "all" }),
      code: "INVALID_REQUEST",
      details: undefined,
      closeReason: /^invalid connect params: scopes/u,
    },
  ],
  [
    "no protocol at all",
    {
      connect: invalidParams({ minProtocol: undefined }),
      code: "INVALID_REQUEST",
      details: undefined,
      closeReason: /^invalid connect params: minProtocol/u,
    },
  ],
  [
    "an empty display name",
    {
      connect: { device, auth: token, displayName: "" },
      code: "INVALID_REQUEST",
      details: undefined,
      closeReason: /^invalid connect params: client\.displayName/u,
    },
  ],
];

test.each(refusals)(
  "%s is refused",
  async (
    _name,
    { gateway = {}, connect, headers = {}, close = 1008, closeReason = "", line = "auth failed", ...want },
  ) => {
    await using world = await startGateway(gateway);
    const { client, response } = await world.connect(connect, headers);
    const closed = await client.closed;
    const { code, authReason, reason = authReason } = (response.error?.details ?? {}) as Record<string, string>;

    expect(response.error?.code).toBe(want.code);
    expect(code).toBe(want.details);
    expect(reason).toBe(want.reason ?? reason);
    expect(closed.code).toBe(close);
    expect(Buffer.byteLength(closed.reason)).toBeLessThanOrEqual(120);
    expect(closed.reason).toMatch(closeReason);
    expectOneTrace(world, line, want.details ?? "INVALID_REQUEST");
  },
);

/** One line in the log and one decision, both with the code. */
function expectOneTrace(world: World, line: string, code: string): void {
  const lines = world.runtime.lines.items.filter(({ message }) => /auth failed|enrolment refused/u.test(message));
  expect(lines).toMatchObject([{ level: "warn", message: line, fields: { code, remote: "127.0.0.1" } }]);
  expect(world.decisions.items).toMatchObject([{ outcome: "refused", code }]);
}

test("a refused pairing leaves a trace that says how the device authenticated", async () => {
  await using world = await startGateway();
  await world.connect({ device, auth: token });
  expect(world.decisions.items[0]?.trace).toContainEqual({ method: "token", outcome: "accepted", reason: "matches" });
  expect(world.runtime.lines.items.at(-1)?.fields["trace"]).toContain("token:accepted(matches)");
});

test("a token mismatch of a device says that a stored device token may be tried", async () => {
  await using world = await startGateway();
  const { response } = await world.connect({ device, auth: wrong });
  expect(response.error?.details).toMatchObject({
    canRetryWithDeviceToken: true,
    recommendedNextStep: "retry_with_device_token",
  });
});

test("a device token does not serve another role", async () => {
  await using world = await startGateway();
  const operator = makeDevice();
  const asked = { device: operator, role: "operator", clientId: "openclaw-tui", mode: "ui", scopes: ["operator.read"] };
  const deviceToken = await world.pair(asked);
  const { response } = await world.connect({ device: operator, auth: { deviceToken } });
  expect(response.error?.details).toMatchObject({ code: "AUTH_DEVICE_TOKEN_MISMATCH" });
});

test("a device token does not serve another device", async () => {
  await using world = await startGateway();
  const { deviceToken } = await world.node();
  const { response } = await world.connect({ device: makeDevice(), auth: { deviceToken } });
  expect(response.error?.details).toMatchObject({ code: "AUTH_DEVICE_TOKEN_MISMATCH" });
});

test("a device token that was made narrower does not give what its device is approved for", async () => {
  await using world = await startGateway();
  const asked = { device, role: "operator", clientId: "openclaw-tui", mode: "ui", scopes: everyScope };
  const owner = await world.admitted({ ...asked, auth: { deviceToken: await world.pair(asked) } });
  const scopes = ["operator.read"];
  const rotated = await owner.call("device.token.rotate", { deviceId: device.id, role: "operator", scopes });
  const deviceToken = textAt(rotated, "token");
  const { client, response } = await world.connect({ ...asked, auth: { deviceToken } });
  expect(response.error?.details).toMatchObject({ code: "AUTH_SCOPE_MISMATCH", authReason: "scope_mismatch" });
  expect((await client.closed).code).toBe(1008);
});

test("a device that says it runs on another platform has to be approved again", async () => {
  await using world = await startGateway();
  const { device: node } = await world.node();
  const { response } = await world.connect({ device: node, auth: token, platform: "windows", deviceFamily: "Windows" });
  expect(response.error?.details).toMatchObject({ code: "PAIRING_REQUIRED", reason: "metadata-upgrade" });
});

test.each<[string, RawConnect]>([
  ["protocol 3 only", { protocol: [3, 3] }],
  ["protocol 4 only", { protocol: [4, 4] }],
  ["protocols 3 to 4", { protocol: [3, 4] }],
  ["a range around ours", { protocol: [1, 9] }],
  ["a v2 signature", { payloadVersion: "v2" }],
  ["the key in standard base64", { deviceFields: { publicKey: standardBase64(device.publicKey) } }],
  ["the key as PEM", { deviceFields: { publicKey: pemOf(device.publicKey) } }],
  ["a clock 119 s ahead", { clockAheadMs: 119_000 }],
  ["a clock 119 s behind", { clockAheadMs: -119_000 }],
  ["a platform in other letters", { platform: "  LINUX ", deviceFamily: "LINUX" }],
  ["a token in the header alone", { auth: undefined }],
])("%s is accepted", async (_name, options) => {
  await using world = await startGateway();
  await world.pair({ device });
  const headers: Record<string, string> = "auth" in options ? { Authorization: `Bearer ${sharedToken}` } : {};
  const { response } = await world.connect({ device, auth: token, ...options }, headers);
  expect(response).toMatchObject({
    ok: true,
    payload: { type: "hello-ok", protocol: options.protocol?.[1] === 3 ? 3 : 4 },
  });
  expect(world.decisions.items.at(-1)).toMatchObject({ outcome: "admitted", deviceId: device.id, role: "node" });
});

test("a key sent as PEM is kept as base64url", async () => {
  await using world = await startGateway();
  await world.connect({ device, auth: token, deviceFields: { publicKey: pemOf(device.publicKey) } });
  expect(world.gateway.pending().devices).toMatchObject([{ deviceId: device.id, publicKey: device.publicKey }]);
});

type Where = "header" | "frame" | "both";

test.each<[kind: "token" | "password" | "device-token", where: Where]>(
  (["token", "password", "device-token"] as const).flatMap((kind) =>
    (["header", "frame", "both"] as const).map((where): [typeof kind, Where] => [kind, where]),
  ),
)("a right %s counts in the %s", async (kind, where) => {
  await using world = await startGateway({ auth: { token: sharedToken, password: "right" } });
  const deviceToken = await world.pair({ device });
  const secret = { token: sharedToken, password: "right", "device-token": deviceToken }[kind];
  const field = { token: "token", password: "password", "device-token": "deviceToken" }[kind];
  const headers: Record<string, string> = where === "frame" ? {} : { Authorization: `bearer ${secret}` };
  const { response } = await world.connect(
    { device, auth: where === "header" ? undefined : { [field]: secret } },
    headers,
  );
  expect(response.payload).toMatchObject({ auth: { method: kind } });
});

test.each<[string, GatewayOptions["auth"], Record<string, string>, string]>([
  ["a wrong token, deferred", { upgrade: "deferred" }, { Authorization: "Bearer wrong" }, "authorization_mismatch"],
  ["a wrong token, required", { upgrade: "required" }, { Authorization: "Bearer wrong" }, "authorization_mismatch"],
  ["no token, required", { upgrade: "required" }, {}, "authorization_missing"],
  [
    "another scheme, deferred",
    { upgrade: "deferred" },
    { Authorization: "Basic dXNlcjpwdw==" },
    "authorization_malformed",
  ],
  [
    "another scheme, required",
    { upgrade: "required" },
    { Authorization: "Basic dXNlcjpwdw==" },
    "authorization_malformed",
  ],
])("%s: HTTP 401 before there is a WebSocket", async (_name, auth, headers, code) => {
  await using world = await startGateway({ auth: { token: sharedToken, ...auth } });
  const refused = await world.open(headers).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(refused instanceof UpgradeRefused)) throw new Error("the upgrade was not refused");
  expect(refused.status).toBe(401);
  expect(refused.headers).toMatchObject({
    "www-authenticate": "Bearer",
    "content-type": "application/json",
    "cache-control": "no-store",
    connection: "close",
  });
  expect(JSON.parse(refused.body)).toEqual({
    error: { type: "unauthorized", code, message: expect.any(String), hint: expect.any(String) },
  });
  const lines = world.runtime.lines.items.filter(({ message }) => message.includes("auth failed"));
  expect(lines).toMatchObject([{ fields: { code: "HTTP 401", reason: code } }]);
  expect(JSON.stringify(lines)).not.toContain("wrong");
  expect(world.decisions.items).toMatchObject([{ outcome: "refused", code: "HTTP 401", reason: code }]);
});

test("required lets a right token and a device token through", async () => {
  await using world = await startGateway({ auth: { token: sharedToken, upgrade: "required" } });
  const asked = await world.connect({ device, auth: token }, { Authorization: `Bearer ${sharedToken}` });
  await world.gateway.approve(textAt(asked.response.error?.details, "requestId"));
  const admitted = await world.connect({ device, auth: token }, { Authorization: `Bearer ${sharedToken}` });
  const deviceToken = textAt(admitted.response.payload, "auth", "deviceToken");
  const again = await world.connect({ device, auth: { deviceToken } }, { Authorization: `Bearer ${deviceToken}` });
  expect(again.response.ok).toBe(true);
});

test("an internal client behind a forwarding header keeps no scopes, and is told so", async () => {
  await using world = await startGateway();
  const { client, response } = await world.connect(
    { auth: token, role: "operator", clientId: "cli", mode: "cli", scopes: ["operator.read"] },
    { "X-Forwarded-For": "203.0.113.7" },
  );
  expect(response.payload).toMatchObject({
    auth: { scopes: [], removedScopes: ["operator.read"], removedScopesReason: expect.any(String) },
  });
  const why = textAt(response.payload, "auth", "removedScopesReason");
  expect(await client.refused("node.list")).toMatchObject({ message: `missing scope: operator.read (${why})` });
  expect(await client.refused("device.pair.list")).toMatchObject({ message: "missing scope: operator.pairing" });
});

function standardBase64(key: string): string {
  return Buffer.from(key, "base64url").toString("base64");
}

function pemOf(key: string): string {
  return String(
    createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: key }, format: "jwk" }).export({
      format: "pem",
      type: "spki",
    }),
  );
}

test.each(["Host", "Authorization", "X-OpenClaw-Token"])(
  "an upgrade with two %s headers is nobody's word",
  async (name) => {
    await using world = await startGateway();
    const lines = [
      "GET / HTTP/1.1",
      ...(name === "Host" ? [] : [`Host: 127.0.0.1:${world.gateway.port}`]),
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      `${name}: ${name === "Host" ? `127.0.0.1:${world.gateway.port}` : `Bearer ${sharedToken}`}`,
      `${name}: evil.example`,
    ];
    const socket = dial({ host: "127.0.0.1", port: world.gateway.port });
    socket.end(`${lines.join("\r\n")}\r\n\r\n`);
    const answer = Buffer.concat(await socket.toArray()).toString();
    expect(answer).toMatch(/^HTTP\/1\.1 400 /u);
  },
);
