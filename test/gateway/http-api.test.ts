/** The HTTP API (auth.md § 7): who is let in by which credential, what each may, what the answers say, and what web pages may ask. */
import { expect, test } from "vitest";
import type { GatewayOptions } from "../../src/gateway/options.ts";
import { makeDevice, type RawDevice } from "../support/raw-client.ts";
import { sharedToken, startGateway, temporaryStore, type World } from "../support/world.ts";

const password = "password-of-the-test-gateway";
const bearer = (value: string) => ({ Authorization: `Bearer ${value}` });
const own = (value: string) => ({ "X-OpenClaw-Token": value });
/** Without the rule that lets a proven local caller in, which these tests' own process may be. */
const withToken: GatewayOptions = { auth: { token: sharedToken, loopback: false } };
const withPassword: GatewayOptions = { auth: { mode: "password", password, loopback: false } };

interface Asked {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly code: string | undefined;
}

async function ask(world: World, path: string, headers: Readonly<Record<string, string>> = {}, method = "GET") {
  const response = await fetch(world.httpUrl + path, { method, headers });
  const text = await response.text();
  const code = response.ok || text === "" ? undefined : (JSON.parse(text) as { error: { code: string } }).error.code;
  const asked: Asked = { status: response.status, headers: response.headers, text, code };
  return asked;
}

test.each<[string, GatewayOptions, Record<string, string>]>([
  ["the token as a bearer", withToken, bearer(sharedToken)],
  ["the token in X-OpenClaw-Token", withToken, own(sharedToken)],
  ["the token in both", withToken, { ...bearer(sharedToken), ...own(sharedToken) }],
  ["a bearer scheme in another case", withToken, { Authorization: `bEARER  ${sharedToken} ` }],
  ["the token, beside somebody else's bearer", withToken, { ...bearer("sk-of-another"), ...own(sharedToken) }],
  ["the token, beside somebody else's Basic", withToken, { Authorization: "Basic eDp5", ...own(sharedToken) }],
  ["the password as a bearer", withPassword, bearer(password)],
  ["the password in X-OpenClaw-Token", withPassword, own(password)],
  ["either, where no mode is set", { auth: { token: sharedToken, password } }, bearer(password)],
  ["nothing, where authentication is off", { auth: { mode: "none" } }, {}],
])("%s opens everything", async (_name, options, headers) => {
  await using world = await startGateway(options);
  expect((await ask(world, "/ready", headers)).status).toBe(200);
  expect((await ask(world, "/metrics", headers)).status).toBe(200);
  expect(world.decisions.items).toEqual([]);
});

test.each<[string, GatewayOptions, Record<string, string>, string]>([
  ["nothing, from elsewhere", withToken, { "X-Forwarded-For": "192.0.2.1" }, "authorization_missing"],
  ["an empty X-OpenClaw-Token", withToken, own(""), "authorization_missing"],
  ["a wrong bearer", withToken, bearer("wrong"), "authorization_mismatch"],
  ["a wrong X-OpenClaw-Token", withToken, own("wrong"), "authorization_mismatch"],
  ["the token with a letter more", withToken, bearer(`${sharedToken}x`), "authorization_mismatch"],
  ["no bearer", withToken, { Authorization: "Basic eDp5" }, "authorization_malformed"],
  [
    "a right bearer beside a wrong token",
    withToken,
    { ...bearer(sharedToken), ...own("wrong") },
    "authorization_differs",
  ],
  [
    "the token where the mode is password",
    { auth: { ...withPassword.auth, token: sharedToken } },
    bearer(sharedToken),
    "authorization_mismatch",
  ],
  ["anything where authentication is off", { auth: { mode: "none" } }, bearer("x"), "authorization_mismatch"],
])("%s is answered with 401, and with one line that says why", async (_name, options, headers, code) => {
  await using world = await startGateway(options);
  for (const path of ["/ready", "/metrics", "/v1/models"]) {
    const asked = await ask(world, path, headers);
    expect(asked).toMatchObject({ status: 401, code });
    expect(asked.headers.get("www-authenticate")).toBe("Bearer");
    expect(JSON.parse(asked.text)).toEqual({
      error: { message: expect.any(String), type: "unauthorized", code },
    });
  }
  expect(world.decisions.items).toHaveLength(3);
  const [line] = world.runtime.lines.items;
  expect(line).toMatchObject({ level: "warn", message: "auth failed", fields: { code: "HTTP 401", reason: code } });
  expect(line?.fields["trace"]).toContain("authentication:refused");
  expect(JSON.stringify(world.runtime.lines.items)).not.toContain(sharedToken);
});

test("without authentication, a caller under another name or through a proxy holds no scope", async () => {
  await using world = await startGateway({ auth: { mode: "none" } });
  const asked = await ask(world, "/metrics", { "X-Forwarded-For": "192.0.2.1" });
  expect(asked).toMatchObject({ status: 403, code: "missing_scope" });
});

const approveByHand = { autoApproveOperators: "never" } as const;

/** The device token of an operator that was approved for these scopes. */
function operatorToken(world: World, scopes: readonly string[], device: RawDevice = makeDevice()): Promise<string> {
  return world.pair({ device, role: "operator", clientId: "openclaw-tui", mode: "ui", scopes });
}

test("a device token is a bearer with the scopes that it was issued with", async () => {
  await using world = await startGateway({ ...withToken, pairing: approveByHand });
  const reader = await operatorToken(world, ["operator.read"]);
  const pairer = await operatorToken(world, ["operator.pairing"]);
  for (const headers of [bearer(reader), own(reader)]) {
    expect((await ask(world, "/metrics", headers)).status).toBe(200);
  }
  expect((await ask(world, "/ready", bearer(pairer))).status).toBe(200);
  const asked = await ask(world, "/metrics", bearer(pairer));
  expect(asked).toMatchObject({ status: 403, code: "missing_scope" });
  expect(JSON.parse(asked.text)).toMatchObject({
    error: { message: "missing scope: operator.read", type: "forbidden" },
  });
  expect(asked.headers.get("www-authenticate")).toBe('Bearer error="insufficient_scope", scope="operator.read"');
});

test("a node's token shows who it is, and holds no scope", async () => {
  await using world = await startGateway(withToken);
  const { deviceToken } = await world.node();
  expect((await ask(world, "/ready", bearer(deviceToken))).status).toBe(200);
  expect(await ask(world, "/metrics", bearer(deviceToken))).toMatchObject({ status: 403, code: "missing_scope" });
});

test("a device token that was revoked is a wrong one", async () => {
  await using world = await startGateway({ ...withToken, pairing: approveByHand });
  const device = makeDevice();
  const token = await operatorToken(world, ["operator.read"], device);
  const owner = await world.operator();
  await owner.call("device.token.revoke", { deviceId: device.id, role: "operator" });
  expect(await ask(world, "/metrics", bearer(token))).toMatchObject({ status: 401, code: "authorization_mismatch" });
});

test("of a token that was rotated, the generations work that are alive", async () => {
  await using world = await startGateway({ ...withToken, pairing: approveByHand });
  const device = makeDevice();
  const old = await operatorToken(world, ["operator.read"], device);
  const owner = await world.operator();
  const rotated = { deviceId: device.id, role: "operator", overlapMs: 60_000 };
  await owner.call("device.token.rotate", rotated);
  expect((await ask(world, "/metrics", bearer(old))).status).toBe(200);
  world.runtime.advance(60_000);
  expect((await ask(world, "/metrics", bearer(old))).status).toBe(401);
});

test("a revocation by another process counts for the next request", async () => {
  using store = temporaryStore();
  await using world = await startGateway({ ...withToken, pairing: approveByHand, store: store.path });
  await using other = await startGateway({ ...withToken, store: store.path });
  const device = makeDevice();
  const token = await operatorToken(world, ["operator.read"], device);
  expect((await ask(other, "/metrics", bearer(token))).status).toBe(200);
  const owner = await world.operator();
  await owner.call("device.token.revoke", { deviceId: device.id, role: "operator" });
  expect((await ask(other, "/metrics", bearer(token))).status).toBe(401);
});

test.each(["/metrics", "/ready"])("%s is there to be read", async (path) => {
  await using world = await startGateway();
  for (const method of ["POST", "DELETE", "OPTIONS"]) {
    const asked = await ask(world, path, own(sharedToken), method);
    expect(asked).toMatchObject({ status: 405, code: "method_not_allowed" });
    expect(asked.headers.get("allow")).toBe("GET, HEAD");
  }
  const head = await ask(world, path, own(sharedToken), "HEAD");
  expect([head.status, head.text]).toEqual([200, ""]);
});

/** Samples of the text format, by name and labels. */
async function metrics(world: World): Promise<ReadonlyMap<string, number>> {
  const { text, headers } = await ask(world, "/metrics", own(sharedToken));
  expect(headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const known = new Set<string>();
  const samples = new Map<string, number>();
  for (const line of text.trimEnd().split("\n")) {
    const type = /^# TYPE (\w+) (?:gauge|counter)$/u.exec(line)?.[1];
    if (type !== undefined) known.add(type);
    if (line.startsWith("#")) continue;
    const [, name = "", labels = "", value] =
      /^(\w+)((?:\{\w+="(?:[^"\\]|\\.)*"(?:,\w+="(?:[^"\\]|\\.)*")*\})?) ([\d.e+]+)$/u.exec(line) ?? [];
    expect(known).toContain(name);
    samples.set(name + labels, Number(value));
  }
  return samples;
}

test("the metrics say what the gateway has seen", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const node = await world.node();
  await world.connect({ device: makeDevice(), auth: { token: "wrong" } });
  await world.connect({ device: makeDevice(), auth: { token: sharedToken } });
  await expect(world.open(bearer("wrong"))).rejects.toThrow("HTTP 401");
  const invoke = operator.call("node.invoke", {
    nodeId: node.device.id,
    command: "system.which",
    idempotencyKey: "once",
  });
  const { payload } = await node.client.event("node.invoke.request");
  const { id, nodeId } = payload as { id: string; nodeId: string };
  await node.client.call("node.invoke.result", { id, nodeId, ok: true, payload: {} });
  await invoke;
  await ask(world, "/nowhere", own(sharedToken));
  const seen = await metrics(world);
  const expected = {
    'openclaw_sessions{role="operator"}': 1,
    'openclaw_sessions{role="node"}': 1,
    openclaw_devices: 1,
    openclaw_pairing_requests: 1,
    openclaw_rate_limited_total: 0,
    'openclaw_handshakes_total{outcome="refused",code="AUTH_TOKEN_MISMATCH"}': 1,
    'openclaw_handshakes_total{outcome="refused",code="PAIRING_REQUIRED"}': 2,
    'openclaw_handshakes_total{outcome="refused",code="HTTP 401"}': 1,
    'openclaw_handshakes_total{outcome="admitted",code=""}': 3,
    'openclaw_invokes_total{outcome="ok"}': 1,
    'openclaw_http_requests_total{route="",status="404"}': 1,
  };
  expect(Object.fromEntries(seen)).toMatchObject(expected);
  expect(seen.get("openclaw_uptime_seconds")).toBeGreaterThanOrEqual(0);
  expect((await metrics(world)).get('openclaw_http_requests_total{route="/metrics",status="200"}')).toBe(1);
});

test("what a stranger asks for makes no metric of its own", async () => {
  await using world = await startGateway(withToken);
  for (let at = 0; at < 20; at++) await ask(world, `/path-${at}`);
  const seen = [...(await metrics(world))].filter(([name]) => name.startsWith("openclaw_http_requests_total"));
  expect(seen).toEqual([['openclaw_http_requests_total{route="",status="401"}', 20]]);
});

const page = "https://chat.example";
const withPage: GatewayOptions = { ...withToken, allowedOrigins: [page] };

test("a page of an allowed origin may ask, and may read answers and refusals alike", async () => {
  await using world = await startGateway(withPage);
  for (const [headers, status] of [
    [own(sharedToken), 200],
    [own("wrong"), 401],
  ] as const) {
    const asked = await ask(world, "/ready", { ...headers, Origin: page });
    expect(asked.status).toBe(status);
    expect(asked.headers.get("access-control-allow-origin")).toBe(page);
    expect(asked.headers.get("vary")).toBe("Origin");
  }
});

test("the browser's own question before such a request is answered without a credential", async () => {
  await using world = await startGateway(withPage);
  const preflight = {
    Origin: page,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
  };
  const asked = await ask(world, "/v1/chat/completions", preflight, "OPTIONS");
  expect([asked.status, asked.text]).toEqual([204, ""]);
  expect(asked.headers.get("access-control-allow-origin")).toBe(page);
  expect(asked.headers.get("access-control-allow-methods")).toContain("POST");
  expect(asked.headers.get("access-control-allow-headers")).toBe("authorization,content-type");
});

test.each<[string, Record<string, string>]>([
  ["another origin", { Origin: "https://elsewhere.example" }],
  ["an origin that is hidden", { Origin: "null" }],
  ["the same host on another port", { Origin: "http://127.0.0.1:1" }],
  ["another site, which only loads something", { "Sec-Fetch-Site": "cross-site" }],
  ["a neighbouring site, which only loads something", { "Sec-Fetch-Site": "same-site" }],
])("a page of %s is told no, whatever it knows", async (_name, headers) => {
  await using world = await startGateway(withPage);
  for (const method of ["GET", "POST", "OPTIONS"]) {
    const asked = await ask(world, "/ready", { ...own(sharedToken), ...headers }, method);
    expect(asked).toMatchObject({ status: 403, code: "origin_not_allowed" });
    expect(asked.headers.get("access-control-allow-origin")).toBeNull();
  }
  expect(world.runtime.lines.items[0]?.fields["trace"]).toContain("origin:refused");
});

test("the gateway's own pages and what comes from no page may ask", async () => {
  await using world = await startGateway(withToken);
  for (const headers of [
    { Origin: world.httpUrl },
    { "Sec-Fetch-Site": "same-origin" },
    { "Sec-Fetch-Site": "none" },
  ]) {
    expect((await ask(world, "/ready", { ...own(sharedToken), ...headers })).status).toBe(200);
  }
});
