/** Every refusal leaves one line and one decision, and both say the whole way to it, step by step: the last step is the one that refused. */
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { expect, test } from "vitest";
import type { GatewayOptions } from "../../src/gateway/options.ts";
import { makeDevice, type RawConnect, UpgradeRefused } from "../support/raw-client.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";

const device = makeDevice();
const auth = { token: sharedToken };
const methods = [
  "local",
  "device-token",
  "token",
  "password",
  "tailscale",
  "trusted-proxy",
  "bootstrap-token",
  "internal",
  "none",
];
const untilProof = ["upgrade:passed", "frame:accepted", "params:accepted", "protocol:accepted", "role:accepted"];

/** The one decision and the one line of a refusal; the trace in short, and its last step in full. */
function refusalOf(world: World) {
  const lines = world.runtime.lines.items.filter(({ level }) => level === "warn" || level === "error");
  const [decision] = world.decisions.items;
  if (decision === undefined) throw new Error("nothing was decided");
  expect(world.decisions.items).toHaveLength(1);
  expect(lines).toHaveLength(1);
  const { trace, code, reason } = decision;
  const steps = trace.map(({ method, outcome }) => `${method}:${outcome}`);
  const text = trace.map((step) => `${step.method}:${step.outcome}(${step.reason})`).join(", ");
  expect(lines[0]?.fields).toMatchObject({ conn: decision.connId, code, reason, trace: text });
  return { message: lines[0]?.message, code, steps, last: trace.at(-1)?.reason };
}

interface Refused {
  readonly connect: RawConnect;
  readonly headers?: Readonly<Record<string, string>>;
  readonly steps: readonly string[];
  readonly last: string | RegExp;
}

test.each<[name: string, refused: Refused]>([
  [
    "a signature that does not hold",
    {
      connect: { device, auth, deviceFields: { signature: "AAAA" } },
      steps: [...untilProof, "origin:passed", "device-proof:refused"],
      last: "device-signature",
    },
  ],
  [
    "a clock that is two hours off",
    {
      connect: { device, auth, clockAheadMs: 7_200_000 },
      steps: [...untilProof, "origin:passed", "device-proof:refused"],
      last: "device-signature-stale",
    },
  ],
  [
    "a page of another origin",
    {
      connect: { device, auth },
      headers: { Origin: "https://elsewhere.example" },
      steps: [...untilProof, "origin:refused"],
      last: /gateway\.controlUi\.allowedOrigins/u,
    },
  ],
  [
    "a role that does not exist",
    {
      connect: { device, auth, role: "boss" },
      steps: [...untilProof.slice(0, -1), "role:refused"],
      last: 'there is no role "boss"',
    },
  ],
  [
    "a protocol that is not spoken here",
    {
      connect: { device, auth, protocol: [5, 6] },
      steps: [...untilProof.slice(0, 3), "protocol:refused"],
      last: "the client speaks 5 to 6",
    },
  ],
  [
    "params that are not right",
    {
      connect: { device, auth, more: { extra: 1 } },
      steps: [...untilProof.slice(0, 2), "params:refused"],
      last: /^invalid connect params: extra/u,
    },
  ],
])("%s", async (_name, { connect, headers = {}, steps, last }) => {
  await using world = await startGateway();
  const { client } = await world.connect(connect, headers);
  await client.closed;
  const refusal = refusalOf(world);
  expect(refusal).toMatchObject({ message: "auth failed", steps });
  expect(refusal.last).toMatch(last);
});

test("a wrong token ends with what every method says, and what follows from it", async () => {
  await using world = await startGateway();
  await world.connect({ device, auth: { token: "wrong" } });
  const { steps, last } = refusalOf(world);
  expect(steps.slice(-12, -10)).toEqual(["origin:passed", "device-proof:accepted"]);
  expect(steps.slice(-10, -1).map((step) => step.split(":")[0])).toEqual(methods);
  expect([steps.at(-1), last]).toEqual(["authentication:refused", "token_mismatch"]);
});

test("an unknown invite says what it was worth, among all the others", async () => {
  await using world = await startGateway();
  await world.connect({ device, auth: { bootstrapToken: "x".repeat(43) } });
  const { steps, last } = refusalOf(world);
  expect(steps).toContain("bootstrap-token:wrong");
  expect([steps.at(-1), last]).toEqual(["authentication:refused", "bootstrap_token_unknown"]);
});

test("whoever guesses at invites ends before anything more is tried", async () => {
  await using world = await startGateway({ limits: { maxAttempts: 1 } });
  const guess = { device, auth: { bootstrapToken: "x".repeat(43) } };
  await world.connect(guess);
  await world.connect(guess, { "X-Forwarded-For": "192.0.2.7" });
  const trace = world.decisions.items[1]?.trace ?? [];
  expect(trace.slice(-2)).toMatchObject([
    { method: "device-proof", outcome: "accepted" },
    { method: "limit", outcome: "refused", reason: "too many wrong attempts (bootstrap-token)" },
  ]);
});

test("a device that waits for approval ends at the enrolment, behind everything that let it through", async () => {
  await using world = await startGateway();
  await world.connect({ device, auth }, { Authorization: `Bearer ${sharedToken}` });
  const { message, steps, last } = refusalOf(world);
  expect(message).toBe("enrolment refused");
  expect(steps).toContain("upgrade:accepted");
  expect(steps).toContain("token:accepted");
  expect(steps.at(-1)).toBe("enrolment:refused");
  expect(last).toMatch(/^not-paired/u);
});

test.each<[string, Readonly<Record<string, string>>, string]>([
  ["behind a forwarding header", { "X-Forwarded-For": "203.0.113.7" }, "forwarded"],
  ["through another port", { Host: "127.0.0.1:1" }, "host-port-differs"],
])("an operator %s is told apart from a local one, and the trace says by what", async (_where, headers, test) => {
  await using world = await startGateway();
  const asked = { device, auth, role: "operator", clientId: "openclaw-tui", mode: "ui", scopes: ["operator.read"] };
  await world.connect(asked, headers);
  const [decision] = world.decisions.items;
  expect(decision?.trace).toContainEqual({ method: "local-peer", outcome: "passed", reason: test });
});

test("who is let in has a trace that ends with the enrolment", async () => {
  await using world = await startGateway();
  await world.operator();
  expect(world.decisions.items).toMatchObject([{ outcome: "admitted" }]);
  expect(world.decisions.items[0]?.trace.at(-1)).toMatchObject({ method: "enrolment", outcome: "accepted" });
});

test.each<[string, string, string, string | RegExp]>([
  ["another method", '{"type":"req","id":"1","method":"health"}', "frame", "the first request must be connect"],
  ["a frame that is none", '{"type":"req"}', "frame", /^invalid frame/u],
  ["text that is not JSON", "hello", "frame", "the first message is not JSON"],
  ["a connect without params", '{"type":"req","id":"1","method":"connect"}', "params", /^invalid connect params/u],
])("%s in place of the connect", async (_name, message, gate, why) => {
  await using world = await startGateway();
  const client = await world.open();
  client.sendText(message);
  await client.closed;
  const { steps, last } = refusalOf(world);
  expect(steps.at(-1)).toBe(`${gate}:refused`);
  expect(last).toMatch(why);
});

test("more bytes than a connect may have", async () => {
  await using world = await startGateway();
  const client = await world.open();
  client.sendText("x".repeat(70 * 1024));
  await client.closed;
  expect(refusalOf(world)).toMatchObject({ steps: ["upgrade:passed", "frame:refused"] });
});

test("silence until the deadline", async () => {
  await using world = await startGateway({ limits: { handshakeDeadlineMs: 20 } });
  const client = await world.open();
  await client.closed;
  expect(refusalOf(world)).toMatchObject({
    steps: ["upgrade:passed", "frame:refused"],
    last: "no connect within the handshake deadline",
  });
});

test.each<[string, GatewayOptions, Record<string, string>, string]>([
  ["a wrong bearer", {}, { Authorization: "Bearer wrong" }, "authorization_mismatch"],
  ["none where one is needed", { auth: { token: sharedToken, upgrade: "required" } }, {}, "authorization_missing"],
])("an upgrade with %s: HTTP 401", async (_name, options, headers, why) => {
  await using world = await startGateway(options);
  await expect(world.open(headers)).rejects.toBeInstanceOf(UpgradeRefused);
  expect(refusalOf(world)).toEqual({
    message: "auth failed",
    code: "HTTP 401",
    steps: ["capacity:passed", "upgrade:refused"],
    last: why,
  });
});

test("an upgrade for which there is no room: HTTP 503", async () => {
  await using world = await startGateway({ limits: { maxUnauthenticatedPerAddress: 1 } });
  await world.open();
  await expect(world.open()).rejects.toBeInstanceOf(UpgradeRefused);
  expect(refusalOf(world)).toMatchObject({
    message: "request refused",
    code: "HTTP 503",
    steps: ["capacity:refused"],
    last: "too_many_unauthenticated",
  });
});

test.each<[string, string, string, number, string]>([
  ["a path that does not exist", "GET", "/devices?token=secret", 404, "unknown_path"],
  ["a method that does not exist", "DELETE", "/health", 405, "method_not_allowed"],
])("%s", async (_name, method, path, status, why) => {
  await using world = await startGateway();
  const response = await fetch(world.httpUrl + path, { method, headers: { "X-OpenClaw-Token": sharedToken } });
  expect(response.status).toBe(status);
  const { code, steps, last } = refusalOf(world);
  expect([code, steps.at(-1), last]).toEqual([`HTTP ${status}`, "http:refused", why]);
  expect(world.runtime.lines.items.at(-1)?.fields).toMatchObject({ method, path: path.split("?")[0] });
  expect(JSON.stringify(world.runtime.lines.items)).not.toContain("secret");
});

test.each<[string, string]>([
  ["bytes that are no HTTP", "hello\r\n\r\n"],
  ["an upgrade to something else", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
  ["an upgrade without a key", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
])("%s: HTTP 400", async (_name, request) => {
  await using world = await startGateway();
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  socket.end(request);
  socket.resume();
  await once(socket, "close");
  expect(refusalOf(world)).toMatchObject({ message: "request refused", code: "HTTP 400", steps: ["http:refused"] });
});
