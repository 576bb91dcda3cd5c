/** Connections that say nothing (auth.md § 5): how many there may be, and whom they must not keep out. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import type { GatewayOptions } from "../../src/gateway/options.ts";
import { createCertificate } from "../fixtures/certificate.ts";
import { UpgradeRefused } from "../support/raw-client.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";

const localCaller = join(import.meta.dirname, "../support/local-caller.ts");
const certificate = createCertificate("IP:127.0.0.1");

/** Connections that send nothing, and when they were ended. */
class Silence implements Disposable {
  readonly sockets: Socket[] = [];
  readonly ends: Promise<unknown>[] = [];

  async add(world: World): Promise<Socket> {
    const socket = connect({ host: "127.0.0.1", port: world.gateway.port });
    socket.on("error", () => {}); // told as a close
    this.ends.push(once(socket, "close"));
    this.sockets.push(socket);
    await once(socket, "connect");
    return socket;
  }

  [Symbol.dispose](): void {
    for (const socket of this.sockets) socket.destroy();
  }
}

test.each<[string, GatewayOptions]>([
  ["plain", {}],
  ["with TLS", { tls: certificate }],
])("%s: the oldest silent connections make room, sessions stay, and all of it is counted", async (_name, options) => {
  await using world = await startGateway({ limits: { maxNewcomers: 4 }, ...options });
  using silence = new Silence();
  const tlsFree = options.tls === undefined;
  const session = tlsFree ? await world.operator() : undefined;
  for (let count = 0; count < 6; count++) await silence.add(world);
  await Promise.all(silence.ends.slice(0, 2));
  expect(silence.sockets.slice(2).map(({ destroyed }) => destroyed)).toEqual([false, false, false, false]);
  const lines = world.runtime.lines.items.filter(({ message }) => message === "connections cut");
  expect(lines).toMatchObject([
    {
      level: "warn",
      fields: { remote: "127.0.0.1", code: "CONNECTION_CUT", reason: "too_many_connections", count: 1 },
    },
  ]);
  expect(world.decisions.items.filter(({ code }) => code === "CONNECTION_CUT")).toHaveLength(1);
  if (!tlsFree) return;
  expect(await session?.call("health")).toMatchObject({ ok: true });
  const metrics = await fetch(`${world.httpUrl}/metrics`, { headers: { Authorization: `Bearer ${sharedToken}` } });
  expect(await metrics.text()).toMatch(/^openclaw_connections_cut_total\{limit="total"\} [3-9]$/mu);
});

test("who has shown a credential over HTTP is not counted any more, and who has not is", async () => {
  await using world = await startGateway({ limits: { maxNewcomers: 2 } });
  using silence = new Silence();
  const ask = async (path: string, token: string) => {
    const socket = await silence.add(world);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`);
    await once(socket, "data");
  };
  await ask("/metrics", sharedToken);
  for (let count = 0; count < 3; count++) await ask("/health", "wrong");
  await silence.ends[1];
  expect(silence.sockets.map(({ destroyed }) => destroyed)).toEqual([false, true, false, false]);
});

test("a trusted proxy's users do not keep each other out, told apart or not", async () => {
  const limits = { maxNewcomersPerAddress: 1, maxUnauthenticatedPerAddress: 1 };
  await using world = await startGateway({ limits, trustedProxies: ["127.0.0.1"] });
  const from = (address: string) => ({ "X-Forwarded-For": address });
  await world.open(from("192.0.2.1"));
  await expect(world.open(from("192.0.2.1"))).rejects.toMatchObject({ status: 503 });
  await world.open(from("192.0.2.2"));
  for (let count = 0; count < 3; count++) await world.open();
});

test("WebSockets that say nothing do not keep the owner of the host out", async () => {
  await using world = await startGateway({ limits: { maxUnauthenticatedPerAddress: 2 } });
  await world.open();
  await world.open();
  await expect(world.open()).rejects.toBeInstanceOf(UpgradeRefused);
  const { stdout } = await promisify(execFile)(process.execPath, [localCaller, world.url, sharedToken, "direct"]);
  expect(stdout).toBe("in: operator.read\n");
});

test("a connection that says nothing in place of a TLS handshake ends too, and is a line", async () => {
  await using world = await startGateway({ limits: { handshakeDeadlineMs: 50 }, tls: certificate });
  using silence = new Silence();
  await silence.add(world);
  await silence.ends[0];
  expect(world.runtime.lines.items).toMatchObject([{ level: "warn", fields: { reason: "ERR_TLS_HANDSHAKE_TIMEOUT" } }]);
});
