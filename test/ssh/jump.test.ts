/** Connections through jump hosts, each OpenSSH's own server: checked and authenticated one by one, and lost together. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { connectSsh } from "../../src/ssh/connect.ts";
import type { SshOptions } from "../../src/ssh/connect.ts";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";
import { startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { startRelay } from "../tunnel/relay.ts";
import { dial, exchange, sha256, startEcho, startTarget, until } from "../tunnel/tcp.ts";
import { local, optionsFor, remote, watchTunnel } from "../tunnel/world.ts";
import type { Overrides } from "../tunnel/world.ts";

let first: Sshd;
let second: Sshd;
let last: Sshd;
beforeAll(async () => {
  [first, second, last] = await Promise.all([startSshd(), startSshd(), startSshd()]);
});
afterAll(async () => {
  await Promise.all([first, second, last].map((sshd) => sshd[Symbol.asyncDispose]()));
});

/** To the last server through the two others. */
function through(overrides: Overrides = {}, jumps = [optionsFor(first), optionsFor(second)]): SshOptions {
  return { ...optionsFor(last, overrides), jumps };
}

function addressOf({ port }: Sshd): string {
  return `127.0.0.1:${port}`;
}

function logins({ log }: Sshd): number {
  return log.filter((line) => line.startsWith("Accepted publickey")).length;
}

test("the last server is reached, and each on the way let us in", async () => {
  const before = [first, second, last].map(logins);
  await using connection = await connectSsh(through());
  expect(connection.hostKeyFingerprint).toBe(last.hostKeyFingerprint);
  expect([first, second, last].map(logins)).toEqual(before.map((count) => count + 1));
});

describe.each([
  ["remote", remote],
  ["local", local],
] as const)("a %s forward", (_direction, parse) => {
  test("carries several MiB both ways, unchanged, over several connections at once", async () => {
    await using echo = await startEcho();
    await using watched = await watchTunnel({ ssh: through(), forwards: [parse(`0:127.0.0.1:${echo.port}`)] });
    const [row] = watched.tunnel.forwards();
    const payloads = Array.from({ length: 3 }, () => randomBytes(5 * 1024 * 1024));
    const replies = await Promise.all(payloads.map((payload) => exchange(row?.port ?? 0, payload)));
    expect(replies.map(sha256)).toEqual(payloads.map(sha256));
  });
});

test("a reader that stops bounds what the writer can hand over", async () => {
  const stalled = Promise.withResolvers<() => void>();
  await using target = await startTarget((socket) => {
    socket.pause();
    stalled.resolve(() => socket.resume());
  });
  await using watched = await watchTunnel({ ssh: through(), forwards: [local(`0:127.0.0.1:${target.port}`)] });
  const writer = await dial(watched.tunnel.forwards()[0]?.port ?? 0);
  const chunk = Buffer.alloc(64 * 1024);
  let accepted = 0;
  const offer = () => {
    writer.write(chunk, (error) => {
      if (error) return;
      accepted += chunk.length;
      offer();
    });
  };
  offer();
  const resume = await stalled.promise;
  // Nothing announces that all buffers are full: the keepalives of every server pass meanwhile.
  let settled = -1;
  await vi.waitFor(
    () => {
      const grew = accepted !== settled;
      settled = accepted;
      expect(grew).toBe(false);
    },
    { interval: 500, timeout: 20_000 },
  );
  // The sockets of the kernel, one SSH window and backlog for each of the three connections.
  expect(settled).toBeLessThan(24 * 1024 * 1024);
  resume();
  await until(() => accepted > settled + 4 * 1024 * 1024);
  writer.destroy();
});

describe("a jump host", () => {
  test("that is unknown is asked about on its own, before anything is sent to it", async () => {
    const askHostKey = vi.fn(async () => false);
    const strange = optionsFor(second, {
      hostKeys: { files: knownHostsFiles("/nonexistent", "/nonexistent/known_hosts"), askHostKey },
    });
    const before = logins(second);
    await expect(connectSsh(through({}, [optionsFor(first), strange]))).rejects.toMatchObject({
      code: "host-key-unknown",
      message: expect.stringContaining(`jump host ${addressOf(second)}`),
      details: { jumpHost: addressOf(second), fingerprint: second.hostKeyFingerprint },
    });
    expect(askHostKey).toHaveBeenCalledTimes(1);
    expect(logins(second)).toBe(before);
  });

  test("whose key has changed is refused by name", async () => {
    const wrong = optionsFor(first, { hostKeys: { fingerprint: last.hostKeyFingerprint } });
    await expect(connectSsh(through({}, [wrong]))).rejects.toMatchObject({
      code: "host-key-changed",
      message: expect.stringContaining(`jump host ${addressOf(first)}`),
    });
  });

  test("that does not let us in is named", async () => {
    const stranger = optionsFor(second, { credentials: { identityFiles: [last.identityFile] } });
    await expect(connectSsh(through({}, [optionsFor(first), stranger]))).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining(`jump host ${addressOf(second)}: ${addressOf(second)} refuses`),
      details: { jumpHost: addressOf(second) },
    });
  });

  test("that cannot be reached is named, from here and from the one before", async () => {
    const nobody = { ...optionsFor(second), port: 1 };
    await expect(connectSsh(through({}, [nobody]))).rejects.toMatchObject({
      code: "ssh",
      message: "jump host 127.0.0.1:1: nothing accepts connections at 127.0.0.1:1 (ECONNREFUSED)",
    });
    await expect(connectSsh(through({}, [optionsFor(first), nobody]))).rejects.toMatchObject({
      code: "ssh",
      message: expect.stringContaining(`jump host ${addressOf(first)} does not reach 127.0.0.1:1: `),
      details: { jumpHost: addressOf(first) },
    });
  });

  test("that forbids to go on says so, with the settings that would allow it", async () => {
    await using closed = await startSshd({ config: ["AllowTcpForwarding no"] });
    await expect(connectSsh(through({}, [optionsFor(closed)]))).rejects.toMatchObject({
      code: "ssh",
      message: expect.stringContaining(`jump host ${addressOf(closed)} does not reach ${addressOf(last)}`),
      hint: expect.stringContaining("AllowTcpForwarding"),
    });
  });

  test("leads to the destination whose own failures are not blamed on it", async () => {
    const credentials = { identityFiles: [first.identityFile] };
    await expect(connectSsh(through({ credentials }))).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringMatching(new RegExp(`^${addressOf(last)} refuses`)),
    });
  });
});

describe("the chain", () => {
  test.each<[which: string, lost: () => Sshd, message: () => string]>([
    ["first", () => first, () => `jump host ${addressOf(first)}: ${addressOf(first)} closed the connection`],
    ["second", () => second, () => `jump host ${addressOf(second)}: ${addressOf(second)} closed the connection`],
    ["last", () => last, () => `${addressOf(last)} closed the connection`],
  ])("is lost with its %s server, which is named", async (_which, lost, message) => {
    const connection = await connectSsh(through());
    await lost().killSessions();
    await expect(connection.closed).resolves.toMatchObject({ code: "ssh", message: message() });
    await until(() => areIdle(first, second, last));
  });

  test("is closed together", async () => {
    const connection = await connectSsh(through());
    await connection.close();
    await expect(connection.closed).resolves.toBeUndefined();
    await until(() => areIdle(first, second, last));
  });

  test("that falls silent behind the first server is noticed, by the name of the one that is silent", async () => {
    await using relay = await startRelay(last.port);
    // The relay has the key of the server behind it, under its own port.
    const hostKeys = { fingerprint: last.hostKeyFingerprint };
    const ssh = { ...through({ hostKeys, keepaliveMs: 300 }, [optionsFor(first)]), port: relay.port };
    await using connection = await connectSsh(ssh);
    relay.freeze();
    await expect(connection.closed).resolves.toMatchObject({
      message: expect.stringMatching(new RegExp(`^127\\.0\\.0\\.1:${relay.port} gave no sign of life for \\d+ ms$`)),
    });
  });

  test("ends when asked to while it is being made", async () => {
    await using silent = await startTarget(() => {});
    const stop = new AbortController();
    const attempt = connectSsh({ ...through({}, [optionsFor(first)]), port: silent.port }, stop.signal);
    await until(() => silent.accepted() === 1);
    stop.abort(new Error("enough"));
    await expect(attempt).rejects.toThrow("enough");
    await until(() => areIdle(first));
  });

  test("heals as a whole, with the same ports", async () => {
    await using echo = await startEcho();
    const forwards = [remote(`0:127.0.0.1:${echo.port}`), local(`0:127.0.0.1:${echo.port}`)];
    await using watched = await watchTunnel({ ssh: through({ keepaliveMs: 1_000 }), forwards });
    const ports = watched.tunnel.forwards().map(({ port }) => port);
    const back = watched.next("reconnected");
    await first.killSessions();
    await back;
    for (const port of ports) expect((await exchange(port, "still there")).toString()).toBe("still there");
    expect(watched.tunnel.forwards().map(({ port }) => port)).toEqual(ports);
  });
});

/** No server serves anybody any more. */
async function areIdle(...servers: Sshd[]): Promise<boolean> {
  return (await Promise.all(servers.map((sshd) => sshd.sessions()))).every((count) => count === 0);
}
