/** Packets that cost little are the same packets, with every cipher and after every key exchange. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Duplex, PassThrough } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { connectSsh } from "../../src/ssh/connect.ts";
import { gatherWrites, hasQuickPackets } from "../../src/ssh/quick-packets.ts";
import { hasNativeCrypto } from "../../src/ssh/ssh2.ts";
import { startSshd } from "../support/sshd.ts";
import { dial, exchange, readAll, sha256, startEcho } from "../tunnel/tcp.ts";
import { optionsFor, remote, watchTunnel } from "../tunnel/world.ts";

describe.each([
  ["aes128-gcm@openssh.com"],
  ["aes256-gcm@openssh.com"],
  ["chacha20-poly1305@openssh.com"],
  ["aes128-ctr"],
])("with %s", (cipher) => {
  const server = startSshd({ config: [`Ciphers ${cipher}`, "RekeyLimit 1M"] });
  afterAll(async () => (await server)[Symbol.asyncDispose]());

  test("several MiB arrive unchanged through several key exchanges", async () => {
    await using echo = await startEcho();
    await using watched = await watchTunnel({
      ssh: optionsFor(await server),
      forwards: [remote(`0:127.0.0.1:${echo.port}`)],
    });
    const payload = randomBytes(6 * 1024 * 1024);
    const reply = await exchange(watched.tunnel.forwards()[0]?.port ?? 0, payload);
    expect(sha256(reply)).toBe(sha256(payload));
  });

  // The addon has its keys inside.
  test.skipIf(hasNativeCrypto())("the library keeps its keys where they are looked for", async () => {
    await using connection = await connectSsh(optionsFor(await server));
    expect(hasQuickPackets(connection.client)).toBe(true);
  });
});

test.each([1, 4, 8_191, 8_192, 32_767, 32_768, 65_537, 200_000])(
  "pieces of %i bytes that come now and then arrive unchanged",
  async (size) => {
    await using sshd = await startSshd();
    await using echo = await startEcho();
    await using watched = await watchTunnel({ ssh: optionsFor(sshd), forwards: [remote(`0:127.0.0.1:${echo.port}`)] });
    const pieces = Array.from({ length: 40 }, () => randomBytes(size));
    const socket = await dial(watched.tunnel.forwards()[0]?.port ?? 0);
    const reply = readAll(socket);
    for (const piece of pieces) {
      if (!socket.write(piece)) await once(socket, "drain");
      await nextTurn();
    }
    socket.end();
    expect(sha256(await reply)).toBe(sha256(Buffer.concat(pieces)));
  },
);

test("a server's first packet that has come in part when the key exchange ends is read like any other", async () => {
  await using sshd = await startSshd();
  await using echo = await startEcho();
  await using relay = await startSplittingRelay(sshd.port);
  const dialAt = { host: "127.0.0.1", port: relay.port };
  await using watched = await watchTunnel({
    ssh: { ...optionsFor(sshd), dialAt },
    forwards: [remote(`0:127.0.0.1:${echo.port}`)],
  });
  const payload = randomBytes(1024 * 1024);
  const reply = await exchange(watched.tunnel.forwards()[0]?.port ?? 0, payload);
  expect(sha256(reply)).toBe(sha256(payload));
  expect(relay.hasSplit()).toBe(true);
});

describe("gathered writes", () => {
  test("arrive in order, as one piece for each turn", async () => {
    const pieces: string[] = [];
    const socket = new Duplex({
      read() {},
      writev(chunks, done) {
        pieces.push(chunks.map(({ chunk }) => String(chunk)).join(""));
        done();
      },
    });
    gatherWrites(socket);
    for (const word of ["one ", "two ", "three"]) socket.write(Buffer.from(word));
    await nextTurn();
    socket.write(Buffer.from("four"));
    await nextTurn();
    expect(pieces).toEqual(["one two three", "four"]);
  });

  test("are not held back by an end in the same turn", async () => {
    const socket = new PassThrough();
    gatherWrites(socket);
    socket.write(Buffer.from("good"));
    socket.end("bye");
    expect(Buffer.concat(await socket.toArray()).toString()).toBe("goodbye");
  });
});

/** More than a server's greeting, less than the greeting and its list of algorithms. */
const listBytes = 500;
/** The end of a packet that some servers send right behind their agreement: a list of extensions (RFC 8308 § 2.4). */
const heldBackBytes = 20;

/** A relay that holds back the end of what the server says with its agreement, until the client has answered that. */
async function startSplittingRelay(targetPort: number) {
  const sockets: Socket[] = [];
  let hasSplit = false;
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: "127.0.0.1", port: targetPort, noDelay: true });
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on("error", () => {});
    let passed = 0;
    let held: Buffer | undefined;
    near.on("data", (chunk: Buffer) => {
      far.write(chunk);
      if (held !== undefined) near.write(held);
      held = undefined;
    });
    far.on("data", (chunk: Buffer) => {
      const isAgreement = !hasSplit && passed > listBytes;
      near.write(isAgreement ? chunk.subarray(0, -heldBackBytes) : chunk);
      if (isAgreement) held = chunk.subarray(-heldBackBytes);
      hasSplit ||= isAgreement;
      passed += chunk.length;
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    hasSplit: () => hasSplit,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
