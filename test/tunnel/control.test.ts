import { statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { askTunnel, closeTunnel } from "../../src/tunnel/control-client.ts";
import { Lines, maxRequestBytes, readReply, readRequest } from "../../src/tunnel/control-message.ts";
import { ownerMethods, serveControl } from "../../src/tunnel/control-server.ts";
import type { ControlMethods, TunnelOwner } from "../../src/tunnel/control-server.ts";
import type { TunnelReport } from "../../src/tunnel/report.ts";
import { temporaryDirectory } from "./world.ts";

const nonce = "0123456789abcdef0123456789abcdef";
const report: TunnelReport = {
  name: "cloud",
  destination: "me@cloud.example",
  state: "up",
  pid: process.pid,
  uptimeMs: 1,
  reconnects: 0,
  forwards: [],
  startedAtMs: 1,
  errors: [],
  history: [],
  draining: 0,
  connections: [],
};

/** A tunnel that notes what it is asked. */
class NotedOwner implements TunnelOwner {
  readonly asked: string[] = [];
  summary() {
    return report;
  }
  report() {
    this.asked.push("report");
    return report;
  }
  async check() {
    return [{ direction: "local" as const, bind: "127.0.0.1", port: 1, target: "127.0.0.1:2", ok: true }];
  }
  async reopen(reason: string) {
    if (reason === "fail") throw new OpenClawError("ssh-auth", "the server refuses", { hint: "another key" });
    this.asked.push(`reopen ${reason}`);
  }
  async close() {
    this.asked.push("close");
  }
}

async function startOwner(more: ControlMethods = {}) {
  const directory = await temporaryDirectory();
  const owner = new NotedOwner();
  const socket = join(directory.path, "t.sock");
  const methods = { ...ownerMethods(owner, systemRuntime), ...more };
  const server = await serveControl({ path: socket, nonce, methods, runtime: systemRuntime });
  const close = () => server[Symbol.asyncDispose]();
  return {
    owner,
    address: { socket, nonce },
    close,
    async [Symbol.asyncDispose]() {
      await close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

const soon = () => AbortSignal.timeout(30_000);

test("the socket is private, and gone after the end", async () => {
  await using world = await startOwner();
  expect(statSync(world.address.socket).mode & 0o777).toBe(0o600);
  await world.close();
  expect(() => statSync(world.address.socket)).toThrow("ENOENT");
});

test("each method reaches the tunnel, and its answer comes back", async () => {
  await using world = await startOwner();
  expect(await askTunnel(world.address, "report", {}, soon())).toEqual(report);
  expect(await askTunnel(world.address, "summary", {}, soon())).toMatchObject({ name: "cloud" });
  expect(await askTunnel(world.address, "check", {}, soon())).toMatchObject({ forwards: [{ ok: true }] });
  await askTunnel(world.address, "reopen", { reason: "new key" }, soon());
  expect(world.owner.asked).toEqual(["report", "reopen new key"]);
});

test("what the tunnel fails with is what who asked fails with", async () => {
  await using world = await startOwner();
  await expect(askTunnel(world.address, "reopen", { reason: "fail" }, soon())).rejects.toMatchObject({
    code: "ssh-auth",
    message: "the server refuses",
    hint: "another key",
  });
});

test("a request with another tunnel's nonce does nothing, and does not learn this one's", async () => {
  await using world = await startOwner();
  const other = { ...world.address, nonce: "f".repeat(32) };
  await expect(closeTunnel(other, soon())).rejects.toMatchObject({ code: "not-found" });
  expect(world.owner.asked).toEqual([]);
  const socket = connect({ path: world.address.socket });
  socket.write(`${JSON.stringify({ id: 1, nonce: other.nonce, method: "report" })}\n`);
  const [said] = await Promise.all([
    text(socket),
    new Promise((resolve) => socket.once("data", () => resolve(socket.end()))),
  ]);
  expect(said).toContain('"ok":false');
  expect(said).not.toContain(nonce);
});

test("a program that took over the path is not believed without the nonce", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "t.sock");
  const server = createServer((socket) => {
    socket
      .on("error", () => {})
      .resume()
      .write(`${JSON.stringify({ id: 1, nonce: "0", ok: true, result: {} })}\n`);
  });
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  await expect(askTunnel({ socket: path, nonce }, "report", {}, soon())).rejects.toMatchObject({ code: "not-found" });
  await new Promise((resolve) => server.close(resolve));
});

test("where nobody listens, or the path is none of a socket, there is no tunnel", async () => {
  await using directory = await temporaryDirectory();
  const file = join(directory.path, "file");
  writeFileSync(file, "");
  for (const socket of [file, join(directory.path, "nothing")]) {
    await expect(askTunnel({ socket, nonce }, "report", {}, soon())).rejects.toMatchObject({ code: "not-found" });
  }
});

test("a method that the owner does not know says so", async () => {
  await using world = await startOwner();
  const socket = connect({ path: world.address.socket });
  socket.write(`${JSON.stringify({ id: 7, nonce, method: "toString" })}\n`);
  const [chunk] = await new Promise<[Buffer]>((resolve) => socket.once("data", (data: Buffer) => resolve([data])));
  expect(JSON.parse(chunk.toString())).toMatchObject({ id: 7, ok: false, error: { code: "usage" } });
  socket.destroy();
});

describe("follow", () => {
  test("sends a report at once and then again, and ends with the tunnel", async () => {
    await using world = await startOwner();
    const rows: TunnelReport[] = [];
    const twice = Promise.withResolvers<void>();
    const following = askTunnel(world.address, "follow", { everyMs: 1 }, soon(), (row) => {
      rows.push(row);
      if (rows.length === 2) twice.resolve();
    });
    await twice.promise;
    await world.close();
    expect(await following).toEqual({});
    expect(rows[0]).toEqual(report);
  });

  test("stops asking the tunnel when the reader is gone", async () => {
    const over = Promise.withResolvers<unknown>();
    await using world = await startOwner({
      follow: async ({ signal, row }) => {
        row(report);
        signal.addEventListener("abort", () => over.resolve(signal.reason));
        await over.promise;
        return {};
      },
    });
    const reader = new AbortController();
    const following = askTunnel(world.address, "follow", {}, reader.signal, () => reader.abort(new Error("enough")));
    await expect(following).rejects.toThrow("enough");
    expect(await over.promise).toBeInstanceOf(OpenClawError);
  });

  test("a reader that does not read gets fewer rows and costs bounded memory", async () => {
    const sent = Promise.withResolvers<void>();
    await using world = await startOwner({
      follow: async ({ row }) => {
        for (let at = 0; at < 2000; at++) row({ text: "x".repeat(10_000) });
        sent.resolve();
        return {};
      },
    });
    const socket = connect({ path: world.address.socket });
    socket.pause().write(`${JSON.stringify({ id: 1, nonce, method: "follow" })}\n`);
    await sent.promise;
    let bytes = 0;
    const done = new Promise<void>((resolve) =>
      socket.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (chunk.includes('"ok":true')) resolve();
      }),
    );
    socket.resume();
    await done;
    expect(bytes).toBeLessThan(4_000_000);
    socket.destroy();
  });
});

test("closing resolves when the owner has taken its socket down", async () => {
  await using world = await startOwner();
  const closing = closeTunnel(world.address, soon());
  await expect.poll(() => world.owner.asked, { timeout: 30_000 }).toEqual(["close"]);
  await world.close();
  await closing;
});

test("an owner that never answers is left when the time is up", async () => {
  await using world = await startOwner({ report: () => new Promise(() => {}) });
  await expect(askTunnel(world.address, "report", {}, AbortSignal.timeout(50))).rejects.toThrow("timeout");
});

test.each([
  ["a line that is too long", "x".repeat(maxRequestBytes + 1)],
  ["a line that is no JSON", "hello\n"],
  ["JSON that is no request", '{"id":1}\n'],
  ["an HTTP request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
])("%s ends the connection, and the tunnel goes on", async (_what, said) => {
  await using world = await startOwner();
  const socket = connect({ path: world.address.socket });
  const closed = new Promise((resolve) => socket.on("error", () => {}).once("close", resolve));
  socket.write(said);
  await closed;
  expect(await askTunnel(world.address, "report", {}, soon())).toEqual(report);
});

test("lines come out as they went in, however the bytes are cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: "grapheme" }).filter((one) => !one.includes("\n"))),
      fc.integer({ min: 1, max: 7 }),
      (lines, size) => {
        const reader = new Lines(1 << 20);
        const whole = Buffer.from(lines.map((line) => `${line}\n`).join(""));
        const got: string[] = [];
        for (let from = 0; from < whole.length; from += size)
          got.push(...reader.push(whole.subarray(from, from + size)));
        expect(got).toEqual(lines);
      },
    ),
  );
});

test("a line of the limit passes, one byte more does not, in however many pieces", () => {
  const reader = new Lines(8);
  expect(reader.push(Buffer.from("12345678\n"))).toEqual(["12345678"]);
  reader.push(Buffer.from("12345678"));
  expect(() => reader.push(Buffer.from("9"))).toThrow(OpenClawError);
});

test("whatever a line holds, reading it throws nothing", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
      expect(() => [readRequest(line), readReply(line)]).not.toThrow();
    }),
  );
});
