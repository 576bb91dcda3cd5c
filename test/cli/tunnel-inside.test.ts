/** Looking into running tunnels: list, inspect, check, reopen, close and logs, against OpenSSH's own server. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, afterEach, expect, test } from "vitest";
import { at, listAt } from "../support/raw-client.ts";
import { binPath, CliHome, type RunningCli } from "../support/run-cli.ts";
import { freePort, type Sshd, startSshd } from "../support/sshd.ts";

let sshd: Sshd;
let echo: Server;
let echoPort: number;
beforeAll(async () => {
  sshd = await startSshd();
  echo = createServer((socket) => socket.on("error", () => {}).pipe(socket));
  await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
  const address = echo.address();
  echoPort = typeof address === "object" && address !== null ? address.port : 0;
});
afterAll(async () => {
  echo.close();
  await sshd[Symbol.asyncDispose]();
});

let home: CliHome;
let running: RunningCli[];
beforeEach(() => {
  home = new CliHome();
  running = [];
});
afterEach(async () => {
  for (const one of running) await one.stop();
  home[Symbol.dispose]();
});

/** A tunnel with an echo behind each forward, in this process. */
async function up(name: string, words = `-L 0:127.0.0.1:${echoPort}`): Promise<{ tunnel: RunningCli; port: number }> {
  const line = `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile}`;
  const tunnel = home.start(`${line} --name ${name} --json ${words}`);
  running.push(tunnel);
  const ready = await tunnel.event("ready");
  return { tunnel, port: Number(at(listAt(ready, "forwards")[0], "port")) };
}

async function echoed(port: number, said: string): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  socket.end(said);
  return text(socket);
}

test("list has every tunnel with its forwards and what passed through them", async () => {
  const { port } = await up("both", `-L 0:127.0.0.1:${echoPort} -R 0:127.0.0.1:${echoPort}`);
  await up("other");
  expect(await echoed(port, "hello")).toBe("hello");
  const { json, code } = await home.run("tunnel list --json");
  expect(code).toBe(0);
  expect(json).toMatchObject({
    ok: true,
    tunnels: [
      {
        name: "both",
        destination: `${sshd.user}@127.0.0.1:${sshd.port}`,
        state: "up",
        pid: process.pid,
        uptimeMs: expect.any(Number),
        reconnects: 0,
        forwards: expect.arrayContaining([
          {
            direction: "remote",
            bind: "127.0.0.1",
            port,
            target: `127.0.0.1:${echoPort}`,
            state: "listening",
            activeConnections: 0,
            totalConnections: 1,
            refusedConnections: 0,
            bytesIn: 5,
            bytesOut: 5,
          },
        ]),
      },
      { name: "other" },
    ],
  });
  const table = await home.run("tunnel list");
  expect(table.stdout).toContain(`remote 127.0.0.1:${port} -> 127.0.0.1:${echoPort}`);
  expect(table.stdout).toContain("5 B");
});

test("where nothing runs the list is empty", async () => {
  expect((await home.run("tunnel list --json")).json).toEqual({ ok: true, tunnels: [] });
  expect((await home.run("tunnel list")).stdout).toBe("No tunnels run here.\n");
  expect((await home.run("tunnel close --all --json")).json).toEqual({ ok: true, closed: [] });
});

test("the record and the socket are private, and gone after the end", async () => {
  const { tunnel } = await up("private");
  const runDir = join(home.toolkitDir, "run");
  expect(statSync(runDir).mode & 0o777).toBe(0o700);
  const names = readdirSync(runDir);
  expect(names).toHaveLength(2);
  for (const name of names) expect(statSync(join(runDir, name)).mode & 0o777).toBe(0o600);
  await tunnel.stop();
  expect(readdirSync(runDir)).toEqual([]);
});

test("inspect shows the connection, its round trips, who passes through, and what happened", async () => {
  const { port } = await up("glass");
  const socket = connect({ host: "127.0.0.1", port });
  socket.write("hello");
  await new Promise((resolve) => socket.once("data", resolve));
  const inspected = async () => (await home.run("tunnel inspect glass --json")).json;
  await expect.poll(async () => at(await inspected(), "roundTrip"), { timeout: 30_000 }).toBeDefined();
  expect(await inspected()).toMatchObject({
    ok: true,
    name: "glass",
    state: "up",
    ssh: {
      hostKeyFingerprint: sshd.hostKeyFingerprint,
      hostKeyAlgorithm: "ssh-ed25519",
      keyExchange: expect.any(String),
      cipher: { out: expect.any(String), in: expect.any(String) },
      nativeCrypto: expect.any(Boolean),
    },
    roundTrip: { lastMs: expect.any(Number), p50Ms: expect.any(Number), p95Ms: expect.any(Number) },
    errors: [],
    history: [{ what: "connected" }],
    connections: [
      {
        direction: "local",
        port,
        from: `127.0.0.1:${socket.localPort}`,
        target: `127.0.0.1:${echoPort}`,
        bytesIn: 5,
        bytesOut: 5,
      },
    ],
  });
  const shown = await home.run("tunnel inspect glass");
  for (const part of [sshd.hostKeyFingerprint, "round trip", `127.0.0.1:${socket.localPort}`, "connected"]) {
    expect(shown.stdout).toContain(part);
  }
  socket.destroy();
});

test("inspect --follow is a line for each look, and ends with the tunnel", async () => {
  const { tunnel, port } = await up("live");
  const following = home.start("tunnel inspect live --follow --interval 100ms --json");
  running.push(following);
  expect(await following.event("report")).toMatchObject({ name: "live", state: "up" });
  await echoed(port, "hello");
  await following.events.find((event) => at(listAt(event, "forwards")[0], "bytesIn") === 5);
  await tunnel.stop();
  expect((await following.ended).code).toBe(0);
  expect(following.events.items.at(-1)).toEqual({ event: "stopped" });
});

test("on a terminal a frame takes the place of the one before", async () => {
  await up("screen");
  const following = home.start("tunnel inspect screen --follow --interval 100ms", { columns: 100 });
  running.push(following);
  await following.lines.find((line) => line.startsWith("\u001b["));
  const { stdout } = await following.stop();
  const [first = "", second = ""] = stdout.split(/(?=\u001b\[\d+F\u001b\[J)/u);
  expect(second.startsWith(`\u001b[${first.trimEnd().split("\n").length}F`)).toBe(true);
});

test("a reader that goes away ends inspect --follow quietly", async () => {
  await up("pipe");
  const { stdout } = await promisify(execFile)(
    "/bin/sh",
    ["-c", '"$0" "$1" tunnel inspect pipe --follow --interval 100ms --json | head -1', process.execPath, binPath],
    { env: { ...home.env() } },
  );
  expect(JSON.parse(stdout)).toMatchObject({ event: "report", name: "pipe" });
});

test("check tries every forward, and fails with all of its rows when one does not lead anywhere", async () => {
  const nobody = await freePort();
  await up("fine", `-L 0:127.0.0.1:${echoPort} -R 0:127.0.0.1:${echoPort}`);
  const fine = await home.run("tunnel check fine --json");
  expect(fine.json).toMatchObject({ ok: true, name: "fine", forwards: [{ ok: true }, { ok: true }] });
  await up("half", `-L 0:127.0.0.1:${echoPort} -L 0:127.0.0.1:${nobody}`);
  const half = await home.run("tunnel check half --json");
  expect(half.code).toBe(8);
  expect(half.json).toMatchObject({
    ok: false,
    error: {
      code: "ssh-forward",
      details: { name: "half", forwards: [{ ok: true }, { ok: false, problem: expect.any(String) }] },
    },
  });
  const shown = await home.run("tunnel check half");
  expect(shown.stdout).toMatch(/yes[\s\S]*no/u);
});

test("reopen replaces the connection under a stream that goes on", async () => {
  const { tunnel, port } = await up("renew");
  const socket = connect({ host: "127.0.0.1", port });
  const heard = async (said: string) => {
    const answer = new Promise<string>((resolve) => socket.once("data", (data) => resolve(data.toString())));
    socket.write(said);
    return answer;
  };
  expect(await heard("one")).toBe("one");
  const { json } = await home.run("tunnel reopen renew --reason 'new key' --json");
  expect(json).toMatchObject({ ok: true, name: "renew", state: "up", draining: 1 });
  expect(await heard("two")).toBe("two");
  expect(await tunnel.event("renewed")).toMatchObject({ reason: "new key" });
  const { json: report } = await home.run("tunnel inspect renew --json");
  expect(listAt(report, "history").at(-1)).toMatchObject({ what: "replaced", reason: "new key" });
  socket.destroy();
});

test("close ends a tunnel as its own end does, and --all ends every one", async () => {
  const { tunnel } = await up("cloud.one");
  const { tunnel: other } = await up("cloud.two");
  const { tunnel: third } = await up("third");
  const ambiguous = await home.run("tunnel close cloud. --json");
  expect(ambiguous.code).toBe(9);
  expect(ambiguous.json).toMatchObject({
    error: { code: "ambiguous", details: { candidates: ["cloud.one", "cloud.two"] } },
  });
  const { json } = await home.run("tunnel close cloud.o --json");
  expect(json).toEqual({
    ok: true,
    name: "cloud.one",
    pid: process.pid,
    closed: [{ name: "cloud.one", pid: process.pid }],
  });
  expect((await tunnel.ended).code).toBe(0);
  expect(tunnel.events.items.at(-1)).toEqual({ event: "stopped" });
  const all = await home.run("tunnel close --all --json");
  expect(listAt(all.json, "closed").map((one) => at(one, "name"))).toEqual(["cloud.two", "third"]);
  expect((await other.ended).code).toBe(0);
  expect((await third.ended).code).toBe(0);
  expect(readdirSync(join(home.toolkitDir, "run"))).toEqual([]);
});

test.each([
  ["tunnel close", 2, "usage"],
  ["tunnel close x --all", 2, "usage"],
  ["tunnel close nobody", 9, "not-found"],
  ["tunnel inspect nobody", 9, "not-found"],
  ["tunnel check nobody", 9, "not-found"],
  ["tunnel reopen nobody", 9, "not-found"],
  ["tunnel logs nobody", 9, "not-found"],
  ["tunnel logs nobody --lines x", 2, "usage"],
])("%s fails with %i (%s)", async (line, code, error) => {
  const result = await home.run(`${line} --json`);
  expect(result.code).toBe(code);
  expect(at(at(result.json, "error"), "code")).toBe(error);
});

test("the same name twice in one process is a conflict too, and the first one is not touched", async () => {
  const { port } = await up("mine");
  const line = `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile}`;
  const { code, json } = await home.run(`${line} -L 0:127.0.0.1:1 --name mine --json`);
  expect(code).toBe(9);
  expect(json).toMatchObject({ error: { code: "conflict", details: { name: "mine", pid: process.pid } } });
  expect(await echoed(port, "hello")).toBe("hello");
  expect(readdirSync(join(home.toolkitDir, "run"))).toHaveLength(2);
});

test("a tunnel that is not up yet is there, and can be closed", async () => {
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const address = silent.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const opening = home.start(`tunnel open me@127.0.0.1:${port} -L 0:127.0.0.1:1 --name slow --json`);
  running.push(opening);
  await opening.event("connecting");
  expect((await home.run("tunnel list --json")).json).toMatchObject({
    tunnels: [{ name: "slow", state: "reconnecting", forwards: [{ state: "waiting" }] }],
  });
  expect((await home.run("tunnel check slow --json")).code).toBe(8);
  expect((await home.run("tunnel close slow --json")).code).toBe(0);
  expect((await opening.ended).code).toBe(1);
  silent.close();
});

test("logs tell what happened, also after the end, and follow what comes", async () => {
  const { tunnel } = await up("diary");
  const following = home.start("tunnel logs diary --follow --json");
  running.push(following);
  await following.event("ready");
  await sshd.killSessions();
  expect(await following.event("disconnected")).toMatchObject({ atMs: expect.any(Number), reason: expect.any(String) });
  await following.event("reconnected");
  await tunnel.stop();
  await following.event("stopped");
  expect((await following.stop("SIGINT")).code).toBe(130);
  const { json } = await home.run("tunnel logs diary --json");
  const words = listAt(json, "entries").map((entry) => at(entry, "event"));
  expect(words.slice(0, 3)).toEqual(["connecting", "forward", "ready"]);
  expect(words.at(-1)).toBe("stopped");
  const shown = await home.run("tunnel logs diary --lines 1");
  expect(shown.stdout).toMatch(/^\S+ stopped\n$/u);
});

test("a tunnel that ends for good says why in its log", async () => {
  const { tunnel } = await up("doomed", `-L 0:127.0.0.1:${echoPort} --no-reconnect`);
  await sshd.killSessions();
  expect((await tunnel.ended).code).toBe(8);
  const { json } = await home.run("tunnel logs doomed --json");
  expect(listAt(json, "entries").at(-1)).toMatchObject({ event: "failed", code: "ssh" });
});

test("a process that is alive and says nothing is listed as down, and is not cleaned away", async () => {
  await up("asleep");
  const path = join(home.toolkitDir, "run", "tunnel-asleep.json");
  const record = JSON.parse(readFileSync(path, "utf8"));
  const mute = createServer();
  const socket = join(home.toolkitDir, "run", "t-000000000000.sock");
  await new Promise<void>((resolve) => mute.listen({ path: socket }, resolve));
  writeFileSync(path, JSON.stringify({ ...record, socket }));
  const { json } = await home.run("tunnel list --json");
  expect(json).toMatchObject({
    tunnels: [{ name: "asleep", state: "down", pid: process.pid, forwards: [], problem: expect.any(String) }],
  });
  const closing = await home.run("tunnel close asleep --json --timeout 300ms");
  expect(closing.code).toBe(3);
  expect(at(at(closing.json, "error"), "hint")).toContain(`ps -p ${process.pid}`);
  writeFileSync(path, JSON.stringify(record));
  mute.close();
});

test("two names that differ only in capitals are told apart", async () => {
  await up("twin");
  await up("Twin");
  expect((await home.run("tunnel inspect twin --json")).json).toMatchObject({ name: "twin" });
  expect((await home.run("tunnel logs Twin --json")).json).toMatchObject({ name: "Twin" });
  expect((await home.run("tunnel close Twin --json")).json).toMatchObject({ name: "Twin" });
});
