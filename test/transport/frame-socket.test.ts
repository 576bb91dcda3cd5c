import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { maxBufferedBytes } from "../../src/protocol/limits.ts";
import { type CloseInfo, FrameSocket, type FrameSocketListener } from "../../src/transport/frame-socket.ts";

/** Milliseconds that a peer has to answer a close frame. */
const graceMs = 2000;

/** A frame socket of ours, and the bare WebSocket and TCP socket at the other end. */
async function connectPair(listener: Partial<FrameSocketListener> = {}) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  await once(server, "listening");
  const met = Promise.withResolvers<{ peer: WebSocket; tcp: Socket }>();
  server.on("connection", (peer, request) => met.resolve({ peer, tcp: request.socket }));
  const web = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, { perMessageDeflate: false });
  const closed = Promise.withResolvers<CloseInfo>();
  const ends: CloseInfo[] = [];
  const socket = new FrameSocket(web, {
    text: () => {},
    ...listener,
    closed(info) {
      ends.push(info);
      closed.resolve(info);
    },
  });
  await once(web, "open");
  const { peer, tcp } = await met.promise;
  return {
    socket,
    peer,
    tcp,
    closed: closed.promise,
    ends,
    async [Symbol.asyncDispose]() {
      web.terminate();
      peer.terminate();
      server.close();
      await once(server, "close");
      await closed.promise;
      expect(ends, "a socket tells its end exactly once").toHaveLength(1);
    },
  };
}

/** Collects what a listener's method is called with; `next(n)` resolves at its n-th call. */
function collect<Value>() {
  const values: Value[] = [];
  const arrived = new EventTarget();
  return {
    values,
    add: (value: Value) => {
      values.push(value);
      arrived.dispatchEvent(new Event("add"));
    },
    async next(count: number): Promise<Value[]> {
      while (values.length < count) await once(arrived, "add");
      return values;
    },
  };
}

afterEach(() => {
  vi.useRealTimers();
});

describe("messages", () => {
  test("go both ways as text, whatever the language", async () => {
    const heard = collect<string>();
    await using pair = await connectPair({ text: heard.add });
    const sent = once(pair.peer, "message");
    expect(pair.socket.send("Grüße, 世界 😀")).toBe(true);
    const [data, isBinary] = await sent;
    expect([String(data), isBinary]).toEqual(["Grüße, 世界 😀", false]);
    pair.peer.send("ответ");
    pair.peer.send("");
    expect(await heard.next(2)).toEqual(["ответ", ""]);
  });

  test("that come in fragments are put together, even when a character is cut", async () => {
    const heard = collect<string>();
    await using pair = await connectPair({ text: heard.add });
    const bytes = Buffer.from("a😀b");
    pair.peer.send(bytes.subarray(0, 3), { fin: false, binary: false });
    pair.peer.send(bytes.subarray(3), { fin: true, binary: false });
    expect(await heard.next(1)).toEqual(["a😀b"]);
  });

  test("of binary kind are told apart, and are no text", async () => {
    const heard = collect<string>();
    await using pair = await connectPair({ text: heard.add, binary: () => heard.add("(binary)") });
    pair.peer.send(Buffer.from("bytes"));
    pair.peer.send("text");
    expect(await heard.next(2)).toEqual(["(binary)", "text"]);
  });

  test("of binary kind are passed over by whoever does not ask for them", async () => {
    const heard = collect<string>();
    await using pair = await connectPair({ text: heard.add });
    pair.peer.send(Buffer.from("bytes"));
    pair.peer.send("text");
    expect(await heard.next(1)).toEqual(["text"]);
  });
});

describe("signs of life", () => {
  test("are messages of either kind, and pings", async () => {
    const alive = collect<undefined>();
    const heard = () => alive.add(undefined);
    await using pair = await connectPair({ alive: heard, pinged: heard, binary: () => {} });
    const actions = [() => pair.peer.send("x"), () => pair.peer.send(Buffer.from("x")), () => pair.peer.ping()];
    for (const [index, act] of actions.entries()) {
      act();
      await alive.next(index + 1);
    }
    expect(alive.values).toHaveLength(actions.length);
  });

  test("can be asked for: the peer hears a ping, and its pong is one", async () => {
    const alive = collect<undefined>();
    await using pair = await connectPair({ alive: () => alive.add(undefined) });
    const pinged = once(pair.peer, "ping");
    pair.socket.ping();
    await pinged;
    expect(await alive.next(1)).toHaveLength(1);
  });
});

describe("the end, made by the peer", () => {
  test.each<[code: number, reason: string]>([
    [1000, ""],
    [1008, "pairing required: device is not approved yet"],
    [1012, "service restart"],
    [4001, "device removed"],
  ])("with code %i %j is told as it came", async (code, reason) => {
    await using pair = await connectPair();
    pair.peer.close(code, reason);
    expect(await pair.closed).toEqual({ code, reason });
  });

  test("with a close frame without a code is 1005", async () => {
    await using pair = await connectPair();
    pair.peer.close();
    expect(await pair.closed).toEqual({ code: 1005, reason: "" });
  });

  test("without a close frame is 1006", async () => {
    await using pair = await connectPair();
    pair.peer.terminate();
    expect(await pair.closed).toMatchObject({ code: 1006, reason: "" });
  });

  test("by a reset connection is 1006 too", async () => {
    await using pair = await connectPair();
    pair.tcp.resetAndDestroy();
    expect(await pair.closed).toMatchObject({ code: 1006, reason: "" });
  });

  test.each<[what: string, bytes: readonly number[]]>([
    ["a reserved opcode", [0x83, 0x00]],
    ["text that is not UTF-8", [0x81, 0x02, 0xc3, 0x28]],
    ["a masked message, which only clients may send", [0x81, 0x80, 1, 2, 3, 4]],
  ])("by %s has its cause", async (_what, bytes) => {
    await using pair = await connectPair();
    pair.tcp.write(Buffer.from(bytes));
    expect((await pair.closed).cause).toBeInstanceOf(Error);
  });
});

describe("the end, made by us", () => {
  test("tells the peer the code and the reason, cut to what a close frame holds", async () => {
    await using pair = await connectPair();
    const heard = once(pair.peer, "close");
    pair.socket.close(4000, `tick timeout ${"é".repeat(200)}`);
    const [code, reason] = await heard;
    expect(code).toBe(4000);
    expect(reason.toString()).toBe(`tick timeout ${"é".repeat(53)}`);
    expect(await pair.closed).toMatchObject({ code: 4000 });
  });

  test("is the end of sending", async () => {
    await using pair = await connectPair();
    const heard = collect<string>();
    pair.peer.on("message", (data: Buffer) => heard.add(data.toString()));
    expect(pair.socket.isOpen).toBe(true);
    expect(pair.socket.send("before")).toBe(true);
    pair.socket.close(1000, "");
    expect(pair.socket.isOpen).toBe(false);
    expect(pair.socket.send("after")).toBe(false);
    pair.socket.ping();
    await pair.closed;
    expect(heard.values).toEqual(["before"]);
  });

  test("may be made again, also when it is over, without a second effect", async () => {
    await using pair = await connectPair();
    pair.socket.close(4000, "first");
    pair.socket.close(4001, "second");
    expect(await pair.closed).toMatchObject({ code: 4000, reason: "first" });
    pair.socket.close(4001, "third");
    pair.socket.terminate();
  });

  test("by terminate sends no close frame", async () => {
    await using pair = await connectPair();
    const heard = once(pair.peer, "close");
    pair.socket.terminate();
    expect((await heard)[0]).toBe(1006);
    expect(await pair.closed).toMatchObject({ code: 1006 });
  });

  test("comes also when the peer never answers the close frame: after the grace, and not before", async () => {
    await using pair = await connectPair();
    pair.tcp.pause();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    pair.socket.close(1000, "bye");
    vi.advanceTimersByTime(graceMs - 1);
    await new Promise(setImmediate);
    expect(pair.ends).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(await pair.closed).toMatchObject({ code: 1006 });
  });

  test("leaves no timer behind when the peer answers", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    await using pair = await connectPair();
    pair.socket.close(1000, "bye");
    await pair.closed;
    expect(vi.getTimerCount()).toBe(0);
  });
});

test("a peer that does not take what it is sent is closed with 1008, before memory grows without limit", async () => {
  await using pair = await connectPair();
  pair.tcp.pause();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const message = "x".repeat(4 * 1024 * 1024);
  let sent = 0;
  while (pair.socket.send(message)) sent += message.length;
  // Everything that did not fit into the system's own buffers waits here; one message may go past the limit.
  expect(pair.socket.bufferedBytes).toBeGreaterThan(maxBufferedBytes);
  expect(pair.socket.bufferedBytes).toBeLessThan(maxBufferedBytes + 2 * message.length);
  expect(sent).toBeGreaterThanOrEqual(maxBufferedBytes);
  expect(pair.socket.isOpen).toBe(false);
  vi.advanceTimersByTime(graceMs);
  await pair.closed;
});

test("a slow peer that catches up is told why it was closed", async () => {
  await using pair = await connectPair();
  pair.tcp.pause();
  const heard = once(pair.peer, "close");
  const message = "x".repeat(4 * 1024 * 1024);
  while (pair.socket.send(message));
  pair.tcp.resume();
  const [code, reason] = await heard;
  expect([code, reason.toString()]).toEqual([1008, "slow consumer"]);
});
