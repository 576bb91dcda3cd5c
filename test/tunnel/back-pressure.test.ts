/** A reader that stops, behind a hundred and more channels at once: how much is taken from the writer on the other side, and that all of it arrives. */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { dial, startTarget, until } from "./tcp.ts";
import { local, optionsFor, remote, watchTunnel } from "./world.ts";

const channels = 104;
const mebibyte = 1024 * 1024;
/** One piece of what every writer sends, again and again. */
const piece = Buffer.alloc(256 * 1024, "back-pressure ");
/**
 * What one stopped channel may take in: its SSH window of 2 MiB, and what the kernel keeps in the TCP connection at its one end, some 3 MiB
 * in either direction. The other end is a unix socket, which keeps little. A tunnel without back-pressure would take all that there is.
 */
const limitPerChannel = 12 * mebibyte;

let sshd: Sshd;
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(async () => sshd[Symbol.asyncDispose]());

describe.each([
  ["remote", remote],
  ["local", local],
] as const)("a %s forward", (direction, parse) => {
  test.each(["who dials", "the target"])(
    "holds %s back while the other side does not read, and then all of it arrives",
    async (writer) => {
      const served: Socket[] = [];
      const path = join(sshd.directory, `${direction}-${writer.at(-1)}.sock`);
      await using _target = await startTarget((socket) => served.push(socket.pause()), { path });
      const ssh = optionsFor(sshd, { keepaliveMs: 30_000 });
      await using watched = await watchTunnel({ ssh, forwards: [parse(`0:${path}`)] });
      const [{ port } = { port: 0 }] = watched.tunnel.forwards();
      const dialled: Socket[] = [];
      for (let count = 0; count < channels; count++) dialled.push((await dial(port)).pause());
      await until(() => served.length === channels);
      const [sending, receiving] = writer === "who dials" ? [dialled, served] : [served, dialled];

      const writers = sending.map((socket) => new Writer(socket));
      await unchanging(() => writers.reduce((sum, { acceptedBytes }) => sum + acceptedBytes, 0));
      for (const { acceptedBytes } of writers) expect(acceptedBytes).toBeLessThan(limitPerChannel);

      const received = receiving.map(digestOf);
      const sent = writers.map((one) => one.end());
      expect((await Promise.all(received)).toSorted()).toEqual(sent.toSorted());
      for (const socket of [...sending, ...receiving]) socket.destroy();
    },
    120_000,
  );
});

/** Writes for as long as it is let. */
class Writer {
  readonly #socket: Socket;
  readonly #hash = createHash("sha256");
  #isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("drain", () => this.#writeOn());
    this.#writeOn();
  }

  /** What has left the socket. */
  get acceptedBytes(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }

  /** Writes no more; the digest of all that was written. */
  end(): string {
    this.#isOver = true;
    this.#socket.end();
    return this.#hash.digest("hex");
  }

  #writeOn(): void {
    for (let goesOn = !this.#isOver; goesOn;) {
      // Without back-pressure there would be no end.
      if (this.acceptedBytes >= limitPerChannel) return;
      this.#hash.update(piece);
      goesOn = this.#socket.write(piece);
    }
  }
}

/** Resolves once a number has not changed for half a second: nothing announces that nobody takes anything more. */
async function unchanging(read: () => number): Promise<void> {
  let last = -1;
  let sinceMs = 0;
  await until(() => {
    const now = read();
    if (now !== last) sinceMs = performance.now();
    last = now;
    return performance.now() - sinceMs > 500;
  });
}

async function digestOf(socket: Socket): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of socket) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
