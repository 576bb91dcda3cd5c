/** Forwards carry bytes, ends and refusals, against OpenSSH's own server. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startRelay } from "./relay.ts";
import { freePort, startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { dial, exchange, readAll, sha256, startEcho, startTarget, until } from "./tcp.ts";
import { local, optionsFor, remote, temporaryDirectory, watchTunnel } from "./world.ts";
import type { ForwardSpec } from "../../src/ssh/destination.ts";

let sshd: Sshd;
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(async () => sshd[Symbol.asyncDispose]());

async function openForward(spec: ForwardSpec) {
  const watched = await watchTunnel({ ssh: optionsFor(sshd), forwards: [spec] });
  const [row] = watched.tunnel.forwards();
  return { ...watched, port: row?.port ?? 0, row: () => watched.tunnel.forwards()[0] };
}

describe.each([
  ["remote", remote],
  ["local", local],
] as const)("a %s forward", (direction, parse) => {
  test("carries several MiB both ways, unchanged, over several connections at once", async () => {
    await using echo = await startEcho();
    await using forward = await openForward(parse(`0:127.0.0.1:${echo.port}`));
    const payloads = Array.from({ length: 4 }, () => randomBytes(6 * 1024 * 1024));
    const replies = await Promise.all(payloads.map((payload) => exchange(forward.port, payload)));
    expect(replies.map(sha256)).toEqual(payloads.map(sha256));
    await until(() => forward.row()?.activeConnections === 0);
    const bytes = payloads.length * 6 * 1024 * 1024;
    expect(forward.row()).toEqual({
      direction,
      bind: "127.0.0.1",
      port: forward.port,
      target: `127.0.0.1:${echo.port}`,
      activeConnections: 0,
      state: "listening",
      refusedConnections: 0,
      totalConnections: 4,
      bytesIn: bytes,
      bytesOut: bytes,
    });
  });

  test("passes on the end of one direction and keeps the other open", async () => {
    const asked = Promise.withResolvers<Buffer>();
    await using target = await startTarget(async (socket) => {
      asked.resolve(await readAll(socket));
      socket.end("an answer after the end of the question");
    });
    await using forward = await openForward(parse(`0:127.0.0.1:${target.port}`));
    const reply = await exchange(forward.port, "a question");
    expect((await asked.promise).toString()).toBe("a question");
    expect(reply.toString()).toBe("an answer after the end of the question");
  });

  test("lets the target end first and still hear the rest", async () => {
    const heard = Promise.withResolvers<Buffer>();
    await using target = await startTarget((socket) => {
      socket.end("goodbye");
      heard.resolve(readAll(socket));
    });
    await using forward = await openForward(parse(`0:127.0.0.1:${target.port}`));
    const socket = await dial(forward.port);
    expect((await readAll(socket)).toString()).toBe("goodbye");
    socket.end("one more thing");
    expect((await heard.promise).toString()).toBe("one more thing");
  });

  test("refuses at once while its target is down, and is back on the same port when it lives", async () => {
    const port = await freePort();
    await using forward = await openForward(parse(`0:127.0.0.1:${port}`));
    await expect(exchange(forward.port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
    const down = { state: "target-down", totalConnections: 0, problem: `127.0.0.1:${port} does not answer` };
    expect(forward.row()).toMatchObject(down);
    expect(forward.events.slice(-2)).toMatchObject([
      { event: "ready", forwards: [down] },
      { event: "forward-changed", state: "target-down" },
    ]);
    await using _echo = await startEcho({ port, host: "127.0.0.1" });
    await until(() => forward.row()?.state === "listening");
    expect((await exchange(forward.port, "now")).toString()).toBe("now");
  });

  test("notices that its target goes while connections are open", async () => {
    const port = await freePort();
    await using forward = await openForward(parse(`0:127.0.0.1:${port}`));
    {
      await using _echo = await startEcho({ port, host: "127.0.0.1" });
      await until(() => forward.row()?.state === "listening");
      const open = await dial(forward.port);
      open.on("error", () => {}).resume();
      await until(() => forward.row()?.activeConnections === 1);
    }
    await until(() => forward.row()?.state === "target-down");
    await expect(exchange(forward.port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test.each([
    ["127.0.0.1", { host: "::1" }],
    ["127.0.0.1", { host: "127.0.0.2" }],
    ["127.0.0.1", { host: "::", ipv6Only: true }],
    ["[::1]", { host: "127.0.0.1" }],
    ["[::1]", { host: "0.0.0.0" }],
  ])("to %s is not taken in by who listens at %o", async (host, elsewhere) => {
    await using other = await startEcho({ port: 0, ...elsewhere });
    await using forward = await openForward(parse(`0:${host}:${other.port}`));
    // An address that only answers over IPv6 looks like one that answers over both, until somebody dials.
    if ("ipv6Only" in elsewhere) await exchange(forward.port, "anybody there").catch(() => {});
    await until(() => forward.row()?.state === "target-down");
    await exchange(forward.port, "anybody there").catch(() => {});
    const looks = forward.events.length;
    await using echo = await startEcho({ port: other.port, host: host.replaceAll(/[[\]]/g, "") });
    await until(() => forward.row()?.state === "listening");
    expect(forward.events.slice(looks)).toMatchObject([{ event: "forward-changed", state: "listening" }]);
    expect((await exchange(forward.port, "now")).toString()).toBe("now");
    expect(echo.accepted()).toBeGreaterThan(0);
  });

  test.each(["0.0.0.0", "::", "127.0.0.1"])("sees who listens at %s for every address", async (host) => {
    await using echo = await startEcho({ port: 0, host });
    await using forward = await openForward(parse(`0:127.0.0.1:${echo.port}`));
    expect(forward.row()?.state).toBe("listening");
    expect(echo.accepted()).toBe(0);
  });

  test("goes on looking after its connection was replaced", async () => {
    const port = await freePort();
    const echo = await startEcho({ port, host: "127.0.0.1" });
    await using forward = await openForward(parse(`0:127.0.0.1:${port}`));
    await forward.tunnel.reopen("a test");
    await echo[Symbol.asyncDispose]();
    await until(() => forward.row()?.state === "target-down");
    await expect(exchange(forward.port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("asks by a connection where no table tells: at first, and when its target hung up", async () => {
    const port = await freePort();
    // A name of this machine that the tables of listeners are not searched for.
    await using forward = await openForward(parse(`0:0.0.0.0:${port}`));
    await expect(exchange(forward.port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
    {
      await using _echo = await startEcho({ port, host: "127.0.0.1" });
      await until(() => forward.row()?.state === "listening");
      const open = await dial(forward.port);
      open
        .on("error", () => {})
        .once("end", () => open.end())
        .resume();
      await until(() => forward.row()?.activeConnections === 1);
    }
    await until(() => forward.row()?.state === "target-down");
    await expect(exchange(forward.port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("is checked from its listening end to its target, which is sent nothing", async () => {
    const heard: Buffer[] = [];
    await using target = await startTarget((socket) => socket.on("data", (chunk: Buffer) => heard.push(chunk)));
    await using forward = await openForward(parse(`0:127.0.0.1:${target.port}`));
    const [row] = await forward.tunnel.check();
    expect(row).toEqual({
      direction,
      bind: "127.0.0.1",
      port: forward.port,
      target: `127.0.0.1:${target.port}`,
      ok: true,
      latencyMs: expect.any(Number),
    });
    await until(() => target.accepted() === 1);
    expect(heard).toEqual([]);
    await target[Symbol.asyncDispose]();
    expect(await forward.tunnel.check()).toMatchObject([{ ok: false, problem: expect.any(String) }]);
  });

  test("reaches a unix socket", async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "target.sock");
    await using _echo = await startEcho({ path });
    await using forward = await openForward(parse(`0:${path}`));
    expect((await exchange(forward.port, "through a path")).toString()).toBe("through a path");
  });

  test("reaches a unix socket that comes and goes", async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "target.sock");
    await using forward = await openForward(parse(`0:${path}`));
    expect(forward.row()?.state).toBe("target-down");
    const echo = await startEcho({ path });
    await until(() => forward.row()?.state === "listening");
    expect((await exchange(forward.port, "now")).toString()).toBe("now");
    await echo[Symbol.asyncDispose]();
    await until(() => forward.row()?.state === "target-down");
    await expect(exchange(forward.port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("sees that a unix socket is only left behind", async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "a (strange) [name].sock");
    const server = spawn(process.execPath, ["-e", "net.createServer().listen(process.argv[1], console.log)", path]);
    await once(server.stdout, "data");
    await using forward = await openForward(parse(`0:${path}`));
    expect(forward.row()?.state).toBe("listening");
    server.kill("SIGKILL");
    await until(() => forward.row()?.state === "target-down");
    await expect(exchange(forward.port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("keeps other connections alive when one is reset, and counts it out", async () => {
    await using echo = await startEcho();
    await using forward = await openForward(parse(`0:127.0.0.1:${echo.port}`));
    const [steady, doomed] = [await dial(forward.port), await dial(forward.port)];
    await until(() => forward.row()?.activeConnections === 2);
    doomed.resetAndDestroy();
    await until(() => forward.row()?.activeConnections === 1);
    const reply = readAll(steady);
    steady.end("still here");
    expect((await reply).toString()).toBe("still here");
  });

  test("holds back a sender whose receiver does not read, instead of storing it all", async () => {
    const receiving = Promise.withResolvers<import("node:net").Socket>();
    await using target = await startTarget((socket) => {
      socket.pause();
      receiving.resolve(socket);
    });
    await using forward = await openForward(parse(`0:127.0.0.1:${target.port}`));
    const sender = await dial(forward.port);
    const payload = randomBytes(64 * 1024 * 1024);
    sender.end(payload);
    const receiver = await receiving.promise;
    await stalled(() => forward.row()?.bytesIn ?? 0);
    expect(forward.row()?.bytesIn).toBeLessThan(payload.length / 2);
    const all = readAll(receiver);
    receiver.resume();
    expect(sha256(await all)).toBe(sha256(payload));
    receiver.end();
  });
});

test("a network that stalls holds all senders back together, and everything arrives in the end", async () => {
  await using relay = await startRelay(sshd.port);
  const target = Promise.withResolvers<void>();
  const digests: string[] = [];
  await using sink = await startTarget(async (socket) => {
    digests.push(sha256(await readAll(socket)));
    socket.end();
    if (digests.length === 40) target.resolve();
  });
  const ssh = optionsFor(sshd, {
    port: relay.port,
    hostKeys: { fingerprint: sshd.hostKeyFingerprint },
    keepaliveMs: 60_000,
  });
  await using watched = await watchTunnel({ ssh, forwards: [local(`0:127.0.0.1:${sink.port}`)] });
  const row = () => watched.tunnel.forwards()[0];
  const senders = await Promise.all(Array.from({ length: 40 }, async () => dial(row()?.port ?? 0)));
  await until(() => row()?.activeConnections === 40);
  relay.freeze();
  const payload = randomBytes(2 * 1024 * 1024);
  for (const sender of senders) sender.resume().end(payload);
  await stalled(() => row()?.bytesIn ?? 0);
  expect(row()?.bytesIn).toBeLessThan((40 * payload.length) / 2);
  relay.resume();
  await target.promise;
  expect(new Set(digests)).toEqual(new Set([sha256(payload)]));
});

test("a transfer goes on through new key exchanges", async () => {
  await using busy = await startSshd({ config: ["RekeyLimit 1M"] });
  await using echo = await startEcho();
  await using watched = await watchTunnel({ ssh: optionsFor(busy), forwards: [local(`0:127.0.0.1:${echo.port}`)] });
  const payload = randomBytes(8 * 1024 * 1024);
  const [{ port } = { port: 0 }] = watched.tunnel.forwards();
  expect(sha256(await exchange(port, payload))).toBe(sha256(payload));
  expect(watched.events.map(({ event }) => event)).not.toContain("disconnected");
});

/** Resolves once a counter that has begun to rise has stood still during many rounds of the event loop. */
async function stalled(count: () => number): Promise<void> {
  let last = 0;
  let still = 0;
  await until(() => {
    const now = count();
    still = now === last && now > 0 ? still + 1 : 0;
    last = now;
    return still > 20_000;
  });
}
