/** One attempt at one gateway: what a session can do, and what each refusal means for the caller. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { type ConnectOptions, connectGateway } from "../../src/client/connect-gateway.ts";
import { OpenClawError } from "../../src/errors.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import type { EventFrame } from "../../src/protocol/frame.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { Secret } from "../../src/secret.ts";
import { answering, startRawServer } from "../fixtures/raw-server.ts";
import { startHalfGateway } from "./half-gateway.ts";
import { emptySnapshot } from "./scripted-gateway.ts";
import { makeIdentity } from "../support/node-host.ts";
import { deviatesOnPurpose } from "../support/on-purpose.ts";
import { Recorder } from "../support/recorder.ts";
import { startRelay } from "../support/relay.ts";
import { everyScope, sharedToken, startGateway, type World } from "../support/world.ts";

const backend = { id: "gateway-client", mode: "backend", version: "1", platform: "linux" };
const nodeHost = { id: "node-host", mode: "node", version: "1", platform: "linux", deviceFamily: "Linux" };
const secret = (kind: "token" | "password" | "deviceToken", value: string) => ({ kind, secret: new Secret(value) });

function asOperator(url: string, more: Partial<ConnectOptions> = {}): ConnectOptions {
  return {
    gateway: { url },
    client: backend,
    role: "operator",
    scopes: everyScope,
    credential: secret("token", sharedToken),
    timeoutMs: 20_000,
    ...more,
  };
}

function asNode(url: string, more: Partial<ConnectOptions> = {}): ConnectOptions {
  return asOperator(url, { client: nodeHost, role: "node", scopes: [], identity: makeIdentity(), ...more });
}

test("a session says who it is, calls methods and hears events", async () => {
  await using world = await startGateway({ limits: { tickIntervalMs: 20 } });
  const events = new Recorder<EventFrame>();
  await using session = await connectGateway(asOperator(world.url, { onEvent: events.push }));
  expect(session.hello).toMatchObject({ protocol: 4, auth: { role: "operator", method: "token", scopes: everyScope } });
  expect(await session.call("status", {})).toMatchObject({ sessions: { count: 1 } });
  expect(await events.find(({ event }) => event === "tick")).toMatchObject({ payload: { ts: expect.any(Number) } });
  await session.close();
  expect(await session.closed).toMatchObject({ code: 1000 });
});

test("a clock that is two hours off does not matter: the gateway's own time is signed", async () => {
  await using world = await startGateway();
  const runtime = { ...systemRuntime, now: () => Date.now() - 7_200_000 };
  await expect(connectGateway(asNode(world.url, { runtime }))).rejects.toMatchObject({ code: "pairing-required" });
});

test.each<[string, (world: World) => ConnectOptions, string]>([
  ["a wrong token", ({ url }) => asNode(url, { credential: secret("token", "wrong") }), "token-mismatch"],
  ["a wrong password", ({ url }) => asNode(url, { credential: secret("password", "wrong") }), "password-mismatch"],
  [
    "a wrong device token",
    ({ url }) => asNode(url, { credential: secret("deviceToken", "wrong") }),
    "device-token-mismatch",
  ],
  ["no credential", ({ url }) => asNode(url, { credential: undefined }), "credential-missing"],
  ["no device where one is needed", ({ url }) => asNode(url, { identity: undefined }), "device-identity-required"],
  ["a device that waits for approval", ({ url }) => asNode(url), "pairing-required"],
])("%s means the same with and without the header on the upgrade", async (_name, options, code) => {
  await using world = await startGateway({ auth: { token: sharedToken, password: "right" } });
  const asked = options(world);
  for (const sendAuthHeader of [true, false]) {
    await expect(connectGateway({ ...asked, gateway: { url: world.url, sendAuthHeader } })).rejects.toMatchObject({
      code,
    });
  }
});

test("pairing-required carries what a person needs to approve", async () => {
  await using world = await startGateway();
  const identity = makeIdentity();
  const error: unknown = await connectGateway(asNode(world.url, { identity })).catch((thrown: unknown) => thrown);
  const [request] = world.gateway.pending().devices;
  expect(error).toMatchObject({
    details: { requestId: request?.requestId, deviceId: identity.deviceId, reason: "not-paired" },
  });
});

test("no secret is in an error", async () => {
  await using world = await startGateway();
  const error: unknown = await connectGateway(asNode(world.url, { credential: secret("token", "s3cret-value") })).catch(
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Error)) throw new Error("it was let in");
  expect(JSON.stringify([error, error.message, String(error.cause), error.stack])).not.toContain("s3cret-value");
});

test.each([
  ["not-found", "device.pair.approve", { requestId: "nothing" }],
  ["not-found", "node.describe", { nodeId: "nobody" }],
])("a refused request means %s", async (code, method, params) => {
  await using world = await startGateway();
  await using session = await connectGateway(asOperator(world.url));
  await expect(session.request(method, params)).rejects.toMatchObject({ code });
});

test("a request without a parameter that it needs is usage", async () => {
  deviatesOnPurpose({ "device.pair.approve params /requestId is missing": "a library's caller may leave it out" });
  await using world = await startGateway();
  await using session = await connectGateway(asOperator(world.url));
  await expect(session.request("device.pair.approve", {})).rejects.toMatchObject({ code: "usage" });
});

test("a call without its scope is scope-missing", async () => {
  await using world = await startGateway();
  await using session = await connectGateway(asOperator(world.url, { scopes: [] }));
  await expect(session.call("node.list", {})).rejects.toMatchObject({
    code: "scope-missing",
    details: { missingScope: "operator.read" },
  });
});

test("a call may take only so long, and may be given up", async () => {
  await using world = await startGateway();
  await using relay = await startRelay(world.gateway.port);
  const session = await connectGateway(asOperator(relay.url));
  relay.freeze();
  await expect(session.call("health", {}, { timeoutMs: 20 })).rejects.toMatchObject({ code: "timeout" });
  const controller = new AbortController();
  const call = session.call("health", {}, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await expect(call).rejects.toThrow("enough");
  session.terminate();
  await expect(session.call("health", {})).rejects.toMatchObject({ code: "unreachable" });
});

test("calls that wait fail when the connection ends", async () => {
  await using world = await startGateway();
  await using relay = await startRelay(world.gateway.port);
  const session = await connectGateway(asOperator(relay.url));
  relay.freeze();
  const call = session.call("health", {});
  relay.cut();
  await expect(call).rejects.toMatchObject({ code: "unreachable", details: { closeCode: 1006 } });
  expect(await session.closed).toMatchObject({ code: 1006 });
});

test("silence is the end of a session, after it was asked for a sign of life", async () => {
  await using world = await startGateway();
  await using relay = await startRelay(world.gateway.port);
  const session = await connectGateway(asOperator(relay.url, { liveness: { quietMs: 20, pongDeadlineMs: 20 } }));
  relay.freeze();
  expect((await session.closed).code).toBe(1006);
});

/** A server on loopback that behaves as it is told; everything is gone when the scope ends. */
async function misbehave(
  behave: (socket: { send(text: string): void; close(code?: number, reason?: string): void }) => void,
) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", behave);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `ws://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        for (const client of server.clients) client.terminate();
        server.close(() => resolve());
      }),
  };
}

const challenge = '{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}';
const reply = (fields: string) => `{"type":"res","id":"connect",${fields}}`;

test.each<
  [string, (socket: { send(text: string): void; close(code?: number, reason?: string): void }) => void, string]
>([
  ["speaks another language", (socket) => socket.send("hello"), "not-a-gateway"],
  ["sends frames of another shape", (socket) => socket.send('{"protocol":"2.0"}'), "not-a-gateway"],
  ["closes without a word", (socket) => socket.close(), "unreachable"],
  ["restarts", (socket) => socket.close(1012, "service restart"), "starting"],
  ["asks to come later", (socket) => socket.close(1013, "gateway starting"), "starting"],
  ["closes for another version", (socket) => socket.close(1002, "protocol mismatch"), "incompatible"],
  ["closes for a policy", (socket) => socket.close(1008, "no"), "unauthorized"],
  [
    "sends a hello that cannot be read",
    (socket) => (socket.send(challenge), socket.send(reply('"ok":true,"payload":{}'))),
    "protocol",
  ],
  [
    "is still starting",
    (socket) => (
      socket.send(challenge),
      socket.send(reply('"ok":false,"error":{"code":"UNAVAILABLE","message":"gateway starting","retryAfterMs":500}'))
    ),
    "starting",
  ],
  ["refuses without a reason", (socket) => (socket.send(challenge), socket.send(reply('"ok":false'))), "failed"],
])("a server that %s", async (_name, behave, code) => {
  await using server = await misbehave(behave);
  await expect(connectGateway(asOperator(server.url))).rejects.toMatchObject({ code });
});

test.each([
  ["nothing", "challenge", "the gateway's challenge did not come"],
  ["challenge", "hello", "the connect request was not answered"],
] as const)(
  "a gateway that says %s and no more: the time-out says where, and waiting for what",
  async (says, step, what) => {
    await using server = await startHalfGateway({ says });
    const address = `127.0.0.1:${server.port}`;
    await expect(connectGateway(asOperator(server.url, { timeoutMs: 500 }))).rejects.toMatchObject({
      code: "timeout",
      message: expect.stringMatching(new RegExp(`^${address}: .*${what} within 500 ms$`, "u")),
      details: { address, step, timeoutMs: 500 },
    });
  },
);

test("the deadline of a whole command says as much", async () => {
  await using server = await startHalfGateway({ says: "challenge" });
  const command = new AbortController();
  const attempt = connectGateway(asOperator(server.url, { signal: command.signal }));
  void server.called
    .find((method) => method === "connect")
    .then(() => command.abort(new OpenClawError("timeout", "too long", { details: { timeoutMs: 7 } })));
  await expect(attempt).rejects.toMatchObject({
    code: "timeout",
    message: `127.0.0.1:${server.port}: the connect request was not answered within 7 ms`,
    details: { step: "hello", timeoutMs: 7 },
  });
});

test("a call that is not answered says where, and which", async () => {
  await using server = await startHalfGateway({ says: "hello" });
  await using session = await connectGateway(asOperator(server.url, { callDefaults: { timeoutMs: 30 } }));
  await expect(session.call("node.list", {})).rejects.toMatchObject({
    code: "timeout",
    message: `127.0.0.1:${server.port}: node.list was not answered within 30 ms`,
    details: { address: `127.0.0.1:${server.port}`, step: "call node.list", timeoutMs: 30 },
  });
  session.terminate();
});

test("what holds for the calls of a session holds for each that says nothing else", async () => {
  await using server = await startHalfGateway({ says: "hello", answers: { health: { ok: true, ts: 1 } } });
  const stop = new AbortController();
  const session = await connectGateway(asOperator(server.url, { callDefaults: { signal: stop.signal } }));
  expect(await session.call("health", {})).toEqual({ ok: true, ts: 1 });
  const waiting = session.call("node.list", {});
  stop.abort(new Error("Ctrl-C"));
  await expect(waiting).rejects.toThrow("Ctrl-C");
  session.terminate();
});

test("an attempt that is given up ends with the signal's reason, wherever it is", async () => {
  await using server = await misbehave(() => {});
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  for (const url of [server.url, `ws://127.0.0.1:${port}`]) {
    const controller = new AbortController();
    const attempt = connectGateway(asOperator(url, { signal: controller.signal }));
    setImmediate(() => controller.abort(new Error("enough")));
    await expect(attempt).rejects.toThrow("enough");
  }
  silent.close();
});

test("an unreadable frame is a line in the log, not the end of the session", async () => {
  const lines: string[] = [];
  const logged = Promise.withResolvers<void>();
  const runtime = {
    ...systemRuntime,
    log: (_level: string, message: string) => (lines.push(message), logged.resolve()),
  };
  await using server = await misbehave((socket) => {
    socket.send(challenge);
    const hello = {
      type: "hello-ok",
      protocol: 4,
      server: { version: "1", connId: "c" },
      features: { methods: [], events: [] },
      snapshot: emptySnapshot,
      auth: { role: "operator", scopes: [] },
      policy: { maxPayload: 1, maxBufferedBytes: 1, tickIntervalMs: 1 },
    };
    socket.send(reply(`"ok":true,"payload":${JSON.stringify(hello)}`));
    socket.send("not JSON");
  });
  const session = await connectGateway(asOperator(server.url, { runtime }));
  await logged.promise;
  expect(lines).toEqual(["unreadable frame"]);
  await session.close();
});

test("the same key is the same device, wherever it connects from", async () => {
  await using world = await startGateway();
  const identity = createIdentity(Buffer.alloc(32, 5), 0);
  for (let attempt = 0; attempt < 2; attempt++) {
    await expect(connectGateway(asNode(world.url, { identity }))).rejects.toMatchObject({ code: "pairing-required" });
  }
  expect(world.gateway.pending().devices).toHaveLength(1);
});

test.each(["with blanks in it", "pässwörd", "日本"])(
  "a password like %j gets in by the frame alone",
  async (password) => {
    await using world = await startGateway({ auth: { mode: "password", password } });
    await using session = await connectGateway(asOperator(world.url, { credential: secret("password", password) }));
    expect(session.hello.auth?.method).toBe("password");
  },
);

test.each<[what: string, more: Partial<ConnectOptions>, header: boolean]>([
  ["a token", { credential: secret("token", "s3cret") }, false],
  ["a password", { credential: secret("password", "s3cret") }, false],
  ["a device token that was remembered", { credential: secret("deviceToken", "s3cret") }, false],
  ["an edge's header", { credential: undefined }, true],
])("%s leaves over plain ws to this machine only, or where that was allowed", async (_what, more, hasHeader) => {
  await using server = await startRawServer(answering("HTTP/1.1 404 Not Found\r\n\r\n"));
  const headers = hasHeader ? ([["X-Edge", new Secret("s3cret")]] as const) : [];
  // The kernel takes it for loopback; we do not.
  const url = `ws://0.0.0.0:${server.port}`;
  const attempt = (gateway: Partial<ConnectOptions["gateway"]>) =>
    connectGateway(asOperator(url, { ...more, gateway: { url, headers, ...gateway } }));
  const failure = await attempt({}).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "insecure-transport", details: { url } });
  expect(String(failure)).not.toContain("s3cret");
  expect(server.connections).toBe(0);
  await expect(attempt({ insecureWs: true })).rejects.toMatchObject({ code: "not-a-gateway" });
  await expect(attempt({ dialAt: { host: "127.0.0.1", port: server.port } })).rejects.toMatchObject({
    code: "not-a-gateway",
  });
  expect(server.heard.match(/s3cret/gu)).toHaveLength(2);
});
