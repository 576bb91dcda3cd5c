/** Reads that are lent are the bytes that came, in order, and stop while the socket is paused. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { connectLending, lendReads } from "../../src/ssh/lend-reads.ts";

/** Somebody who sends, and the socket that dialled them. */
async function dialled(): Promise<{ sender: Socket; socket: Socket } & AsyncDisposable> {
  const server = createServer({ noDelay: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection");
  const socket = connectLending({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" });
  const [sender] = (await accepted) as [Socket];
  return {
    sender,
    socket,
    async [Symbol.asyncDispose]() {
      sender.destroy();
      socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test("before they are lent they are events, of memory of their own", async () => {
  await using world = await dialled();
  const { sender, socket } = world;
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  sender.write("one");
  await once(socket, "data");
  sender.write("two");
  await once(socket, "data");
  expect(Buffer.concat(chunks).toString()).toBe("onetwo");
});

test("several MiB arrive unchanged by whoever they are lent to, with pauses in between", async () => {
  await using world = await dialled();
  const { sender, socket } = world;
  const sent = randomBytes(5 * 1024 * 1024);
  const arrived: Buffer[] = [];
  let isPaused = false;
  expect(
    lendReads(socket, (chunk) => {
      expect(isPaused).toBe(false);
      arrived.push(Buffer.from(chunk));
      if (arrived.length % 3 > 0) return;
      isPaused = true;
      socket.pause();
      setImmediate(() => {
        isPaused = false;
        socket.resume();
      });
    }),
  ).toBe(true);
  socket.resume();
  sender.end(sent);
  await once(socket, "end");
  expect(Buffer.concat(arrived).equals(sent)).toBe(true);
});

test("what waits in a paused socket comes before what is lent afterwards", async () => {
  await using world = await dialled();
  const { sender, socket } = world;
  const seen: string[] = [];
  sender.write("early ");
  await once(socket, "readable");
  socket.pause();
  lendReads(socket, (chunk) => seen.push(chunk.toString()));
  socket.on("data", (chunk: Buffer) => seen.push(chunk.toString()));
  socket.resume();
  await nextTurn();
  sender.end("late");
  await once(socket, "end");
  expect(seen.join("")).toBe("early late");
});

test("a socket of another making is left alone", () => {
  const socket = createConnection({ port: 9, host: "127.0.0.1" }).on("error", () => {});
  expect(lendReads(socket, () => {})).toBe(false);
  socket.destroy();
});
