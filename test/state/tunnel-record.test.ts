import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import {
  leaveSeat,
  nameForTunnel,
  prepareSeat,
  publishTunnel,
  removeDead,
  runningTunnels,
  type TunnelRecord,
  withdrawTunnel,
} from "../../src/state/tunnel-record.ts";

let directory: string;
let runDir: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "run-"));
  runDir = join(directory, "run");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const runtime = systemRuntime;

async function publish(name: string): Promise<TunnelRecord> {
  const seat = await prepareSeat(runDir, runtime);
  return publishTunnel(runDir, { name, destination: "me@cloud.example", ...seat }, runtime);
}

async function listening(path: string): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  return server;
}

/** The pid of a process that ended. */
async function deadPid(): Promise<number> {
  const gone = spawn(process.execPath, ["-e", ""]);
  await once(gone, "exit");
  return gone.pid ?? 0;
}

function write(record: TunnelRecord): void {
  writeFileSync(join(runDir, `tunnel-${record.name}.json`), JSON.stringify(record));
}

/** A record whose owner was killed. */
async function dead(name: string): Promise<TunnelRecord> {
  const record = { ...(await publish(name)), pid: await deadPid() };
  write(record);
  return record;
}

/** Makes a file as old as what nobody is about to finish. */
function age(path: string): void {
  utimesSync(path, 1, 1);
}

test("a record is found as long as it stands, and only its owner may read it", async () => {
  const record = await publish("cloud");
  expect(await runningTunnels(runDir, runtime)).toEqual([record]);
  expect(record).toMatchObject({ name: "cloud", pid: process.pid, nonce: expect.stringMatching(/^[0-9a-f]{32}$/u) });
  expect(statSync(join(runDir, "tunnel-cloud.json")).mode & 0o777).toBe(0o600);
  expect(statSync(runDir).mode & 0o777).toBe(0o700);
  await withdrawTunnel(runDir, record);
  expect(readdirSync(runDir)).toEqual([]);
});

test("a run directory that others may open is closed before a socket is put there", async () => {
  mkdirSync(runDir, { mode: 0o755 });
  await prepareSeat(runDir, runtime);
  expect(statSync(runDir).mode & 0o777).toBe(0o700);
});

test("two of one name: the second one is told who has it", async () => {
  await publish("cloud");
  await expect(publish("cloud")).rejects.toMatchObject({
    code: "conflict",
    message: expect.stringContaining(String(process.pid)),
    fix: "openclaw tunnel close cloud",
  });
});

test("of many that want one name at once exactly one gets it, also over a dead one", async () => {
  await dead("cloud");
  const ends = await Promise.allSettled(Array.from({ length: 12 }, () => publish("cloud")));
  expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await runningTunnels(runDir, runtime)).toHaveLength(1);
  expect(readdirSync(runDir)).toEqual(["tunnel-cloud.json"]);
});

test("a dead owner's record and socket are removed by who looks", async () => {
  const record = await dead("cloud");
  const script = "net.createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))";
  await once(spawn(process.execPath, ["-e", script, record.socket]), "exit");
  expect(readdirSync(runDir)).toHaveLength(2);
  expect(await runningTunnels(runDir, runtime)).toEqual([]);
  expect(readdirSync(runDir)).toEqual([]);
});

test("a socket that answers is not removed with a dead record that names it", async () => {
  const record = await publish("cloud");
  const server = await listening(record.socket);
  write({ ...record, name: "copy", processStart: "1" });
  expect(await runningTunnels(runDir, runtime)).toEqual([record]);
  expect(readdirSync(runDir)).toContain(basename(record.socket));
  server.close();
});

test("a run directory that cannot be looked into is an error that names it", async () => {
  writeFileSync(runDir, "");
  await expect(runningTunnels(runDir, runtime)).rejects.toMatchObject({
    code: "state-unreadable",
    details: { path: runDir },
  });
});

test.runIf(process.platform === "linux")("a pid that another process has by now is not the owner", async () => {
  write({ ...(await publish("cloud")), processStart: "1" });
  expect(await runningTunnels(runDir, runtime)).toEqual([]);
});

test("without start times a socket must take connections, or the pid means nothing", async () => {
  const record = { ...(await publish("cloud")), processStart: "" };
  write(record);
  const server = await listening(record.socket);
  expect(await runningTunnels(runDir, runtime)).toEqual([record]);
  await new Promise((resolve) => server.close(resolve));
  expect(await runningTunnels(runDir, runtime)).toEqual([]);
});

test("a new tunnel that took a dead one's name is not removed for the dead one", async () => {
  const old = await dead("cloud");
  rmSync(join(runDir, "tunnel-cloud.json"));
  const record = await publish("cloud");
  await removeDead(runDir, old);
  await withdrawTunnel(runDir, old);
  expect(await runningTunnels(runDir, runtime)).toEqual([record]);
});

describe("what is not ours stays", () => {
  test.each([
    ["a file that is no JSON", "{"],
    ["JSON that is no record", '{"version":2}'],
    [
      "a record with a strange nonce",
      JSON.stringify({
        version: 1,
        name: "x",
        destination: "y",
        pid: 1,
        processStart: "",
        startedAtMs: 1,
        nonce: "../..",
        socket: "/",
      }),
    ],
  ])("%s", async (_what, text) => {
    mkdirSync(runDir);
    const path = join(runDir, "tunnel-cloud.json");
    writeFileSync(path, text);
    expect(await runningTunnels(runDir, runtime)).toEqual([]);
    await expect(publish("cloud")).rejects.toMatchObject({
      code: "state-unreadable",
      message: expect.stringContaining(path),
    });
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("a file that a dead owner's record calls its socket", async () => {
    const record = await dead("cloud");
    const mine = join(directory, "t-0123456789ab.sock");
    const inside = join(runDir, "t-0123456789ab.sock");
    for (const path of [mine, inside]) {
      writeFileSync(path, "precious");
      write({ ...record, socket: path });
      expect(await runningTunnels(runDir, runtime)).toEqual([]);
      expect(readFileSync(path, "utf8")).toBe("precious");
      write(record);
    }
  });

  test("records of gateways and nodes, and other files", async () => {
    mkdirSync(runDir);
    const names = ["gateway-1.json", "node-1.json", "tunnel-.json", "tunnel-a b.json", "notes.txt"];
    for (const name of names) {
      writeFileSync(join(runDir, name), "{}");
      age(join(runDir, name));
    }
    expect(await runningTunnels(runDir, runtime)).toEqual([]);
    expect(readdirSync(runDir).toSorted()).toEqual(names.toSorted());
  });
});

test("what was left between two steps goes once it is old, and no socket that answers", async () => {
  const { socket, nonce } = await prepareSeat(runDir, runtime);
  const half = join(runDir, `tunnel-x.json.${nonce}.tmp`);
  writeFileSync(half, "{");
  const server = await listening(socket);
  age(socket);
  await runningTunnels(runDir, runtime);
  expect(existsSync(half)).toBe(true);
  expect(existsSync(socket)).toBe(true);
  age(half);
  await new Promise((resolve) => server.close(resolve));
  // A socket that nobody listens on, as a killed owner leaves it.
  const killed = spawn(
    process.execPath,
    ["-e", `require("net").createServer().listen(${JSON.stringify(socket)}, () => console.log("up"))`],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  await once(killed.stdout, "data");
  killed.kill("SIGKILL");
  await once(killed, "exit");
  await runningTunnels(runDir, runtime);
  expect(existsSync(socket)).toBe(true);
  age(socket);
  await runningTunnels(runDir, runtime);
  expect(readdirSync(runDir)).toEqual([]);
});

test("a path too long for a socket leads to a short private directory, which goes with it", async () => {
  runDir = join(directory, "x".repeat(90), "run");
  const record = await publish("cloud");
  expect(record.socket.startsWith(runDir)).toBe(false);
  expect(Buffer.byteLength(record.socket)).toBeLessThan(104);
  expect(statSync(join(record.socket, "..")).mode & 0o777).toBe(0o700);
  const server = await listening(record.socket);
  await leaveSeat(runDir, record);
  expect(existsSync(join(record.socket, ".."))).toBe(false);
  server.close();
});

test("a tunnel without a name gets its destination, and a number when that is taken", async () => {
  const name = () => nameForTunnel(runDir, undefined, "me@[2001:db8::1]:2222", runtime);
  expect(await name()).toBe("me@2001:db8::1:2222");
  await publish(await name());
  expect(await name()).toBe("me@2001:db8::1:2222-2");
  expect(await nameForTunnel(runDir, undefined, "[::1]:4203", runtime)).toBe("0::1:4203");
});
