/** What a tunnel does about its own past: ports that a lost session still holds, connections replaced while they work, spares. */
import { createHash, randomBytes } from "node:crypto";
import { appendFile, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";
import { runTool, startSshd, type Sshd, type SshdOptions } from "../support/sshd.ts";
import { startRelay } from "./relay.ts";
import { dial, exchange, readAll, sha256, startEcho, startTarget, until } from "./tcp.ts";
import { local, type Overrides, optionsFor, remote, watchTunnel } from "./world.ts";

/** A server behind a relay of its own, and options that lead through the relay. */
async function openWorld(options: SshdOptions = {}) {
  const sshd = await startSshd(options);
  const relay = await startRelay(sshd.port);
  const echo = await startEcho();
  const knownHosts = join(sshd.directory, "known_hosts_of_the_relay");
  await writeFile(knownHosts, (await readFile(sshd.knownHostsFile, "utf8")).replace(`${sshd.port}`, `${relay.port}`));
  const hostKeys = { files: knownHostsFiles(sshd.directory, knownHosts) };
  return {
    sshd,
    relay,
    echo,
    ssh: (overrides: Overrides = {}) =>
      optionsFor(sshd, { port: relay.port, hostKeys, keepaliveMs: 1_000, ...overrides }),
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]();
      await echo[Symbol.asyncDispose]();
      await sshd[Symbol.asyncDispose]();
    },
  };
}

/** Connections that sshd took in so far. */
function logins({ log }: Sshd): number {
  return log.filter((line) => line.startsWith("Accepted publickey")).length;
}

describe("a port that our own lost session still holds", () => {
  test("is taken back where the server runs commands for us, though the server never noticed the loss", async () => {
    await using world = await openWorld();
    await using watched = await watchTunnel({ ssh: world.ssh(), forwards: [remote(`0:127.0.0.1:${world.echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    await until(() => watched.tunnel.report().ssh?.serverPid !== undefined);
    const reconnected = watched.next("reconnected");
    world.relay.forget();
    await reconnected;
    expect(watched.tunnel.forwards()).toMatchObject([{ port, state: "listening" }]);
    expect((await exchange(port, "the same port")).toString()).toBe("the same port");
    expect(watched.tunnel.report()).toMatchObject({
      reconnects: 1,
      history: [{}, { what: "lost" }, { what: "reconnected" }],
    });
  });

  test("is waited for with a restricted key, beside the forwards that work", async () => {
    await using world = await openWorld();
    const key = await readFile(join(world.sshd.directory, "user.pub"), "utf8");
    await writeFile(join(world.sshd.directory, "authorized_keys"), `restrict,port-forwarding,command="false" ${key}`);
    const forwards = [remote(`0:127.0.0.1:${world.echo.port}`), local(`0:127.0.0.1:${world.echo.port}`)];
    await using watched = await watchTunnel({ ssh: world.ssh({ keepaliveMs: 400 }), forwards });
    const ports = watched.tunnel.forwards().map(({ port }) => port);
    const changed = watched.next("forward-changed");
    world.relay.forget();
    const states = () => watched.tunnel.forwards().map(({ state }) => state);
    await until(() => states().includes("waiting"));
    // What listens here is back before anything is decided about the port over there.
    await until(() => states()[1] === "listening");
    expect(states()).toEqual(["waiting", "listening"]);
    expect(await changed).toMatchObject({
      direction: "remote",
      state: "refused",
      problem: expect.stringMatching(/is held, and who holds it does not answer \(.*ClientAliveInterval.*\)$/),
    });
    expect((await exchange(ports[1] ?? 0, "works meanwhile")).toString()).toBe("works meanwhile");
    // What ends it in the end is what makes the server notice, here a reset.
    await world.sshd.killSessions();
    await until(() => watched.tunnel.forwards().every(({ state }) => state === "listening"));
    expect(watched.tunnel.forwards().map(({ port }) => port)).toEqual(ports);
  });

  test("is given up when nobody holds it and the server forbids it", async () => {
    await using world = await openWorld();
    const key = await readFile(join(world.sshd.directory, "user.pub"), "utf8");
    const watched = await watchTunnel({
      ssh: world.ssh({ keepaliveMs: 200 }),
      forwards: [remote(`0:127.0.0.1:${world.echo.port}`)],
    });
    await writeFile(join(world.sshd.directory, "authorized_keys"), `permitlisten="127.0.0.1:1" ${key}`);
    await world.sshd.killSessions();
    await expect(watched.tunnel.closed).rejects.toMatchObject({
      code: "ssh-forward",
      message: expect.stringMatching(/^the server forbids listening on 127\.0\.0\.1:\d+/),
    });
  });
});

describe("a renewal", () => {
  test("loses no byte of what is under way, and takes new connections over the new line", async () => {
    await using world = await openWorld();
    await using target = await startTarget((socket) => socket.pipe(socket));
    const forwards = [remote(`0:127.0.0.1:${target.port}`), local(`0:127.0.0.1:${target.port}`)];
    await using watched = await watchTunnel({ ssh: world.ssh(), forwards });
    const rows = watched.tunnel.forwards();
    const streams = await Promise.all(rows.flatMap(({ port }) => [startStream(port), startStream(port)]));
    for (const reason of ["first", "second", "third"]) {
      await Promise.all(streams.map((stream) => stream.more()));
      const renewed = watched.next("renewed");
      await watched.tunnel.reopen(reason);
      expect(await renewed).toMatchObject({ reason });
      await Promise.all(rows.map(async ({ port }) => expect((await exchange(port, reason)).toString()).toBe(reason)));
    }
    expect(watched.tunnel.report().draining).toBe(4);
    for (const stream of streams) await stream.finish();
    expect(watched.tunnel.forwards().map(({ port }) => port)).toEqual(rows.map(({ port }) => port));
    expect(watched.events.map(({ event }) => event)).not.toContain("disconnected");
    expect(logins(world.sshd)).toBe(4);
    // The old lines go as soon as nothing passes over them.
    await until(() => watched.tunnel.report().draining === 0);
    await until(
      () =>
        world.sshd.log.filter((line) => /Connection closed|Disconnected from|Received disconnect/.test(line)).length >=
        3,
    );
  });

  test("that fails leaves everything as it was", async () => {
    await using world = await openWorld();
    await using watched = await watchTunnel({ ssh: world.ssh(), forwards: [remote(`0:127.0.0.1:${world.echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    await writeFile(join(world.sshd.directory, "authorized_keys"), "");
    await expect(watched.tunnel.reopen("a test")).rejects.toMatchObject({ code: "ssh-auth" });
    expect((await exchange(port, "still there")).toString()).toBe("still there");
    expect(watched.tunnel.summary()).toMatchObject({ state: "up", reconnects: 0 });
  });

  test("comes by itself when the key file is replaced, with the new key", async () => {
    await using world = await openWorld();
    const keyFile = join(world.sshd.directory, "own");
    await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keyFile);
    const authorized = join(world.sshd.directory, "authorized_keys");
    await appendFile(authorized, await readFile(`${keyFile}.pub`));
    const ssh = world.ssh({ keepaliveMs: 200, credentials: { identityFiles: [keyFile] } });
    await using watched = await watchTunnel({ ssh, forwards: [remote(`0:127.0.0.1:${world.echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const lasting = await startStream(port);
    const renewed = watched.next("renewed");
    await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${keyFile}.next`);
    await writeFile(authorized, await readFile(`${keyFile}.next.pub`));
    await rename(`${keyFile}.next`, keyFile);
    expect(await renewed).toMatchObject({ reason: `the key file ${keyFile} has changed`, draining: 1 });
    expect((await exchange(port, "with the new key")).toString()).toBe("with the new key");
    await lasting.finish();
    expect(watched.tunnel.report()).toMatchObject({ reconnects: 0, errors: [] });
  });

  test("is followed by healing: a line lost after it is replaced like any other", async () => {
    await using world = await openWorld();
    await using watched = await watchTunnel({ ssh: world.ssh(), forwards: [remote(`0:127.0.0.1:${world.echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const lasting = await startStream(port);
    await watched.tunnel.reopen("a test");
    const reconnected = watched.next("reconnected");
    world.relay.cut();
    await reconnected;
    expect((await exchange(port, "back")).toString()).toBe("back");
    lasting.abandon();
  });
});

test("a hot spare takes over without a new login, and is followed by another spare", async () => {
  await using world = await openWorld();
  const forwards = [remote(`0:127.0.0.1:${world.echo.port}`), local(`0:127.0.0.1:${world.echo.port}`)];
  await using watched = await watchTunnel({ ssh: world.ssh(), forwards, hotSpare: true });
  const ports = watched.tunnel.forwards().map(({ port }) => port);
  const hasSpare = () => watched.tunnel.report().ssh?.hotSpare === true;
  await until(hasSpare);
  const reconnected = watched.next("reconnected");
  world.relay.cutOldest();
  await reconnected;
  expect(watched.events.filter(({ event }) => event === "disconnected")).toMatchObject([{ retryInMs: 0 }]);
  for (const port of ports) expect((await exchange(port, "again")).toString()).toBe("again");
  await until(hasSpare);
  expect(logins(world.sshd)).toBe(3);
});

test("the report says what is in use, what passes and what happened", async () => {
  await using world = await openWorld();
  await using watched = await watchTunnel({
    ssh: world.ssh(),
    forwards: [local(`0:127.0.0.1:${world.echo.port}`)],
    name: "home",
  });
  const [{ port } = { port: 0 }] = watched.tunnel.forwards();
  await using _open = await openStream(port);
  await until(
    () => watched.tunnel.report().connections.length === 1 && watched.tunnel.report().roundTrip !== undefined,
  );
  expect(watched.tunnel.report()).toMatchObject({
    name: "home",
    destination: `${world.sshd.user}@127.0.0.1:${world.relay.port}`,
    state: "up",
    pid: process.pid,
    reconnects: 0,
    draining: 0,
    errors: [],
    history: [{ what: "connected", atMs: expect.any(Number) }],
    ssh: {
      hostKeyFingerprint: world.sshd.hostKeyFingerprint,
      hostKeyAlgorithm: "ssh-ed25519",
      cipher: { in: "aes128-gcm@openssh.com", out: "aes128-gcm@openssh.com" },
      nativeCrypto: expect.any(Boolean),
      hotSpare: false,
    },
    roundTrip: { lastMs: expect.any(Number), samples: expect.any(Number) },
    connections: [
      { id: 1, direction: "local", port, from: expect.stringMatching(/^127\.0\.0\.1:\d+$/), bytesIn: 5, bytesOut: 5 },
    ],
  });
});

/** A connection to an echo that sends on demand, and compares everything at the end. */
async function startStream(port: number) {
  const socket = await dial(port);
  const back = readAll(socket);
  const sent = createHash("sha256");
  const more = async () => {
    const bytes = randomBytes(512 * 1024);
    sent.update(bytes);
    await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
  };
  await more();
  return {
    more,
    async finish() {
      await more();
      socket.end();
      expect(sha256(await back)).toBe(sent.digest("hex"));
    },
    abandon() {
      back.catch(() => {});
      socket.destroy();
    },
  };
}

/** A connection to an echo over which five bytes went and came. */
async function openStream(port: number): Promise<AsyncDisposable> {
  const socket = await dial(port);
  const answered = new Promise((resolve) => socket.once("data", resolve));
  socket.write("hello");
  await answered;
  return { [Symbol.asyncDispose]: async () => void socket.destroy() };
}
