/** The fire drill against OpenSSH's own server, and the relay that fails for it. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { drillTunnel, faults } from "../../src/tunnel/drill.ts";
import type { DrillRow } from "../../src/tunnel/drill.ts";
import { FaultRelay } from "../../src/tunnel/fault-relay.ts";
import { startSshServer } from "../../src/ssh/ssh-server.ts";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";
import { startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { dial, exchange, startEcho, startTarget, until } from "./tcp.ts";
import { optionsFor, remote, watchTunnel } from "./world.ts";

/** Short, so that a silent loss is noticed soon. */
const keepaliveMs = 200;

let sshd: Sshd;
beforeAll(async () => {
  // Without this user's start-up files, which may take their time on the machine that runs this.
  sshd = await startSshd({ config: ["SetEnv SHLVL=5"] });
});
afterAll(async () => sshd[Symbol.asyncDispose]());

describe("a drill", () => {
  test("breaks the connection in four ways, and tells what each cost, as each is over", async () => {
    const told: DrillRow[] = [];
    const rows = await drillTunnel({ ssh: optionsFor(sshd, { keepaliveMs }), onRow: (row) => told.push(row) });
    expect(told).toEqual(rows);
    expect(rows.map(({ fault }) => fault)).toEqual(faults);
    for (const row of rows) {
      expect(row).toEqual({
        fault: row.fault,
        noticedMs: expect.any(Number),
        recoveredMs: expect.any(Number),
        streams: 4,
        streamsLost: 4,
        bytesLost: expect.any(Number),
      });
      expect(row.recoveredMs).toBeGreaterThanOrEqual(row.noticedMs ?? Infinity);
    }
    const byFault = new Map(rows.map((row) => [row.fault, row]));
    // Silence takes at least a keepalive and a half to notice; what was sent meanwhile is lost.
    for (const fault of ["freeze", "half-open"] as const) {
      expect(byFault.get(fault)?.noticedMs).toBeGreaterThan(keepaliveMs);
      expect(byFault.get(fault)?.bytesLost).toBeGreaterThan(0);
    }
    expect(byFault.get("restart")?.recoveredMs).toBeGreaterThan(900);
  });

  test("leaves a tunnel to the same server alone", async () => {
    await using echo = await startEcho();
    const ssh = optionsFor(sshd, { keepaliveMs });
    await using watched = await watchTunnel({ ssh, forwards: [remote(`0:127.0.0.1:${echo.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const stream = await dial(port);
    await drillTunnel({ ssh, faults: ["cut", "freeze"] });
    stream.end("still the same stream");
    const heard: Buffer[] = [];
    for await (const bytes of stream) heard.push(bytes as Buffer);
    expect(Buffer.concat(heard).toString()).toBe("still the same stream");
    expect(watched.events.map(({ event }) => event)).not.toContain("disconnected");
  });

  test("tries what a server without echoes of its own still permits", async () => {
    await using ssh = await startSshd({ config: ["PermitOpen none"] });
    const [row] = await drillTunnel({ ssh: optionsFor(ssh, { keepaliveMs }), faults: ["cut"] });
    expect(row).toMatchObject({ streams: 0, noticedMs: expect.any(Number), recoveredMs: expect.any(Number) });
    expect(row?.note).toContain("does not permit dialling");
  });

  test("tries the connection alone with a key that permits neither", async () => {
    const authorized = join(sshd.directory, "authorized_keys");
    const line = await readFile(authorized, "utf8");
    const options = 'restrict,port-forwarding,command="false",permitlisten="127.0.0.1:18790",permitopen="a:1"';
    await writeFile(authorized, `${options} ${line}`);
    try {
      const [row] = await drillTunnel({ ssh: optionsFor(sshd, { keepaliveMs }), faults: ["freeze"] });
      expect(row).toMatchObject({
        streams: 0,
        bytesLost: 0,
        noticedMs: expect.any(Number),
        recoveredMs: expect.any(Number),
      });
      expect(row?.note).toContain("only the connection was tried");
    } finally {
      await writeFile(authorized, line);
    }
  });

  test("works with the server of this program, and fails without credentials as every connection does", async () => {
    const key = (await readFile(join(sshd.directory, "user.pub"), "utf8")).trim();
    await using server = await startSshServer({ authorizedKey: key });
    const known = join(sshd.directory, "own_known_hosts");
    await writeFile(known, `${server.hostKeyLine}\n`);
    const hostKeys = { files: knownHostsFiles(sshd.directory, known) };
    const ssh = optionsFor(sshd, { port: server.port, keepaliveMs, hostKeys });
    const rows = await drillTunnel({ ssh, faults: ["freeze", "restart"] });
    expect(rows).toMatchObject([{ streamsLost: 4 }, { streamsLost: 4 }]);
    expect(rows.map(({ recoveredMs }) => recoveredMs)).not.toContain(null);
    const stranger = { ...ssh, credentials: optionsFor(sshd, { credentials: { identityFiles: [] } }).credentials };
    await expect(drillTunnel({ ssh: stranger })).rejects.toMatchObject({ code: "ssh-auth" });
  });

  test("is over as soon as it is asked to stop", async () => {
    const stop = new AbortController();
    const drill = drillTunnel({
      ssh: optionsFor(sshd, { keepaliveMs: 60_000 }),
      faults: ["cut", "freeze"],
      signal: stop.signal,
      onRow: () => stop.abort(new Error("enough")),
    });
    await expect(drill).rejects.toThrow("enough");
  });
});

describe("the relay", () => {
  async function startWorld() {
    const served: Socket[] = [];
    const ends: string[] = [];
    const target = await startTarget((socket) => {
      served.push(socket);
      socket.on("data", (bytes: Buffer) => socket.write(bytes)).on("end", () => ends.push("end"));
      socket.on("error", () => ends.push("reset"));
    });
    const relay = await FaultRelay.start({ host: "127.0.0.1", port: target.port }, systemRuntime);
    const near = await dial(relay.address.port);
    const heard: string[] = [];
    near.on("data", (bytes: Buffer) => heard.push(bytes.toString())).on("error", () => heard.push("reset"));
    near.write("a");
    await until(() => heard.join("") === "a");
    const far = served[0];
    if (far === undefined) throw new Error("nobody was served");
    return {
      relay,
      near,
      far,
      heard,
      ends,
      async [Symbol.asyncDispose]() {
        near.destroy();
        await relay[Symbol.asyncDispose]();
        await target[Symbol.asyncDispose]();
      },
    };
  }

  test("cuts with a reset on both sides, and takes the next one", async () => {
    await using world = await startWorld();
    world.relay.cut();
    await until(() => world.heard.includes("reset") && world.ends.includes("reset"));
    expect(await exchangeHello(world.relay.address.port)).toBe("hello");
  });

  test("freezes: no byte and no end arrives either way, and a new connection passes", async () => {
    await using world = await startWorld();
    world.relay.freeze();
    world.near.end("b");
    world.far.write("c");
    expect(await exchangeHello(world.relay.address.port)).toBe("hello");
    expect([world.heard, world.ends, world.far.bytesRead]).toEqual([["a"], [], 1]);
  });

  test("half-opens: what is sent arrives, its end too, and nothing comes back", async () => {
    await using world = await startWorld();
    world.relay.halfOpen();
    world.near.end("b");
    await until(() => world.ends.includes("end"));
    expect(world.far.bytesRead).toBe(2);
    expect(world.heard).toEqual(["a"]);
  });

  test("restarts: it refuses for a while, and listens on the same port again", async () => {
    await using world = await startWorld();
    const { port } = world.relay.address;
    const back = world.relay.restart(300);
    await until(() => world.heard.includes("reset"));
    await expect(dial(port)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await back;
    expect(await exchangeHello(port)).toBe("hello");
  });

  test("breaks who dials while its target is gone", async () => {
    const { port } = await startTarget(() => {}).then(async (target) => {
      await target[Symbol.asyncDispose]();
      return target;
    });
    await using relay = await FaultRelay.start({ host: "127.0.0.1", port }, systemRuntime);
    await expect(exchange(relay.address.port, "hello")).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  async function exchangeHello(port: number): Promise<string> {
    const socket = await dial(port);
    socket.write("hello");
    const [bytes] = await new Promise<Buffer[]>((resolve) => socket.once("data", (chunk: Buffer) => resolve([chunk])));
    socket.destroy();
    return String(bytes);
  }
});
