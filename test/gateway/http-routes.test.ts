/** `gateway.http.routes`: a service behind the gateway's authentication, streamed both ways (auth.md § 7). */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, request as requestHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer, request as requestHttps } from "node:https";
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { platform } from "node:os";
import { text as readAll } from "node:stream/consumers";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Runtime, systemRuntime } from "../../src/runtime.ts";
import { createCertificate } from "../fixtures/certificate.ts";
import { makeDevice } from "../support/raw-client.ts";
import { type Answer, event, startUpstream, streamWords, type Upstream } from "../support/upstream.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";

const bearer = { Authorization: `Bearer ${sharedToken}` };
const auth = { token: sharedToken, loopback: false };

/** A gateway with this service behind `/v1/`. */
function gatewayTo(upstream: Pick<Upstream, "url">, scope?: string): Promise<World> {
  return startGateway({ auth, http: { routes: [{ path: "/v1/", upstream: upstream.url, scope }] } });
}

/** What the gateway writes to raw bytes until it closes the connection. */
async function exchange(world: World, request: string): Promise<string> {
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  socket.write(request, "latin1");
  return readAll(socket);
}

const lines = (...all: readonly string[]) => `${all.join("\r\n")}\r\n\r\n`;

async function codeOf(response: Response): Promise<unknown> {
  return ((await response.json()) as { error: { code: string } }).error.code;
}

test("a chat is asked for and streamed, with the query and the body as they were", async () => {
  await using upstream = await startUpstream(streamWords("Hel", "lo"));
  await using world = await gatewayTo(upstream);
  const body = JSON.stringify({ model: "any", stream: true });
  const response = await fetch(`${world.httpUrl}/v1/chat/completions?trace=a%2Fb&x`, {
    method: "POST",
    headers: { ...bearer, "Content-Type": "application/json" },
    body,
  });
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  expect(await response.text()).toBe(
    [{ choices: [{ delta: { content: "Hel" } }] }, { choices: [{ delta: { content: "lo" } }] }].map(event).join("") +
      "data: [DONE]\n\n",
  );
  const { request } = await upstream.exchange();
  expect([request.method, request.url]).toEqual(["POST", "/v1/chat/completions?trace=a%2Fb&x"]);
  expect(request.headers).toMatchObject({ "content-type": "application/json", "content-length": String(body.length) });
  expect(world.decisions.items).toEqual([]);
});

test("events come through one by one, the head before any of them", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const asking = fetch(`${world.httpUrl}/v1/events`, { headers: bearer });
  const { response: service } = await upstream.exchange();
  service.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
  const { body } = await asking;
  const reader = body?.getReader();
  for (const number of [1, 2, 3]) {
    service.write(event({ number })); // the next one is written when this one was read
    const { value } = (await reader?.read()) ?? {};
    expect(String(Buffer.from(value ?? []))).toBe(event({ number }));
  }
  service.end();
  expect(await reader?.read()).toMatchObject({ done: true });
});

test("a body goes up piece by piece, while the answer comes down", async () => {
  await using upstream = await startUpstream((request, response) => {
    response.writeHead(200).flushHeaders();
    request.pipe(response);
  });
  await using world = await gatewayTo(upstream);
  const up = requestHttp(`${world.httpUrl}/v1/echo`, { method: "POST", headers: bearer });
  up.flushHeaders();
  const [down] = (await once(up, "response")) as [IncomingMessage];
  for (const piece of ["one", "two"]) {
    up.write(piece);
    expect(String((await once(down, "data"))[0])).toBe(piece);
  }
  up.end();
  await once(down, "end");
});

test.each<[string, Record<string, string>]>([
  ["the token", bearer],
  ["X-OpenClaw-Token", { "X-OpenClaw-Token": sharedToken }],
])("%s opens a route, and the service sees none of it", async (_name, headers) => {
  await using upstream = await startUpstream(streamWords());
  await using world = await gatewayTo(upstream);
  expect((await fetch(`${world.httpUrl}/v1/models`, { headers })).status).toBe(200);
  const { request } = await upstream.exchange();
  expect(JSON.stringify(request.rawHeaders)).not.toContain(sharedToken);
  expect(request.headers).toMatchObject({ "x-openclaw-method": "token", host: `127.0.0.1:${upstream.port}` });
  expect(request.headers["x-openclaw-scopes"]).toMatch(/^operator\.admin,/u);
});

test("a password opens a route where the mode is password", async () => {
  await using upstream = await startUpstream(streamWords());
  const routes = [{ path: "/v1", upstream: upstream.url }];
  await using world = await startGateway({ auth: { mode: "password", password: "correct horse" }, http: { routes } });
  const tokens = ["correct horse", "wrong"].map((value) => ({ "X-OpenClaw-Token": value }));
  const statuses = await Promise.all(
    tokens.map(async (headers) => (await fetch(`${world.httpUrl}/v1`, { headers })).status),
  );
  expect(statuses).toEqual([200, 401]);
  const { request } = await upstream.exchange();
  expect(request.headers["x-openclaw-method"]).toBe("password");
  expect(upstream.exchanges.items).toHaveLength(1);
});

test("a device's token shows the service which device it is and what it may", async () => {
  await using upstream = await startUpstream(streamWords());
  await using world = await startGateway({
    auth,
    pairing: { autoApproveOperators: "never" },
    http: { routes: [{ path: "/v1/", upstream: upstream.url, scope: "operator.read" }] },
  });
  const device = makeDevice();
  const scopes = ["operator.read", "operator.pairing"];
  const token = await world.pair({ device, role: "operator", clientId: "openclaw-tui", mode: "ui", scopes });
  await fetch(`${world.httpUrl}/v1/models`, { headers: { Authorization: `Bearer ${token}` } });
  const { request } = await upstream.exchange();
  expect(request.headers).toMatchObject({
    "x-openclaw-method": "device-token",
    "x-openclaw-device": device.id,
    "x-openclaw-scopes": "operator.read,operator.pairing",
  });
  expect(JSON.stringify(request.rawHeaders)).not.toContain(token);
});

test.each([
  [undefined, "operator.write", ["operator.read", "operator.pairing"]],
  ["operator.admin", "operator.admin", ["operator.write"]],
])("a route of scope %s is not for who lacks %s", async (scope, missing, held) => {
  await using upstream = await startUpstream(streamWords());
  await using world = await startGateway({
    auth,
    pairing: { autoApproveOperators: "never" },
    http: { routes: [{ path: "/v1/", upstream: upstream.url, scope }] },
  });
  const token = await world.pair({
    device: makeDevice(),
    role: "operator",
    clientId: "openclaw-tui",
    mode: "ui",
    scopes: held,
  });
  const response = await fetch(`${world.httpUrl}/v1/models`, { headers: { Authorization: `Bearer ${token}` } });
  expect(response.status).toBe(403);
  expect(await response.json()).toEqual({
    error: { message: `missing scope: ${missing}`, type: "forbidden", code: "missing_scope" },
  });
  expect(upstream.exchanges.items).toEqual([]);
});

test("what a client claims about itself and what is meant for this hop end at the gateway", async () => {
  await using upstream = await startUpstream(streamWords());
  await using world = await gatewayTo(upstream);
  const claims = [
    "X-OpenClaw-User: boss",
    "X-OpenClaw-Scopes: operator.admin",
    "x_openclaw_user: boss",
    "X-OpenClaw-Device: somebody",
    "X-OpenClaw-Method: internal",
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-User: boss",
    "X-Forwarded-Email: boss@example",
    "X_Forwarded_Proto: https",
    "Forwarded: for=10.0.0.1",
    "X-Real-IP: 10.0.0.1",
    "Tailscale-User-Login: boss",
    "Cf-Access-Authenticated-User-Email: boss@example",
    "X-Auth-Request-User: boss",
    "Remote-User: boss",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "Proxy: http://boss",
  ];
  const forThisHop = [
    "Connection: close, X-Only-Here, X-OpenClaw-Method",
    "X-Only-Here: boss",
    "Keep-Alive: timeout=1",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic boss",
    "TE: trailers",
    "Trailer: X-Boss",
  ];
  const kept = [
    "Accept: text/event-stream",
    "X-Request-Id: 7",
    "Cookie: a=b; c=d",
    "Via: 1.1 other",
    "X-Twice: 1",
    "X-Twice: 2",
  ];
  const asked = lines(
    "GET /v1/models HTTP/1.1",
    "Host: gateway.example",
    `X-OpenClaw-Token: ${sharedToken}`,
    "Authorization: Bearer sk-of-the-service",
    ...claims,
    ...forThisHop,
    ...kept,
  );
  expect(await exchange(world, asked)).toMatch(/^HTTP\/1\.1 200 /u);
  const { request } = await upstream.exchange();
  expect(request.headersDistinct).toEqual({
    authorization: ["Bearer sk-of-the-service"],
    accept: ["text/event-stream"],
    "x-request-id": ["7"],
    cookie: ["a=b; c=d"],
    "x-twice": ["1", "2"],
    via: ["1.1 other, 1.1 openclaw"],
    host: [`127.0.0.1:${upstream.port}`],
    connection: ["close"],
    "x-forwarded-for": ["127.0.0.1"],
    "x-forwarded-proto": ["http"],
    "x-forwarded-host": ["gateway.example"],
    "x-openclaw-method": ["token"],
    "x-openclaw-scopes": [expect.stringMatching(/^operator\.admin,/u)],
  });
});

test("an Authorization of the gateway's own ends here too when another credential let the caller in", async () => {
  await using upstream = await startUpstream(streamWords());
  await using world = await startGateway({
    auth,
    pairing: { autoApproveOperators: "never" },
    http: { routes: [{ path: "/v1/", upstream: upstream.url }] },
  });
  const token = await world.pair({
    device: makeDevice(),
    role: "operator",
    clientId: "openclaw-tui",
    mode: "ui",
    scopes: ["operator.write"],
  });
  await fetch(`${world.httpUrl}/v1/models`, { headers: { ...bearer, "X-OpenClaw-Token": token } });
  const { request } = await upstream.exchange();
  expect(request.headers).toMatchObject({ "x-openclaw-method": "device-token", "x-openclaw-scopes": "operator.write" });
  expect(request.headers.authorization).toBeUndefined();
});

test("of the answer, what was meant for the gateway ends there, and the rest is the client's", async () => {
  await using upstream = await startUpstream((_request, response) => {
    response.writeHead(418, [
      ["Connection", "close, X-Only-Here"],
      ["X-Only-Here", "1"],
      ["Keep-Alive", "timeout=1"],
      ["Proxy-Authenticate", "Basic"],
      ["Access-Control-Allow-Origin", "*"],
      ["Set-Cookie", "a=b"],
      ["Set-Cookie", "c=d"],
      ["Content-Length", "2"],
      ["X-Model", "any"],
    ]);
    response.end("no");
  });
  await using world = await gatewayTo(upstream);
  const response = await fetch(`${world.httpUrl}/v1/pot`, { headers: bearer });
  expect([response.status, await response.text()]).toEqual([418, "no"]);
  expect(response.headers.getSetCookie()).toEqual(["a=b", "c=d"]);
  expect(response.headers.get("x-model")).toBe("any");
  for (const name of ["x-only-here", "proxy-authenticate", "access-control-allow-origin"]) {
    expect(response.headers.has(name)).toBe(false);
  }
});

test("pages of an allowed origin may read the answer, whatever the service says about origins", async () => {
  await using upstream = await startUpstream((_request, response) => {
    response.writeHead(200, { "Access-Control-Allow-Origin": "*", Vary: "Accept" }).end("{}");
  });
  const origin = "https://chat.example";
  await using world = await startGateway({
    auth,
    allowedOrigins: [origin],
    http: { routes: [{ path: "/v1/", upstream: upstream.url }] },
  });
  const response = await fetch(`${world.httpUrl}/v1/models`, { headers: { ...bearer, Origin: origin } });
  expect(response.headers.get("access-control-allow-origin")).toBe(origin);
  expect(response.headers.get("vary")).toBe("Accept, Origin");
  const { request } = await upstream.exchange();
  expect(request.headers.origin).toBeUndefined();
});

test.each<[string, Answer, RegExp]>([
  ["HEAD", (_, response) => response.writeHead(200, { "Content-Length": "1234" }).end(), /content-length: 1234/iu],
  ["OPTIONS", (_, response) => response.writeHead(204, { Allow: "GET" }).end(), /allow: GET/iu],
  ["DELETE", (_, response) => response.writeHead(304, { ETag: '"x"' }).end(), /etag: "x"/iu],
])("%s is the service's to answer", async (method, answer, header) => {
  await using upstream = await startUpstream(answer);
  await using world = await gatewayTo(upstream);
  const answered = await exchange(
    world,
    lines(`${method} /v1/x HTTP/1.1`, "Host: x", "Connection: close", `Authorization: ${bearer.Authorization}`),
  );
  expect(answered).toMatch(header);
  expect(answered.split("\r\n\r\n")[1]).toBe("");
  const { request } = await upstream.exchange();
  expect(request.method).toBe(method);
});

test("a redirect to the service itself leads to where clients reach it", async () => {
  await using upstream = await startUpstream((request, response) => {
    response.writeHead(307, { Location: `http://${request.headers.host}${request.url}/` }).end();
  });
  await using world = await startGateway({
    auth,
    http: { routes: [{ path: "/llm/", upstream: `${upstream.url}/v1/` }] },
  });
  const response = await fetch(`${world.httpUrl}/llm/models`, { headers: bearer, redirect: "manual" });
  expect(response.headers.get("location")).toBe("/llm/models/");
});

test("a client that hangs up before the answer stops the service's work", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const asking = new AbortController();
  const gone = fetch(`${world.httpUrl}/v1/slow`, { headers: bearer, signal: asking.signal }).catch(() => "aborted");
  const { closed, response } = await upstream.exchange();
  asking.abort();
  expect(await gone).toBe("aborted");
  await closed;
  expect(response.writableFinished).toBe(false);
});

test("a client that hangs up in the middle of a stream stops it", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const asking = new AbortController();
  const answering = fetch(`${world.httpUrl}/v1/stream`, { headers: bearer, signal: asking.signal });
  const { closed, response } = await upstream.exchange();
  response.writeHead(200).write(event("first"));
  await (await answering).body?.getReader().read();
  asking.abort();
  await closed;
  expect(response.writableFinished).toBe(false);
});

test("a client that hangs up in the middle of its upload takes it back", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const up = requestHttp(`${world.httpUrl}/v1/files`, {
    method: "POST",
    headers: { ...bearer, "Content-Length": "100" },
  });
  up.on("error", () => {});
  up.write("half of it");
  const { request, closed } = await upstream.exchange();
  await once(request, "data");
  up.destroy();
  await closed;
  expect(request.complete).toBe(false);
});

test("a service that breaks off breaks off for the client", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const asking = fetch(`${world.httpUrl}/v1/stream`, { headers: bearer });
  const { response: service } = await upstream.exchange();
  service.writeHead(200).write(event("first"));
  const response = await asking;
  service.destroy();
  await expect(response.text()).rejects.toThrow("terminated");
});

/** A TCP server that does this with every connection. */
async function startTcp(take: (socket: Socket) => void): Promise<AsyncDisposable & { readonly url: string }> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    take(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

const answerWith = (text: string) => (socket: Socket) => void socket.once("data", () => socket.end(text, "latin1"));

test.each<[string, (socket: Socket) => void]>([
  ["hangs up at once", (socket) => socket.destroy()],
  ["hangs up when it has read the request", answerWith("")],
  ["does not speak HTTP", answerWith("SSH-2.0-OpenSSH_9.9\r\n")],
  ["breaks off in its headers", answerWith("HTTP/1.1 200 OK\r\nX: ")],
  ["answers with a status that does not exist", answerWith("HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n")],
  [
    "changes to a protocol that nobody asked for",
    answerWith("HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
  ],
])("a service that %s: 502", async (_name, take) => {
  await using upstream = await startTcp(take);
  await using world = await gatewayTo(upstream);
  for (const method of ["GET", "POST"]) {
    const response = await fetch(`${world.httpUrl}/v1/x`, {
      method,
      headers: bearer,
      ...(method === "POST" ? { body: "{}" } : {}),
    });
    expect(response.status).toBe(502);
    expect(await codeOf(response)).toBe("upstream_failed");
  }
  expect(world.runtime.lines.items).toContainEqual(
    expect.objectContaining({ level: "warn", message: "upstream failed" }),
  );
});

test("a service whose certificate nobody vouches for: 502, and nothing was sent to it", async () => {
  const certificate = createCertificate("IP:127.0.0.1");
  let requests = 0;
  const server = createHttpsServer(certificate, () => requests++).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await using world = await gatewayTo({ url: `https://127.0.0.1:${port}` });
  const response = await fetch(`${world.httpUrl}/v1/x`, { headers: bearer });
  expect([response.status, await codeOf(response), requests]).toEqual([502, "upstream_failed", 0]);
  const line = world.runtime.lines.items.find(({ message }) => message === "upstream failed");
  expect(line?.fields["why"]).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
  server.close();
});

test("behind a gateway that speaks TLS, the service hears so", async () => {
  await using upstream = await startUpstream(streamWords("x"));
  const tls = createCertificate("IP:127.0.0.1");
  const routes = [{ path: "/v1/", upstream: upstream.url }];
  await using world = await startGateway({ auth, tls, http: { routes } });
  const asking = requestHttps(`${world.httpUrl}/v1/x`, { headers: bearer, ca: tls.cert }).end();
  const [answer] = (await once(asking, "response")) as [IncomingMessage];
  expect(await readAll(answer)).toContain("[DONE]");
  const { request } = await upstream.exchange();
  expect(request.headers["x-forwarded-proto"]).toBe("https");
});

/** The real runtime, whose deadlines come soon. */
const hasty: Runtime = {
  ...systemRuntime,
  after: (ms, action) => systemRuntime.after(Math.min(ms, 100), action),
};

test("a service that takes the connection and does not get on with it: 502", async () => {
  await using upstream = await startTcp(() => {});
  const routes = [{ path: "/v1/", upstream: upstream.url.replace("http:", "https:") }];
  await using world = await startGateway({ auth, runtime: hasty, http: { routes } });
  const response = await fetch(`${world.httpUrl}/v1/x`, { headers: bearer });
  expect(response.status).toBe(502);
  expect(await response.text()).toContain("did not take the connection within 15000 ms");
});

test("an answer that comes before the upload is over is the answer, and ends it", async () => {
  await using upstream = await startUpstream((_request, response) => response.writeHead(413).end("too big"));
  await using world = await gatewayTo(upstream);
  const up = requestHttp(`${world.httpUrl}/v1/files`, { method: "POST", headers: bearer });
  up.on("error", () => {}); // whoever goes on sending may be cut off
  up.write("the beginning");
  const [answer] = (await once(up, "response")) as [IncomingMessage];
  expect([answer.statusCode, await readAll(answer)]).toEqual([413, "too big"]);
  up.destroy();
});

test("a service that is down: 502, and the next request finds it up again", async () => {
  const gone = await startUpstream();
  await gone[Symbol.asyncDispose]();
  await using world = await gatewayTo(gone);
  const response = await fetch(`${world.httpUrl}/v1/x`, { method: "POST", headers: bearer, body: "x".repeat(100_000) });
  expect(response.status).toBe(502);
  expect(await response.json()).toEqual({
    error: {
      message: "the service behind /v1/ gave no answer (ECONNREFUSED)",
      type: "bad_gateway",
      code: "upstream_failed",
    },
  });
  const server = createServer((_request, answer) => answer.end("up")).listen(gone.port, "127.0.0.1");
  await once(server, "listening");
  expect(await (await fetch(`${world.httpUrl}/v1/x`, { headers: bearer })).text()).toBe("up");
  server.closeAllConnections();
  server.close();
});

test.runIf(platform() === "linux")(
  "while a service thinks, the system asks whether both ends are still there",
  async () => {
    await using upstream = await startUpstream();
    await using world = await gatewayTo(upstream);
    const asking = fetch(`${world.httpUrl}/v1/slow`, { headers: bearer });
    const { request, response } = await upstream.exchange();
    const ofService = request.socket.remotePort ?? 0;
    const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, "0");
    // Column 5 of /proc/net/tcp: 02 is a keep-alive timer (proc_net_tcp(5)).
    const timers = () =>
      readFileSync("/proc/net/tcp", "utf8")
        .split("\n")
        .map((line) => line.trim().split(/\s+/u))
        .filter(([, local = "", , state]) => {
          const port = local.split(":")[1];
          return state === "01" && (port === hex(ofService) || port === hex(world.gateway.port));
        })
        .map(([, , , , , timer]) => timer?.split(":")[0]);
    await expect.poll(timers).toEqual(["02", "02"]);
    response.end("done");
    expect(await (await asking).text()).toBe("done");
  },
);

/** Resolves with the value once it has stood still for as long as it takes to ask the gateway this often how it is. */
async function standstill(world: World, value: () => number): Promise<number> {
  for (let still = 0, last = -1; ;) {
    const now = value();
    still = now === last && now > 0 ? still + 1 : 0;
    if (still === 50) return now;
    last = now;
    await (await fetch(`${world.httpUrl}/health`)).text();
  }
}

const mebibyte = 1024 * 1024;
const manyBytes = 64 * mebibyte;
/** More than the kernel keeps for two connections, and far less than what is sent. */
const fewBytes = 32 * mebibyte;

test("nobody is read faster than a slow client reads", { timeout: 60_000 }, async () => {
  const block = Buffer.alloc(mebibyte, 1);
  let sentBytes = 0;
  const send = async (response: ServerResponse) => {
    response.writeHead(200, { "Content-Length": String(manyBytes) });
    for (; sentBytes < manyBytes; sentBytes += block.length) if (!response.write(block)) await once(response, "drain");
    response.end();
  };
  await using upstream = await startUpstream((_request, response) => void send(response));
  await using world = await gatewayTo(upstream);
  const asking = requestHttp(`${world.httpUrl}/v1/file`, { headers: bearer }).end();
  const [answer] = (await once(asking, "response")) as [IncomingMessage]; // and is not read
  expect(await standstill(world, () => sentBytes)).toBeLessThan(fewBytes);
  let readBytes = 0;
  for await (const chunk of answer) readBytes += (chunk as Buffer).length;
  expect(readBytes).toBe(manyBytes);
});

test(
  "nobody is read faster than a slow service reads, and a big upload arrives whole",
  { timeout: 60_000 },
  async () => {
    const block = randomBytes(mebibyte);
    await using upstream = await startUpstream();
    await using world = await gatewayTo(upstream);
    const up = requestHttp(`${world.httpUrl}/v1/files`, { method: "PUT", headers: bearer });
    const sentHash = createHash("sha256");
    let sentBytes = 0;
    const send = async () => {
      for (; sentBytes < manyBytes; sentBytes += block.length) {
        sentHash.update(block);
        if (!up.write(block)) await once(up, "drain");
      }
      up.end();
    };
    const sending = send();
    const { request, response } = await upstream.exchange(); // and is not read
    expect(request.headers).toMatchObject({ "transfer-encoding": "chunked" });
    expect(await standstill(world, () => sentBytes)).toBeLessThan(fewBytes);
    const hash = createHash("sha256");
    for await (const chunk of request) hash.update(chunk as Buffer);
    await sending;
    expect(hash.digest("hex")).toBe(sentHash.digest("hex"));
    response.end("stored");
    const [answer] = (await once(up, "response")) as [IncomingMessage];
    expect(await readAll(answer)).toBe("stored");
  },
);

test("who asks first whether its body is wanted hears it from the service", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const up = requestHttp(`${world.httpUrl}/v1/files`, {
    method: "POST",
    headers: { ...bearer, Expect: "100-continue", "Content-Length": "4" },
  });
  up.flushHeaders();
  const { request, response } = await upstream.exchange();
  expect(request.headers.expect).toBe("100-continue");
  const wanted = once(up, "continue");
  response.writeContinue();
  await wanted;
  up.end("body");
  expect(await readAll(request)).toBe("body");
  response.end("stored");
  const [answer] = (await once(up, "response")) as [IncomingMessage];
  expect(await readAll(answer)).toBe("stored");
});

test.each<[string, string, RegExp]>([
  ["the gateway", "wrong", /^HTTP\/1\.1 401 /u],
  ["the service", sharedToken, /^HTTP\/1\.1 413 /u],
])("a body that %s does not want is not asked for, and the connection ends", async (_who, token, status) => {
  await using upstream = await startUpstream((_request, response) => response.writeHead(413).end());
  await using world = await gatewayTo(upstream);
  const answer = await exchange(
    world,
    lines(
      "POST /v1/files HTTP/1.1",
      "Host: x",
      `Authorization: Bearer ${token}`,
      "Expect: 100-continue",
      "Content-Length: 9",
    ),
  );
  expect(answer).toMatch(status);
  expect(answer).toMatch(/^connection: close\r$/imu);
  expect(answer).not.toContain("100 Continue");
});

test("a body that nobody wants is taken in for a while, so that the answer is read, and then cut off", async () => {
  await using world = await startGateway({ auth, runtime: hasty });
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  socket.on("error", () => {}); // the gateway hangs up in the middle
  const closed = new Promise((resolve) => void socket.once("close", resolve));
  socket.write(lines("POST /v1/files HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"));
  const [head] = (await once(socket, "data")) as [Buffer];
  expect(String(head)).toMatch(/^HTTP\/1\.1 401 /u);
  const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
  const pump = () => {
    while (socket.writable && socket.write(chunk)) {} // for ever, if it is let
  };
  socket.on("drain", pump);
  pump();
  await closed;
});

test("two requests on one connection are two requests", async () => {
  await using upstream = await startUpstream((request, response) => {
    response.end(`you asked for ${request.url}`);
  });
  await using world = await gatewayTo(upstream);
  const first =
    lines("POST /v1/a HTTP/1.1", "Host: x", `Authorization: ${bearer.Authorization}`, "Content-Length: 3") + "one";
  const second = lines("GET /v1/b HTTP/1.1", "Host: x", `Authorization: ${bearer.Authorization}`, "Connection: close");
  const answers = await exchange(world, first + second);
  expect(answers.match(/you asked for \/v1\/[ab]/gu)).toEqual(["you asked for /v1/a", "you asked for /v1/b"]);
});

test("what is no HTTP behind a request ends the connection, and is never answered in the middle of an answer", async () => {
  await using upstream = await startUpstream();
  await using world = await gatewayTo(upstream);
  const head = lines("GET /v1/stream HTTP/1.1", "Host: x", `Authorization: ${bearer.Authorization}`);
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  socket.write(head);
  const { response, closed } = await upstream.exchange();
  response.writeHead(200).write(event("first"));
  const heard: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => heard.push(chunk));
  await once(socket, "data");
  socket.write("hello\r\n\r\n");
  await once(
    socket.on("error", () => {}),
    "close",
  );
  await closed;
  expect(
    Buffer.concat(heard)
      .toString()
      .match(/HTTP\/1\.1/gu),
  ).toHaveLength(1);
});

test.each<[string, string, number]>([
  ["a path that climbs", "/v1/../metrics", 400],
  ["one that climbs in escapes", "/v1/%2e%2e/metrics", 400],
  ["one that climbs in half an escape", "/v1/.%2E/metrics", 400],
  ["one that climbs behind an escaped slash", "/v1/..%2fadmin", 400],
  ["one that climbs over a backslash", "/v1/..\\admin", 400],
  ["one that climbs in double escapes", "/v1/%252e%252e/admin", 400],
  ["one that climbs with a parameter", "/v1/..;x=1/admin", 400],
  ["one that stands still", "/v1/./models", 400],
  ["a path with an empty segment", "/v1//models", 400],
  ["one that begins like an address", "//v1/models", 400],
  ["an escape that is none", "/v1/%zz", 400],
  ["an escape of bytes that are no UTF-8", "/v1/%c0%ae%c0%ae/x", 400],
  ["an escaped end of the line", "/v1/x%0d%0aX-A:%201", 400],
  ["a zero byte", "/v1/x%00", 400],
  ["an absolute form", "http://127.0.0.1/v1/models", 400],
  ["an absolute form of another host", "http://elsewhere.example/v1/models", 400],
  ["a fragment", "/v1/models#x", 400],
  ["no path", "*", 400],
  ["a neighbour of the route", "/v1x/models", 404],
  ["the route in capitals", "/V1/models", 404],
  ["the route in escapes", "/%761/models", 404],
  ["the route with a parameter", "/v1;x=1/models", 404],
])("%s does not reach the service: %s", async (_name, target, status) => {
  await using upstream = await startUpstream(streamWords());
  await using world = await gatewayTo(upstream);
  const headers = ["Host: x", "Connection: close", `Authorization: ${bearer.Authorization}`];
  const answer = await exchange(world, lines(`GET ${target} HTTP/1.1`, ...headers));
  expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*"error":`, "u"));
  expect(upstream.exchanges.items).toEqual([]);
});

test.each<[string, string[], number]>([
  ["CONNECT", ["CONNECT 127.0.0.1:22 HTTP/1.1", "Host: x"], 405],
  ["TRACE", ["TRACE /v1/x HTTP/1.1", "Host: x"], 405],
  ["two credentials of one name", ["GET /v1/x HTTP/1.1", "Host: x", "Authorization: Bearer x"], 400],
  ["two hosts", ["GET /v1/x HTTP/1.1", "Host: x", "Host: y"], 400],
  ["another transfer coding", ["POST /v1/x HTTP/1.1", "Host: x", "Transfer-Encoding: gzip, chunked"], 501],
  ["two lengths", ["POST /v1/x HTTP/1.1", "Host: x", "Content-Length: 1", "Content-Length: 2"], 400],
  ["a length and chunks", ["POST /v1/x HTTP/1.1", "Host: x", "Content-Length: 1", "Transfer-Encoding: chunked"], 400],
  ["an expectation of something else", ["POST /v1/x HTTP/1.1", "Host: x", "Expect: miracles"], 417],
])("%s does not reach the service", async (_name, head, status) => {
  await using upstream = await startUpstream(streamWords());
  await using world = await gatewayTo(upstream);
  const more = [`Authorization: ${bearer.Authorization}`, "Connection: close"];
  expect(await exchange(world, lines(...head, ...more))).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `, "u"));
  expect(upstream.exchanges.items).toEqual([]);
});

test("the longest route answers, and no other spelling leads past its scope", async () => {
  await using open = await startUpstream((_request, response) => response.end("open"));
  await using guarded = await startUpstream((_request, response) => response.end("guarded"));
  await using world = await startGateway({
    auth,
    pairing: { autoApproveOperators: "never" },
    http: {
      routes: [
        { path: "/v1/", upstream: open.url, scope: "operator.read" },
        { path: "/v1/admin", upstream: guarded.url, scope: "operator.admin" },
      ],
    },
  });
  const scopes = ["operator.read"];
  const reader = await world.pair({
    device: makeDevice(),
    role: "operator",
    clientId: "openclaw-tui",
    mode: "ui",
    scopes,
  });
  const ask = async (path: string, token: string) => {
    const head = ["Host: x", "Connection: close", `Authorization: Bearer ${token}`];
    const answer = await exchange(world, lines(`GET ${path} HTTP/1.1`, ...head));
    return answer.slice(9, 12) + (/(?:open|guarded)$/u.exec(answer)?.[0] ?? "");
  };
  expect(await ask("/v1/models", reader)).toBe("200open");
  expect(await ask("/v1/administrators", reader)).toBe("200open");
  expect(await ask("/v1/org%2Fmodel", reader)).toBe("200open");
  for (const path of ["/v1/admin", "/v1/admin/", "/v1/admin/x"]) {
    expect(await ask(path, sharedToken)).toBe("200guarded");
    expect(await ask(path, reader)).toBe("403");
  }
  for (const path of [
    "/v1/ADMIN/x",
    "/v1/%61dmin/x",
    "/v1%2fadmin/x",
    "/v1/admin%2fx",
    "/v1/admin;a/x",
    "/v1\\admin",
  ]) {
    expect([path, await ask(path, reader)]).not.toEqual([path, "200open"]);
  }
});

test("the gateway's own paths are its own, also where a route leads everywhere", async () => {
  await using upstream = await startUpstream((_request, response) => response.end("service"));
  await using world = await startGateway({ auth, http: { routes: [{ path: "/", upstream: upstream.url }] } });
  for (const path of ["/health", "/ready", "/metrics"]) {
    expect(await (await fetch(world.httpUrl + path, { headers: bearer })).text()).not.toBe("service");
  }
  expect(await (await fetch(`${world.httpUrl}/anything`, { headers: bearer })).text()).toBe("service");
  expect((await fetch(`${world.httpUrl}/anything`)).status).toBe(401);
});

test("a gateway that stops ends what it passes on", async () => {
  await using upstream = await startUpstream();
  await using world = await startGateway({
    auth,
    limits: { shutdownGraceMs: 20 },
    http: { routes: [{ path: "/v1/", upstream: upstream.url }] },
  });
  const asking = fetch(`${world.httpUrl}/v1/slow`, { headers: bearer }).catch(() => "gone");
  const { closed } = await upstream.exchange();
  await world.gateway.close();
  await closed;
  expect(await asking).toBe("gone");
});

test("what was passed on is counted by its route, and told in one line without secrets", async () => {
  await using upstream = await startUpstream(streamWords("x"));
  await using world = await gatewayTo(upstream);
  await (await fetch(`${world.httpUrl}/v1/models?key=secret`, { headers: bearer })).text();
  const line = await world.runtime.lines.find(({ message }) => message === "forwarded");
  expect(line).toMatchObject({
    level: "debug",
    fields: { method: "GET", path: "/v1/models", by: "token", status: 200 },
  });
  expect(JSON.stringify(world.runtime.lines.items)).not.toMatch(new RegExp(`secret|${sharedToken}`, "u"));
  const metrics = await (await fetch(`${world.httpUrl}/metrics`, { headers: bearer })).text();
  expect(metrics).toContain('openclaw_http_requests_total{route="/v1/",status="200"} 1\n');
});

const oddPieces = fc.constantFrom(
  "/",
  "v1",
  "x",
  "x",
  "..",
  ".",
  "%2e",
  "%2f",
  "\\",
  ";",
  "metrics",
  "%",
  "?",
  "#",
  "é",
  " ",
);
const oddTargets = fc
  .tuple(fc.constantFrom("/v1/", "/v1/", "/v1", "/"), fc.array(oddPieces, { maxLength: 3 }))
  .map(([start, pieces]) => start + pieces.join(""));
const oddHeaders = fc.array(
  fc.constantFrom(
    "Authorization: Bearer wrong",
    "Authorization: Basic eDp5",
    "X-OpenClaw-User: boss",
    "X_OpenClaw_Scopes: boss",
    "X-Forwarded-User: boss",
    "Connection: close, Host, Content-Length, X-OpenClaw-Method",
    "Transfer-Encoding: chunked",
    "Content-Length: 5",
    "Content-Length: 0",
    "Expect: 100-continue",
    "Expect: boss",
    "Origin: https://elsewhere.example",
    "Host: x",
    "Upgrade: websocket",
    "TE: trailers",
    "Bad Header: x",
    " folded",
    "X:\u0000",
  ),
  { maxLength: 3 },
);
const credentials = fc.constantFrom(
  `Authorization: Bearer ${sharedToken}`,
  `X-OpenClaw-Token: ${sharedToken}`,
  `X-OpenClaw-Token: ${sharedToken}`,
  "Accept: */*",
);

test("whatever is sent, the gateway goes on, and the service hears only what it may", { timeout: 60_000 }, async () => {
  await using upstream = await startUpstream(streamWords("x"));
  await using world = await gatewayTo(upstream);
  const methods = fc.constantFrom(
    "GET",
    "GET",
    "POST",
    "POST",
    "HEAD",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "PRI",
    "get",
    "",
  );
  const versions = fc.constantFrom("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "");
  const requests = fc
    .tuple(methods, oddTargets, versions, credentials, oddHeaders, fc.constantFrom("", "", "", "hello\r\n\r\n"))
    .map(([method, target, version, credential, more, behind]) => {
      const body = more.includes("Content-Length: 5") ? "hello" : "";
      const chunks = more.includes("Transfer-Encoding: chunked") ? "5\r\nhello\r\n0\r\n\r\n" : body;
      return lines(`${method} ${target} ${version}`, "Host: y", credential, ...more) + chunks + behind;
    });
  await fc.assert(
    fc.asyncProperty(requests, async (request) => {
      const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
      const closed = new Promise((resolve) => void socket.on("error", () => {}).once("close", resolve));
      socket.write(request, "latin1");
      await Promise.race([closed, new Promise((resolve) => void socket.once("data", resolve))]);
      socket.destroy();
    }),
    { numRuns: 1500 },
  );
  expect(await (await fetch(`${world.httpUrl}/health`)).json()).toEqual({ ok: true, status: "live" });
  expect(upstream.exchanges.items.length).toBeGreaterThan(0);
  for (const { request } of upstream.exchanges.items) {
    expect(request.url).toMatch(/^\/v1(?:[/?]|$)/u);
    expect(JSON.stringify(request.rawHeaders)).not.toMatch(new RegExp(`boss|${sharedToken}`, "u"));
    expect(request.headers["x-openclaw-method"]).toBe("token");
  }
  expect(world.runtime.lines.items.filter(({ level }) => level === "error")).toEqual([]);
});
