import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { dial } from "../../src/transport/dial.ts";
import { startRawServer } from "../fixtures/raw-server.ts";

/** `dial` loads the WebSocket library only once TCP is connected. This holds the loading up until something has happened. */
function holdLoading(until: () => Promise<unknown>): void {
  vi.doMock("ws", async (original) => {
    await until();
    return original();
  });
}

const listener = { text: () => {}, closed: () => {} };
const longMs = 30_000;
const dialled: Socket[] = [];

function remember(message: unknown): void {
  if (typeof message === "object" && message !== null && "socket" in message && message.socket instanceof Socket) {
    dialled.push(message.socket);
  }
}

beforeEach(() => {
  dialled.length = 0;
  subscribe("net.client.socket", remember);
});
afterEach(() => {
  unsubscribe("net.client.socket", remember);
  vi.doUnmock("ws");
});

/** Resolves when the client's end of the connection is closed. */
async function clientClosed(): Promise<void> {
  for (const socket of dialled) {
    if (socket.closed) continue;
    // Not `once`: it would listen for errors too, and so hide that nobody else does.
    await new Promise<void>((resolve) => void socket.once("close", () => resolve()));
  }
}

describe("while the WebSocket library is loading", () => {
  test.each<[what: string, end: (socket: Socket) => void]>([
    ["closed", (socket) => socket.end()],
    ["reset", (socket) => socket.resetAndDestroy()],
  ])("a connection that is %s is unreachable: no crash, no endless wait", async (_what, end) => {
    await using server = await startRawServer((socket) => void loading.promise.then(() => end(socket)));
    const loading = Promise.withResolvers<void>();
    holdLoading(() => {
      loading.resolve();
      return clientClosed();
    });
    const dialling = dial({ url: `ws://127.0.0.1:${server.port}`, timeoutMs: longMs }, listener);
    await expect(dialling).rejects.toMatchObject({ code: "unreachable", hint: expect.stringContaining("tunnel") });
  });

  test("an abort is noticed", async () => {
    const stop = new AbortController();
    const reason = new Error("Ctrl-C");
    await using server = await startRawServer(() => {});
    holdLoading(async () => stop.abort(reason));
    const options = { url: `ws://127.0.0.1:${server.port}`, timeoutMs: longMs, signal: stop.signal };
    await expect(dial(options, listener)).rejects.toBe(reason);
    await server.gone(1);
    expect(server.heard).toBe("");
  });

  test("the deadline is noticed", async () => {
    await using server = await startRawServer(() => {});
    holdLoading(() => once(AbortSignal.timeout(5), "abort")); // made after the dial's own of 1 ms: it comes later
    await expect(dial({ url: `ws://127.0.0.1:${server.port}`, timeoutMs: 1 }, listener)).rejects.toMatchObject({
      code: "timeout",
    });
  });
});
