/** The same forwards, keys and healing against dropbear, which many routers and small machines run. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectSsh } from "../../src/ssh/connect.ts";
import type { SshOptions } from "../../src/ssh/connect.ts";
import { Credentials } from "../../src/ssh/credentials.ts";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";
import { startDropbear } from "../support/dropbear.ts";
import type { Dropbear } from "../support/dropbear.ts";
import { freePort, runTool, startSshd } from "../support/sshd.ts";
import { dial, exchange, readAll, sha256, startEcho, startTarget } from "../tunnel/tcp.ts";
import { local, optionsFor, remote, watchTunnel } from "../tunnel/world.ts";

// dropbear reads keys only from the home of a real user, and only root can make one for the time being.
describe.runIf(process.getuid?.() === 0)("dropbear", () => {
  let dropbear: Dropbear;
  beforeAll(async () => {
    dropbear = await startDropbear();
  });
  afterAll(async () => dropbear?.[Symbol.asyncDispose]());

  function options(identityFile = dropbear.identityFile): SshOptions {
    const { host, port, user, directory, knownHostsFile } = dropbear;
    return {
      host,
      port,
      user,
      hostKeys: { files: knownHostsFiles(directory, knownHostsFile) },
      credentials: new Credentials({ home: directory, identityFiles: [identityFile] }),
    };
  }

  describe.each([
    ["remote", remote],
    ["local", local],
  ] as const)("carries a %s forward", (_direction, parse) => {
    // Its window is small: what was read last still waits for room when the end has come.
    test("both ways, unchanged to the last byte, over several connections at once", async () => {
      await using echo = await startEcho();
      await using watched = await watchTunnel({ ssh: options(), forwards: [parse(`0:127.0.0.1:${echo.port}`)] });
      const port = watched.tunnel.forwards()[0]?.port ?? 0;
      expect(port).toBeGreaterThan(0);
      const payloads = Array.from({ length: 3 }, () => randomBytes(3 * 1024 * 1024));
      const replies = await Promise.all(payloads.map((payload) => exchange(port, payload)));
      expect(replies.map(sha256)).toEqual(payloads.map(sha256));
    });

    test("on a port that is named", async () => {
      await using target = await startTarget((socket) => socket.end("hello"));
      const port = await freePort();
      await using _watched = await watchTunnel({
        ssh: options(),
        forwards: [parse(`${port}:127.0.0.1:${target.port}`)],
      });
      expect((await readAll(await dial(port))).toString()).toBe("hello");
    });

    // dropbear takes no forward back: it goes on listening, and what it passes on is refused here.
    test("and goes on when the target is there again", async () => {
      const later = await freePort();
      await using watched = await watchTunnel({ ssh: options(), forwards: [parse(`0:127.0.0.1:${later}`)] });
      const [{ port, state } = { port: 0 }] = watched.tunnel.forwards();
      expect(state).toBe("target-down");
      const changed = watched.next("forward-changed");
      await using _echo = await startEcho({ port: later, host: "127.0.0.1" });
      expect(await changed).toMatchObject({ state: "listening" });
      expect((await exchange(port, "now")).toString()).toBe("now");
    });

    test("and refuses at once while the target is dead", async () => {
      const dead = await freePort();
      await using watched = await watchTunnel({ ssh: options(), forwards: [parse(`0:127.0.0.1:${dead}`)] });
      const port = watched.tunnel.forwards()[0]?.port ?? 0;
      await expect(exchange(port, "anybody there").then((reply) => reply.length)).rejects.toThrow(
        /ECONN(REFUSED|RESET)/,
      );
    });
  });

  test.each([
    ["Ed25519", ["-t", "ed25519"]],
    ["ECDSA", ["-t", "ecdsa"]],
    ["RSA in PEM form", ["-t", "rsa", "-b", "2048", "-m", "PEM"]],
  ])("lets in a key of type %s", async (name, type) => {
    const path = join(dropbear.directory, name.replaceAll(" ", "-"));
    await runTool("ssh-keygen", "-q", "-N", "", "-f", path, ...type);
    await dropbear.authorize(await readFile(`${path}.pub`, "utf8"));
    await using connection = await connectSsh(options(path));
    expect(connection.isOpen).toBe(true);
  });

  test("refuses a strange key, which is told", async () => {
    const path = join(dropbear.directory, "stranger");
    await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path);
    await expect(connectSsh(options(path))).rejects.toMatchObject({
      code: "ssh-auth",
      details: { accepts: ["publickey"], tried: [{ name: path }] },
    });
  });

  test("that forbids forwards is a clear failure", async () => {
    await using strict = await startDropbear("-k");
    const { host, port, user, directory, identityFile, knownHostsFile } = strict;
    const ssh = {
      host,
      port,
      user,
      hostKeys: { files: knownHostsFiles(directory, knownHostsFile) },
      credentials: new Credentials({ home: directory, identityFiles: [identityFile] }),
    };
    await expect(watchTunnel({ ssh, forwards: [remote("0:127.0.0.1:1")] })).rejects.toMatchObject({
      code: "ssh-forward",
    });
  });

  test("is a jump host like any other", async () => {
    await using sshd = await startSshd();
    await using connection = await connectSsh({ ...optionsFor(sshd), jumps: [options()] });
    expect(connection.hostKeyFingerprint).toBe(sshd.hostKeyFingerprint);
  });

  test("that goes away and comes back has the same ports again", async () => {
    await using echo = await startEcho();
    const forwards = [remote(`0:127.0.0.1:${echo.port}`), local(`0:127.0.0.1:${echo.port}`)];
    await using watched = await watchTunnel({ ssh: { ...options(), keepaliveMs: 1_000 }, forwards });
    const ports = watched.tunnel.forwards().map(({ port }) => port);
    const [lost, back] = [watched.next("disconnected"), watched.next("reconnected")];
    await dropbear.kill();
    await lost;
    await dropbear.restart();
    await back;
    for (const port of ports) expect((await exchange(port, "still there")).toString()).toBe("still there");
    expect(watched.tunnel.forwards().map(({ port }) => port)).toEqual(ports);
  });
});
