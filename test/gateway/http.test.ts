/** Plain HTTP on the gateway's port (protocol.md § 1.2, auth.md § 7), and requests that are hardly HTTP at all. */
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { text as readAll } from "node:stream/consumers";
import { expect, test } from "vitest";
import { sharedToken, startGateway } from "../support/world.ts";

const authorized = { Authorization: `Bearer ${sharedToken}` };

test.each(["/health", "/healthz", "/health?probe=1"])("GET %s tells everyone that the gateway lives", async (path) => {
  await using world = await startGateway();
  const response = await fetch(world.httpUrl + path);
  expect(response.status).toBe(200);
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(await response.json()).toEqual({ ok: true, status: "live" });
});

test.each(["/ready", "/readyz"])("GET %s tells how the gateway is to who may know", async (path) => {
  await using world = await startGateway({ auth: { token: sharedToken, loopback: false } });
  const forwarded = { "X-Forwarded-For": "192.0.2.1" };
  expect((await fetch(world.httpUrl + path, { headers: forwarded })).status).toBe(401);
  // Whoever asks straight from this machine needs no secret for that.
  expect((await fetch(world.httpUrl + path)).status).toBe(200);
  const response = await fetch(world.httpUrl + path, { headers: authorized });
  expect(response.status).toBe(200);
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(await response.json()).toEqual({ ready: true, failing: [], uptimeMs: expect.any(Number) });
});

test.each(["/health", "/healthz", "/ready", "/readyz"])("HEAD %s says the same without a body", async (path) => {
  await using world = await startGateway();
  const response = await fetch(world.httpUrl + path, { method: "HEAD", headers: authorized });
  expect(response.status).toBe(200);
  expect(await response.text()).toBe("");
});

test.each(["POST", "PUT", "DELETE", "OPTIONS"])("%s /health is a method that does not exist there", async (method) => {
  await using world = await startGateway();
  const response = await fetch(`${world.httpUrl}/health`, { method });
  expect(response.status).toBe(405);
  expect(response.headers.get("allow")).toBe("GET, HEAD");
  expect(response.headers.get("cache-control")).toBe("no-store");
});

test.each(["/", "/devices", "/health/x", "/Health"])("GET %s is not found", async (path) => {
  await using world = await startGateway();
  const response = await fetch(world.httpUrl + path, { headers: authorized });
  expect(response.status).toBe(404);
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(await response.json()).toEqual({
    error: { message: "nothing answers here", type: "not_found", code: "unknown_path" },
  });
});

test.each(["/%2e%2e/etc/passwd", "//health", "http://x/health", "/health#x", "*"])(
  "GET %s is no path that is answered, with or without a credential",
  async (target) => {
    await using world = await startGateway();
    const answer = await exchange(
      world.gateway.port,
      `GET ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorized.Authorization}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 [\s\S]*"code":"bad_path"/u);
    expect(answer.toLowerCase()).toContain("cache-control: no-store");
  },
);

test.each([
  ["an SSH banner", "SSH-2.0-OpenSSH_9.9\r\n", /^HTTP\/1\.1 400 /u],
  ["bytes of a TLS hello", "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001", /^HTTP\/1\.1 400 /u],
  ["a header without end", `GET / HTTP/1.1\r\nX: ${"x".repeat(40_000)}\r\n\r\n`, /^HTTP\/1\.1 400 /u],
  [
    "an upgrade without a key",
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    /^HTTP\/1\.1 400 /u,
  ],
  [
    "an upgrade to something else",
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    /^HTTP\/1\.1 400 /u,
  ],
])("%s is answered and the connection closed", async (_name, request, answer) => {
  await using world = await startGateway();
  expect(await exchange(world.gateway.port, request)).toMatch(answer);
  expect((await fetch(`${world.httpUrl}/health`)).status).toBe(200);
});

test("a WebSocket may be asked for on any path, and compression is not agreed to", async () => {
  await using world = await startGateway();
  const key =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  socket.write(
    `GET /some/path?x=1 HTTP/1.1\r\nHost: x\r\n${key}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n`,
  );
  const [head] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  expect(String(head)).toMatch(/^HTTP\/1\.1 101 /u);
  expect(String(head).toLowerCase()).not.toContain("sec-websocket-extensions");
});

/** Everything the gateway writes until it closes the connection. */
async function exchange(port: number, request: string): Promise<string> {
  const socket = connectTcp({ host: "127.0.0.1", port });
  socket.write(request, "latin1");
  return readAll(socket);
}
