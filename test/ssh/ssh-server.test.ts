/** The in-process SSH server: who gets in, what it forwards and what it refuses, also to OpenSSH's own client. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Secret } from "../../src/secret.ts";
import { connectSsh } from "../../src/ssh/connect.ts";
import type { SshConnection, SshOptions } from "../../src/ssh/connect.ts";
import { Credentials } from "../../src/ssh/credentials.ts";
import type { CredentialOptions } from "../../src/ssh/credentials.ts";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";
import { generateSshKey } from "../../src/ssh/ssh-key.ts";
import { startSshServer } from "../../src/ssh/ssh-server.ts";
import type { SshServer, SshServerOptions } from "../../src/ssh/ssh-server.ts";
import { runTool } from "../support/sshd.ts";
import { exchange, readAll, sha256, startEcho, startTarget, until } from "../tunnel/tcp.ts";
import { local, remote, temporaryDirectory, watchTunnel } from "../tunnel/world.ts";

const key = generateSshKey();

/** A server that knows `key`, and a home directory that holds it and knows the server. */
async function startWorld(more: SshServerOptions = {}) {
  const server = await startSshServer({ authorizedKey: key.publicKey, ...more });
  const home = await temporaryDirectory();
  const identityFile = join(home.path, "id");
  await writeFile(identityFile, key.privateKey.reveal(), { mode: 0o600 });
  await writeFile(join(home.path, "known_hosts"), `${server.hostKeyLine}\n`);
  return {
    server,
    home: home.path,
    identityFile,
    ssh: optionsFor(server, home.path, { identityFiles: [identityFile] }),
    async [Symbol.asyncDispose]() {
      await server.close();
      await home[Symbol.asyncDispose]();
    },
  };
}

function optionsFor(server: SshServer, home: string, credentials: Omit<CredentialOptions, "home">): SshOptions {
  return {
    host: server.host,
    port: server.port,
    user: "anyone",
    hostKeys: { files: knownHostsFiles(home, join(home, "known_hosts")) },
    credentials: new Credentials({ home, ...credentials }),
  };
}

describe("who gets in", () => {
  test.each(["password", "keyboard-interactive"] as const)("who knows the password, by %s", async (method) => {
    const password = new Secret("correct horse");
    await using world = await startWorld({ password, passwordMethods: [method] });
    await using connection = await connectSsh(optionsFor(world.server, world.home, { password }));
    expect(connection.hostKeyFingerprint).toBe(world.server.hostKeyFingerprint);
  });

  test("nobody with a wrong password, and the failure tells what was tried but not the password", async () => {
    await using world = await startWorld({ password: new Secret("correct horse") });
    const attempt = connectSsh(optionsFor(world.server, world.home, { password: new Secret("hunter2") }));
    const failure = await attempt.catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining("tried keyboard-interactive; password; the server accepts publickey, password"),
    });
    expect(JSON.stringify(failure) + String(failure)).not.toContain("hunter2");
  });

  test("nobody with another key", async () => {
    await using world = await startWorld();
    await writeFile(world.identityFile, generateSshKey().privateKey.reveal());
    await expect(connectSsh(world.ssh)).rejects.toMatchObject({
      code: "ssh-auth",
      details: { accepts: ["publickey"] },
    });
  });

  test("nobody with nothing to show", async () => {
    await using world = await startWorld();
    const attempt = connectSsh(optionsFor(world.server, world.home, {}));
    await expect(attempt).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining("there was nothing to try"),
    });
  });

  test("OpenSSH's own client", async () => {
    await using world = await startWorld();
    const options = ["BatchMode=yes", "IdentitiesOnly=yes", `UserKnownHostsFile=${join(world.home, "known_hosts")}`];
    const flags = options.flatMap((option) => ["-o", option]);
    const destination = ["-p", String(world.server.port), "-i", world.identityFile, `me@${world.server.host}`];
    await expect(runTool("ssh", "-F", "none", ...flags, ...destination, "true")).resolves.toBe("");
  });
});

describe.each([
  ["remote", remote],
  ["local", local],
] as const)("a %s forward", (_direction, parse) => {
  test("carries several MiB both ways, and ends each way on its own", async () => {
    await using echo = await startEcho();
    await using world = await startWorld();
    await using watched = await watchTunnel({ ssh: world.ssh, forwards: [parse(`0:127.0.0.1:${echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const payloads = Array.from({ length: 3 }, () => randomBytes(5 * 1024 * 1024));
    const replies = await Promise.all(payloads.map((payload) => exchange(port, payload)));
    expect(replies.map(sha256)).toEqual(payloads.map(sha256));
    await until(() => watched.tunnel.forwards()[0]?.activeConnections === 0);
  });

  test("answers after the end of the question", async () => {
    await using target = await startTarget(async (socket) => socket.end(`heard ${(await readAll(socket)).toString()}`));
    await using world = await startWorld();
    await using watched = await watchTunnel({ ssh: world.ssh, forwards: [parse(`0:127.0.0.1:${target.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    expect((await exchange(port, "a question")).toString()).toBe("heard a question");
  });
});

describe("what it refuses", () => {
  test("to listen on anything but loopback", async () => {
    await using world = await startWorld();
    const opening = watchTunnel({ ssh: world.ssh, forwards: [remote("0.0.0.0:0:127.0.0.1:1")] });
    await expect(opening).rejects.toMatchObject({ code: "ssh-forward" });
  });

  test("to connect to anything but loopback", async () => {
    await using world = await startWorld();
    await using watched = await watchTunnel({ ssh: world.ssh, forwards: [local("0:192.0.2.1:80")] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    await expect(exchange(port, "hello")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("a port that is taken", async () => {
    await using world = await startWorld();
    await expect(startSshServer({ port: world.server.port })).rejects.toMatchObject({ code: "port-in-use" });
    const opening = watchTunnel({ ssh: world.ssh, forwards: [remote(`${world.server.port}:127.0.0.1:1`)] });
    await expect(opening).rejects.toMatchObject({ code: "ssh-forward" });
  });
});

test("a port it listened on is free once its client is gone, and once it is asked to stop", async () => {
  await using world = await startWorld();
  const listening = async (port: number) =>
    exchange(port, "").then(
      () => true,
      () => false,
    );
  const { tunnel } = await watchTunnel({ ssh: world.ssh, forwards: [remote("0:127.0.0.1:1")] });
  const [{ port } = { port: 0 }] = tunnel.forwards();
  await tunnel.close();
  await until(async () => !(await listening(port)));
  expect(await listening(port)).toBe(false);

  await using connection = await connectSsh(world.ssh);
  await new Promise((resolve) => connection.client.forwardIn("127.0.0.1", port, resolve));
  await new Promise((resolve) => connection.client.unforwardIn("127.0.0.1", port, resolve));
  await until(async () => !(await listening(port)));
});

describe("a forward that a session still holds", () => {
  const askFor = async ({ client }: SshConnection, port: number) =>
    new Promise<number | undefined>((resolve) => {
      client.forwardIn("127.0.0.1", port, (error, granted) =>
        resolve(error === undefined ? granted || port : undefined),
      );
    });

  test("goes to a new session with the same key, and the old one is dropped", async () => {
    await using world = await startWorld();
    await using old = await connectSsh(world.ssh);
    const port = (await askFor(old, 0)) ?? 0;
    await using bystander = await connectSsh(world.ssh);
    await using fresh = await connectSsh(world.ssh);
    fresh.client.on("tcp connection", (_details, accept) => accept().end("the new one"));
    expect(await askFor(fresh, port)).toBe(port);
    expect(await old.closed).toMatchObject({ code: "ssh" });
    expect((await exchange(port, "")).toString()).toBe("the new one");
    expect(bystander.isOpen).toBe(true);
  });

  test("stays with it when it asks again itself, or somebody else asks", async () => {
    const password = new Secret("correct horse");
    await using world = await startWorld({ password });
    await using holder = await connectSsh(world.ssh);
    const port = (await askFor(holder, 0)) ?? 0;
    await using other = await connectSsh(optionsFor(world.server, world.home, { password }));
    expect(await askFor(other, port)).toBeUndefined();
    expect(await askFor(holder, port)).toBeUndefined();
    await new Promise((resolve) => other.client.unforwardIn("127.0.0.1", port, resolve));
    holder.client.on("tcp connection", (_details, accept) => accept().end("still here"));
    expect((await exchange(port, "")).toString()).toBe("still here");
  });
});

test("closing it ends its connections", async () => {
  await using world = await startWorld();
  const connection = await connectSsh(world.ssh);
  await world.server.close();
  await expect(connection.closed).resolves.toMatchObject({ code: "ssh" });
});
