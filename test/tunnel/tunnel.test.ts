/** A tunnel comes up, heals, gives up only when it must, and ends: against OpenSSH's own server and a bad network. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { openTunnel } from "../../src/tunnel/tunnel.ts";
import { retryDelay } from "../../src/tunnel/retry-delay.ts";
import type { TunnelEvent } from "../../src/tunnel/tunnel.ts";
import { startRelay } from "./relay.ts";
import { freePort, startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { dial, exchange, readAll, startEcho, startTarget, until } from "./tcp.ts";
import type { Target } from "./tcp.ts";
import { local, optionsFor, remote, temporaryDirectory, watchTunnel } from "./world.ts";
import type { Overrides } from "./world.ts";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";

let sshd: Sshd;
let echo: Target;
beforeAll(async () => {
  sshd = await startSshd();
  echo = await startEcho();
});
afterAll(async () => {
  await echo[Symbol.asyncDispose]();
  await sshd[Symbol.asyncDispose]();
});

/** Short enough for a test, long enough for a busy machine to answer. */
const keepaliveMs = 1_000;

/** The options of a tunnel with one remote and one local forward to the echo, through a relay. */
async function throughRelay() {
  const relay = await startRelay(sshd.port);
  const directory = await temporaryDirectory();
  const knownHosts = join(directory.path, "known_hosts");
  const key = (await readFile(sshd.knownHostsFile, "utf8")).replace(String(sshd.port), String(relay.port));
  await writeFile(knownHosts, key);
  const hostKeys = { files: knownHostsFiles(sshd.directory, knownHosts) };
  return {
    relay,
    knownHosts,
    ssh: optionsFor(sshd, { port: relay.port, hostKeys, keepaliveMs }),
    forwards: [remote(`0:127.0.0.1:${echo.port}`), local(`0:127.0.0.1:${echo.port}`)],
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

describe("opening", () => {
  test("tells its steps in order, with the real ports", async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "target.sock");
    await using _there = await startEcho({ path });
    const forwards = [remote(`0:127.0.0.1:${echo.port}`), local(`localhost:0:${path}`)];
    await using watched = await watchTunnel({ ssh: optionsFor(sshd), forwards, name: "home" });
    const rows = watched.tunnel.forwards();
    const [first, second] = rows;
    const steps = [
      { event: "connecting", destination: `${sshd.user}@127.0.0.1:${sshd.port}` },
      { event: "forward", direction: "remote", bind: "127.0.0.1", port: first?.port, target: `127.0.0.1:${echo.port}` },
      { event: "forward", direction: "local", bind: "localhost", port: second?.port, target: path },
      { event: "ready", name: "home", pid: process.pid, forwards: rows },
    ];
    expect(watched.events).toEqual(steps);
    expect(rows.map((row) => row.port)).not.toContain(0);
    await watched.tunnel.close();
    expect(watched.events).toEqual([...steps, { event: "stopped" }]);
    await expect(watched.tunnel.closed).resolves.toBeUndefined();
  });

  test("gets the port that was asked for", async () => {
    const port = await freePort();
    await using _watched = await watchTunnel({
      ssh: optionsFor(sshd),
      forwards: [remote(`${port}:127.0.0.1:${echo.port}`)],
    });
    expect((await exchange(port, "hello")).toString()).toBe("hello");
  });

  test("serves several forwards in both directions at once", async () => {
    const forwards = [0, 1].flatMap(() => [remote(`0:127.0.0.1:${echo.port}`), local(`0:127.0.0.1:${echo.port}`)]);
    await using watched = await watchTunnel({ ssh: optionsFor(sshd), forwards });
    const replies = await Promise.all(watched.tunnel.forwards().map(({ port }) => exchange(port, String(port))));
    expect(replies.map(String)).toEqual(watched.tunnel.forwards().map(({ port }) => String(port)));
  });

  test.each<[name: string, overrides: (port: number) => Overrides, failure: object]>([
    ["nothing listens", (port) => ({ port }), { code: "ssh", message: expect.stringMatching(/:\d+ \(ECONNREFUSED\)/) }],
    [
      "the name does not exist",
      () => ({ host: "no-such-host.invalid" }),
      { code: "ssh", message: expect.stringContaining("no-such-host.invalid") },
    ],
    ["the host has no address of that family", () => ({ host: "127.0.0.1", family: 6 }), { code: "usage" }],
  ])("fails at the first attempt when %s", async (_name, overrides, failure) => {
    const events: TunnelEvent[] = [];
    const ssh = optionsFor(sshd, overrides(await freePort()));
    const opening = openTunnel({ ssh, forwards: [], onEvent: (event) => events.push(event) });
    await expect(opening).rejects.toMatchObject(failure);
    expect(events.map(({ event }) => event)).toEqual(["connecting"]);
  });

  test("fails with ssh-forward when somebody else has the port there, and lets go of everything", async () => {
    const localPort = await freePort();
    const forwards = [remote(`${echo.port}:127.0.0.1:${echo.port}`), local(`${localPort}:127.0.0.1:${echo.port}`)];
    await expect(openTunnel({ ssh: optionsFor(sshd), forwards })).rejects.toMatchObject({
      code: "ssh-forward",
      message: `127.0.0.1:${echo.port} on the server is held by another program`,
      hint: expect.stringContaining("ss -ltnp"),
    });
    await using _free = await startEcho({ port: localPort, host: "127.0.0.1" });
  });

  test("fails with ssh-forward when the server forbids forwarding", async () => {
    await using strict = await startSshd({ config: ["AllowTcpForwarding no"] });
    const opening = openTunnel({ ssh: optionsFor(strict), forwards: [remote("0:127.0.0.1:1")] });
    await expect(opening).rejects.toMatchObject({
      code: "ssh-forward",
      hint: expect.stringContaining("AllowTcpForwarding"),
    });
  });

  test("fails with ssh-forward when the server forbids connecting to a target", async () => {
    await using strict = await startSshd();
    const key = await readFile(join(strict.directory, "user.pub"), "utf8");
    await writeFile(join(strict.directory, "authorized_keys"), `permitopen="127.0.0.1:1",command="false" ${key}`);
    const opening = openTunnel({ ssh: optionsFor(strict), forwards: [local(`0:127.0.0.1:${echo.port}`)] });
    await expect(opening).rejects.toMatchObject({
      code: "ssh-forward",
      message: expect.stringContaining(`the server forbids connecting to 127.0.0.1:${echo.port}: `),
      hint: expect.stringContaining("permitopen"),
      details: { direction: "local", target: `127.0.0.1:${echo.port}` },
    });
  });

  test.each(["AllowTcpForwarding remote", "PermitOpen 127.0.0.1:1"])(
    "fails with ssh-forward where %s stands, though a shell there sees the target",
    async (line) => {
      await using strict = await startSshd({ config: [line] });
      const opening = openTunnel({ ssh: optionsFor(strict), forwards: [local(`0:127.0.0.1:${echo.port}`)] });
      await expect(opening).rejects.toMatchObject({
        code: "ssh-forward",
        message: expect.stringContaining(`the server forbids connecting to 127.0.0.1:${echo.port}: `),
      });
    },
  );

  test("reaches a target that the server permits, and only that", async () => {
    await using strict = await startSshd({ config: [`PermitOpen 127.0.0.1:${echo.port}`] });
    const forwards = [local(`0:127.0.0.1:${echo.port}`)];
    await using watched = await watchTunnel({ ssh: optionsFor(strict), forwards });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    expect((await exchange(port, "hello")).toString()).toBe("hello");
  });

  test("fails with port-in-use when somebody else has the port here", async () => {
    const opening = openTunnel({ ssh: optionsFor(sshd), forwards: [local(`${echo.port}:127.0.0.1:1`)] });
    await expect(opening).rejects.toMatchObject({
      code: "port-in-use",
      message: expect.stringContaining(String(echo.port)),
    });
  });

  test("works where sessions are forbidden", async () => {
    await using strict = await startSshd({ config: ["MaxSessions 0", "PermitTTY no"] });
    await using watched = await watchTunnel({
      ssh: optionsFor(strict),
      forwards: [remote(`0:127.0.0.1:${echo.port}`)],
    });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    expect((await exchange(port, "hello")).toString()).toBe("hello");
  });

  test("reaches a server at localhost that listens on only one of its addresses", async () => {
    const [, key = ""] = (await readFile(sshd.knownHostsFile, "utf8")).split(" ssh-ed25519 ");
    await using directory = await temporaryDirectory();
    const knownHosts = join(directory.path, "known_hosts");
    await writeFile(knownHosts, `[localhost]:${sshd.port} ssh-ed25519 ${key}`);
    const hostKeys = { files: knownHostsFiles("/nonexistent", knownHosts) };
    await using watched = await watchTunnel({ ssh: optionsFor(sshd, { host: "localhost", hostKeys }), forwards: [] });
    expect(watched.events.at(-1)).toMatchObject({ event: "ready", forwards: [] });
  });
});

describe("what answers instead of an SSH server", () => {
  test.each<[name: string, answer: string, message: RegExp]>([
    [
      "a web server",
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      /is not an SSH server: it answered "HTTP\/1.1 400 Bad Request"/,
    ],
    ["a binary protocol", "\u0015\u0003\u0001\u0000\u0002\u0002", /is not an SSH server: it answered "\?+"/],
    ["nothing at all", "", /closed the connection without a word/],
    ["an SSH server that dies", "SSH-2.0-Short\r\n", /the SSH handshake with .* failed/],
    ["an SSH server of the last century", "SSH-1.5-Old\r\n", /the SSH handshake with .* failed/],
  ])("is named: %s", async (_name, answer, message) => {
    await using server = await startTarget((socket) => socket.end(answer, "latin1"));
    const opening = openTunnel({ ssh: optionsFor(sshd, { port: server.port }), forwards: [] });
    await expect(opening).rejects.toMatchObject({ code: "ssh", message: expect.stringMatching(message) });
  });

  test("is given up when it says nothing for too long", async () => {
    await using server = await startTarget(() => {});
    const opening = openTunnel({ ssh: optionsFor(sshd, { port: server.port, readyTimeoutMs: 100 }), forwards: [] });
    await expect(opening).rejects.toMatchObject({ code: "ssh", message: expect.stringContaining("within 100 ms") });
  });

  test("is let go at once when the signal says so", async () => {
    const stop = new AbortController();
    await using server = await startTarget((socket) => {
      socket.resume();
      stop.abort(new Error("stop"));
    });
    const opening = openTunnel({ ssh: optionsFor(sshd, { port: server.port }), forwards: [], signal: stop.signal });
    await expect(opening).rejects.toThrow("stop");
  });
});

describe("healing", () => {
  test("after a cut both forwards are back on the same ports, and open transfers were broken, not ended", async () => {
    await using world = await throughRelay();
    await using watched = await watchTunnel(world);
    const before = watched.tunnel.forwards();
    const open = await Promise.all(before.map(async ({ port }) => dial(port)));
    for (const socket of open) {
      const [answered] = [new Promise((resolve) => socket.once("data", resolve))];
      socket.write("ping");
      await answered;
    }
    const broken = open.map((socket) =>
      readAll(socket).then(
        () => "ended",
        () => "broken",
      ),
    );
    const reconnected = watched.next("reconnected");
    world.relay.cut();
    expect((await reconnected).downMs).toBeGreaterThanOrEqual(0);
    // The far end of the remote forward is sshd's to close, and it may end it properly.
    expect(await broken[1]).toBe("broken");
    for (const { port } of before) expect((await exchange(port, "again")).toString()).toBe("again");
    expect(watched.tunnel.forwards().map(({ port }) => port)).toEqual(before.map(({ port }) => port));
    expect(watched.events.map(({ event }) => event)).toContain("disconnected");
  });

  test("after a silence it notices by itself, and waits until the server lets go of the port", async () => {
    await using world = await throughRelay();
    await using watched = await watchTunnel(world);
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const disconnected = watched.next("disconnected");
    const reconnected = watched.next("reconnected");
    world.relay.freeze();
    expect((await disconnected).reason).toMatch(/no sign of life/);
    world.relay.resume();
    await reconnected;
    expect((await exchange(port, "same port")).toString()).toBe("same port");
  });

  test("a port that somebody else took meanwhile is asked for until it is free", async () => {
    await using world = await throughRelay();
    await using watched = await watchTunnel({ ...world, forwards: [remote(`0:127.0.0.1:${echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const refused = watched.next("forward-changed");
    const forward = () => watched.tunnel.forwards()[0];
    world.relay.freeze();
    await sshd.killSessions();
    await until(() => isFree(port));
    {
      await using _thief = await startEcho({ port, host: "127.0.0.1" });
      world.relay.resume();
      world.relay.cut();
      expect(await refused).toMatchObject({
        state: "refused",
        port,
        problem: expect.stringContaining("another program"),
      });
      expect(watched.tunnel.summary().state).toBe("up");
    }
    await until(() => forward()?.state === "listening");
    expect((await exchange(port, "ours again")).toString()).toBe("ours again");
  });

  test("a server that is killed and started again is found again", async () => {
    await using server = await startSshd();
    const ssh = optionsFor(server, { keepaliveMs });
    await using watched = await watchTunnel({ ssh, forwards: [remote(`0:127.0.0.1:${echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const reconnected = watched.next("reconnected");
    const refused = watched.next("disconnected").then(() => watched.next("disconnected"));
    await server.kill();
    expect((await refused).reason).toContain("ECONNREFUSED");
    await server.restart();
    await reconnected;
    expect((await exchange(port, "back")).toString()).toBe("back");
  });

  test("while it is down, a local port stays ours and closes what dials it", async () => {
    await using server = await startSshd();
    await using watched = await watchTunnel({ ssh: optionsFor(server), forwards: [local(`0:127.0.0.1:${echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const disconnected = watched.next("disconnected");
    await server.kill();
    await disconnected;
    await expect(exchange(port, "anybody there")).rejects.toMatchObject({ code: "ECONNRESET" });
    const reconnected = watched.next("reconnected");
    await server.restart();
    await reconnected;
    expect((await exchange(port, "back")).toString()).toBe("back");
  });
});

describe("ending", () => {
  test("without reconnects the first loss is the end", async () => {
    await using world = await throughRelay();
    const watched = await watchTunnel({ ...world, reconnect: false });
    world.relay.cut();
    await expect(watched.tunnel.closed).rejects.toMatchObject({ code: "ssh" });
    expect(watched.events.slice(-2)).toMatchObject([{ event: "disconnected" }, { event: "stopped" }]);
    expect(watched.events.at(-2)).not.toHaveProperty("retryInMs");
  });

  test("a host key that has changed meanwhile ends it", async () => {
    await using world = await throughRelay();
    const watched = await watchTunnel(world);
    const other = await readFile(join(sshd.directory, "user.pub"), "utf8");
    await writeFile(world.knownHosts, `[127.0.0.1]:${world.relay.port} ${other}`);
    world.relay.cut();
    await expect(watched.tunnel.closed).rejects.toMatchObject({ code: "host-key-changed" });
    expect(watched.events.at(-1)).toEqual({ event: "stopped" });
  });

  test("a target that has been forbidden meanwhile is told of before anybody dials", async () => {
    await using server = await startSshd();
    const key = await readFile(join(server.directory, "user.pub"), "utf8");
    const forwards = [local(`0:127.0.0.1:${echo.port}`)];
    await using watched = await watchTunnel({ ssh: optionsFor(server), forwards });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    await writeFile(join(server.directory, "authorized_keys"), `permitopen="127.0.0.1:1" ${key}`);
    const changed = watched.next("forward-changed");
    await server.killSessions();
    expect(await changed).toMatchObject({
      state: "refused",
      problem: expect.stringContaining(`the server forbids connecting to 127.0.0.1:${echo.port}`),
    });
    await expect(exchange(port, "anybody there")).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await writeFile(join(server.directory, "authorized_keys"), key);
    await watched.tunnel.reopen("permitted again");
    await until(() => watched.tunnel.forwards()[0]?.state === "listening");
    expect((await exchange(port, "now")).toString()).toBe("now");
  });

  test("a server that takes connections and says nothing is given up for another try", async () => {
    await using world = await throughRelay();
    await using watched = await watchTunnel({ ssh: world.ssh, forwards: world.forwards });
    world.relay.freeze();
    const silence = /did not complete the SSH handshake within 3000 ms/;
    for (let silences = 0; silences < 2;) {
      if (silence.test((await watched.next("disconnected")).reason)) silences++;
    }
    const reconnected = watched.next("reconnected");
    world.relay.resume();
    await reconnected;
    expect(watched.tunnel.summary().reconnects).toBe(1);
  });

  test("a key that is no longer welcome ends it", async () => {
    await using server = await startSshd();
    const watched = await watchTunnel({ ssh: optionsFor(server), forwards: [] });
    await writeFile(join(server.directory, "authorized_keys"), "");
    await server.killSessions();
    await expect(watched.tunnel.closed).rejects.toMatchObject({ code: "ssh-auth" });
  });

  test("the signal ends it wherever it is, and frees the ports on both sides", async () => {
    const stop = new AbortController();
    const forwards = [remote(`0:127.0.0.1:${echo.port}`), local(`0:127.0.0.1:${echo.port}`)];
    const { tunnel } = await watchTunnel({ ssh: optionsFor(sshd), forwards, signal: stop.signal });
    const rows = tunnel.forwards();
    stop.abort(new OpenClawError("failed", "interrupted"));
    await expect(tunnel.closed).resolves.toBeUndefined();
    await until(async () => (await Promise.all(rows.map(({ port }) => isFree(port)))).every(Boolean));
  });

  test("the signal ends it while it waits to try again", async () => {
    const stop = new AbortController();
    await using server = await startSshd();
    const watched = await watchTunnel({ ssh: optionsFor(server), forwards: [], signal: stop.signal });
    const disconnected = watched.next("disconnected");
    await server.kill();
    await disconnected;
    stop.abort();
    await expect(watched.tunnel.closed).resolves.toBeUndefined();
  });

  test("closing does not wait for a server that is silent", async () => {
    await using world = await throughRelay();
    const watched = await watchTunnel({ ...world, ssh: { ...world.ssh, keepaliveMs: 60_000 } });
    world.relay.freeze();
    await watched.tunnel.close();
    expect(watched.events.at(-1)).toEqual({ event: "stopped" });
  });
});

test("the delay between tries lies between nothing and a doubling ceiling of at most 30 s", () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 2_000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempt, chance) => {
        const delayMs = retryDelay(attempt, chance);
        expect(delayMs).toBeGreaterThanOrEqual(0);
        expect(delayMs).toBeLessThanOrEqual(Math.min(30_000, 25 * 2 ** attempt));
      },
    ),
  );
  expect([0, 1, 2, 20].map((attempt) => retryDelay(attempt, 0.5))).toEqual([13, 25, 50, 15_000]);
});

async function isFree(port: number): Promise<boolean> {
  return dial(port).then(
    (socket) => {
      socket.destroy();
      return false;
    },
    () => true,
  );
}
