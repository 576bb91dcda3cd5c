/** Tunnels that live on without a terminal: `tunnel open --detach`, against OpenSSH's own server. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { at, listAt } from "../support/raw-client.ts";
import { binPath, CliHome, type CliResult } from "../support/run-cli.ts";
import { freePort, runTool, type Sshd, startSshd } from "../support/sshd.ts";
import { startTarget } from "../tunnel/tcp.ts";

let sshd: Sshd;
let greeter: Server;
let greeterPort: number;
beforeAll(async () => {
  sshd = await startSshd();
  greeter = createServer((socket) => socket.end("hello through the tunnel"));
  await new Promise<void>((resolve) => greeter.listen(0, "127.0.0.1", resolve));
  const address = greeter.address();
  greeterPort = typeof address === "object" && address !== null ? address.port : 0;
});
afterAll(async () => {
  greeter.close();
  await sshd[Symbol.asyncDispose]();
});

/** A home whose tunnels are closed before it goes. */
class DetachHome extends CliHome implements AsyncDisposable {
  readonly pids: number[] = [];

  /** `tunnel open --detach` as a process of its own, to its end. */
  async detach(words: string, { env = {}, stdin = "" } = {}): Promise<CliResult> {
    await using command = this.spawn(open(words), { env, stdin });
    const result = await command.ended;
    const pid = at(result.json, "pid");
    if (typeof pid === "number") this.pids.push(pid);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pid of this.pids) if (isRunning(pid)) process.kill(pid, "SIGKILL");
    this[Symbol.dispose]();
  }
}

function open(words: string): string {
  return `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} --detach ${words}`;
}

function isRunning(pid: number): boolean {
  try {
    // A process that ended and was not waited for yet runs no more.
    return !/^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** The processes that were started with this state directory in their environment. */
function processesOf(home: CliHome): number[] {
  return readdirSync("/proc").flatMap((entry) => {
    try {
      const isOurs = /^\d+$/u.test(entry) && readFileSync(`/proc/${entry}/environ`, "utf8").includes(home.directory);
      return isOurs && isRunning(Number(entry)) ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

async function heardOn(port: number): Promise<string> {
  return text(connect({ host: "127.0.0.1", port }));
}

test("it returns once the tunnel is up, and the tunnel lives on in a session of its own", async () => {
  await using home = new DetachHome();
  const { code, json, stderr } = await home.detach(`-L 0:127.0.0.1:${greeterPort} --name far --json`);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(json).toMatchObject({ ok: true, name: "far", pid: expect.any(Number), forwards: [{ direction: "local" }] });
  const pid = Number(at(json, "pid"));
  expect(await heardOn(Number(at(listAt(json, "forwards")[0], "port")))).toBe("hello through the tunnel");
  const [, , , , group, session, terminal] = readFileSync(`/proc/${pid}/stat`, "utf8").split(" ");
  expect([group, session, terminal]).toEqual([String(pid), String(pid), "0"]);

  const { json: listed } = await home.run("tunnel list --json");
  expect(listed).toMatchObject({ ok: true, tunnels: [{ name: "far", state: "up", pid, reconnects: 0 }] });
  const closed = await home.run("tunnel close far --json");
  expect(closed.json).toEqual({ ok: true, name: "far", pid, closed: [{ name: "far", pid }] });
  await expect.poll(() => isRunning(pid), { timeout: 30_000 }).toBe(false);
  expect(readdirSync(join(home.toolkitDir, "run"))).toEqual([]);
});

test("it goes on when the starter's group is hung up and its pipes are gone", async () => {
  await using home = new DetachHome();
  const words = open(`-L 0:127.0.0.1:${greeterPort} --json`).split(/ +/u);
  const starter = spawn(process.execPath, [binPath, ...words], {
    env: { ...home.env() },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const said = await text(starter.stdout);
  const pid = Number(at(JSON.parse(said), "pid"));
  home.pids.push(pid);
  try {
    process.kill(-(starter.pid ?? 0), "SIGHUP");
  } catch {
    // Nobody is left in it.
  }
  // Whatever the tunnel says now, nobody reads it.
  await sshd.killSessions();
  const isUpAgain = async () => at(listAt((await home.run("tunnel list --json")).json, "tunnels")[0], "reconnects");
  await expect.poll(isUpAgain, { timeout: 30_000 }).toBe(1);
  expect(isRunning(pid)).toBe(true);
});

test("no secret stands in its arguments or its environment, and none in its log", async () => {
  await using home = new DetachHome();
  const key = home.path("locked");
  writeFileSync(key, readFileSync(sshd.identityFile), { mode: 0o600 });
  await runTool("ssh-keygen", "-q", "-p", "-N", "correct horse", "-f", key);
  await using command = home.spawn(
    open(`-L 0:127.0.0.1:1 --name locked --json --passphrase-file -`).replace(sshd.identityFile, key),
    { stdin: "correct horse\n" },
  );
  const { code, json, stderr } = await command.ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const pid = Number(at(json, "pid"));
  home.pids.push(pid);
  for (const file of ["cmdline", "environ"]) {
    expect(readFileSync(`/proc/${pid}/${file}`, "utf8")).not.toContain("horse");
  }
  const log = join(home.toolkitDir, "logs", "tunnel-locked.log");
  await expect.poll(() => readFileSync(log, "utf8"), { timeout: 30_000 }).toContain('"event":"ready"');
  expect(readFileSync(log, "utf8")).not.toContain("horse");
  expect(statSync(log).mode & 0o777).toBe(0o600);
});

test("what only a person knows is asked at the terminal, before it is left, and the terminal may go", async () => {
  await using home = new DetachHome();
  const key = home.path("locked");
  writeFileSync(key, readFileSync(sshd.identityFile), { mode: 0o600 });
  await runTool("ssh-keygen", "-q", "-p", "-N", "correct horse", "-f", key);
  const line = `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${key} -F none --known-hosts ${home.path("known_hosts")} --detach -L 0:127.0.0.1:${greeterPort} --name asked`;
  // A terminal of its own (script(1)), that is hung up when the command is over.
  const terminal = spawn(
    "/usr/bin/script",
    ["-qefc", `stty cols 300; '${process.execPath}' '${binPath}' ${line}`, "/dev/null"],
    {
      env: { ...home.env(), TERM: "xterm" },
      stdio: ["pipe", "pipe", "ignore"],
    },
  );
  onTestFinished(() => void terminal.kill("SIGKILL"));
  let shown = "";
  terminal.stdout.setEncoding("utf8").on("data", (part: string) => void (shown += part));
  await expect.poll(() => shown, { timeout: 30_000 }).toContain(sshd.hostKeyFingerprint);
  terminal.stdin.write("yes\r");
  await expect.poll(() => shown, { timeout: 30_000 }).toContain("Passphrase of");
  terminal.stdin.write("correct horse\r");
  const [code] = await once(terminal, "exit");
  const { json } = await home.run("tunnel list --json");
  const [listed] = listAt(json, "tunnels");
  home.pids.push(Number(at(listed, "pid")));
  expect(code).toBe(0);
  expect(shown).toContain("is up in the background");
  expect(shown).not.toContain("correct horse");
  expect(listed).toMatchObject({ name: "asked", state: "up" });
  // Nobody is asked again for what was answered once.
  await sshd.killSessions();
  const again = async () => listAt((await home.run("tunnel list --json")).json, "tunnels")[0];
  await expect.poll(again, { timeout: 30_000 }).toMatchObject({ state: "up", reconnects: 1 });
  expect(await heardOn(Number(at(listAt(listed, "forwards")[0], "port")))).toBe("hello through the tunnel");
});

test.each<[why: string, words: string, code: number, error: string]>([
  ["a port that is taken", "-L GREETER:127.0.0.1:1", 9, "port-in-use"],
  ["a remote port that is taken", "-R GREETER:127.0.0.1:1", 8, "ssh-forward"],
  ["a name that cannot be one", "-L 0:127.0.0.1:1 --name ../x", 2, "usage"],
  ["a key that is not there", "-L 0:127.0.0.1:1 -i /nowhere/key", 2, "usage"],
])("the failure of the tunnel is the command's: %s", async (_why, words, code, error) => {
  await using home = new DetachHome();
  const result = await home.detach(`${words.replace("GREETER", String(greeterPort))} --json`);
  expect(result.code).toBe(code);
  expect(at(at(result.json, "error"), "code")).toBe(error);
  expect(processesOf(home)).toEqual([]);
  const left = await home.run("tunnel list --json");
  expect(left.json).toEqual({ ok: true, tunnels: [] });
});

test("a host that does not answer is told as such, and no process is left", async () => {
  await using home = new DetachHome();
  const port = await freePort();
  const line = open("-L 0:127.0.0.1:1").replace(`:${sshd.port}`, `:${port}`);
  await using command = home.spawn(line);
  const { code, stdout, stderr } = await command.ended;
  expect(code).toBe(8);
  expect(stdout).toBe("");
  expect(stderr).toContain(`127.0.0.1:${port}`);
  expect(processesOf(home)).toEqual([]);
});

test("a stopped tunnel is told of at once, with what makes it go on", async () => {
  await using home = new DetachHome();
  const { json } = await home.detach("-L 0:127.0.0.1:1 --name asleep --json");
  const pid = Number(at(json, "pid"));
  process.kill(pid, "SIGSTOP");
  try {
    for (const words of ["inspect", "check", "reopen", "close", "drill"]) {
      const { code, json: answer } = await home.run(`tunnel ${words} asleep --json`);
      expect(code).toBe(3);
      expect(answer).toMatchObject({ error: { code: "timeout", hint: expect.stringContaining(`kill -CONT ${pid}`) } });
    }
  } finally {
    process.kill(pid, "SIGCONT");
  }
  expect((await home.run("tunnel close asleep --json")).code).toBe(0);
});

test("who sets a time has the answer within it, and no process is left", async () => {
  await using home = new DetachHome();
  await using silent = await startTarget(() => {});
  const line = open("-L 0:127.0.0.1:1 --json --timeout 200ms").replace(`:${sshd.port}`, `:${silent.port}`);
  await using command = home.spawn(line);
  const { code, json } = await command.ended;
  expect(code).toBe(3);
  expect(json).toMatchObject({ error: { code: "timeout" } });
  expect(processesOf(home)).toEqual([]);
});

test("when the starter is killed before the tunnel is up, the tunnel is given up", async () => {
  await using home = new DetachHome();
  // Takes connections and says nothing.
  const silent = createServer();
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const address = silent.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const dialled = once(silent, "connection");
  await using command = home.spawn(open("-L 0:127.0.0.1:1").replace(`:${sshd.port}`, `:${port}`));
  const [socket] = await dialled;
  expect(processesOf(home)).toHaveLength(2);
  command.child.kill("SIGKILL");
  await expect.poll(() => processesOf(home), { timeout: 30_000 }).toEqual([]);
  socket.destroy();
  silent.close();
});

test("a stopped starter stops the tunnel it starts", async () => {
  await using home = new DetachHome();
  const silent = createServer();
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const address = silent.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const dialled = once(silent, "connection");
  await using command = home.spawn(open("-L 0:127.0.0.1:1").replace(`:${sshd.port}`, `:${port}`));
  const [socket] = await dialled;
  const { code } = await command.stop("SIGINT");
  expect(code).toBe(130);
  expect(processesOf(home)).toEqual([]);
  socket.destroy();
  silent.close();
});

test("the same name twice is a conflict that names the running one and how to close it", async () => {
  await using home = new DetachHome();
  const first = await home.detach("-L 0:127.0.0.1:1 --name cloud --json");
  const again = await home.detach("-L 0:127.0.0.1:1 --name cloud --json");
  expect(again.code).toBe(9);
  expect(again.json).toMatchObject({
    ok: false,
    error: {
      code: "conflict",
      fix: expect.stringContaining("openclaw tunnel close cloud"),
      details: { pid: at(first.json, "pid") },
    },
  });
  const other = await home.detach("-L 0:127.0.0.1:1 --json");
  const third = await home.detach("-L 0:127.0.0.1:1 --json");
  expect(at(other.json, "name")).toBe(`${sshd.user}@127.0.0.1:${sshd.port}`);
  expect(at(third.json, "name")).toBe(`${sshd.user}@127.0.0.1:${sshd.port}-2`);
  const all = await home.run("tunnel close --all --json");
  expect(listAt(all.json, "closed")).toHaveLength(3);
});

test("kill -9 of the owner: it is listed no more, its files go, and the server's side is gone with it", async () => {
  await using home = new DetachHome();
  const { json } = await home.detach(`-R 0:127.0.0.1:${greeterPort} --name doomed --json`);
  const port = Number(at(listAt(json, "forwards")[0], "port"));
  process.kill(Number(at(json, "pid")), "SIGKILL");
  await expect.poll(() => isRunning(Number(at(json, "pid"))), { timeout: 30_000 }).toBe(false);
  expect((await home.run("tunnel list --json")).json).toEqual({ ok: true, tunnels: [] });
  expect(readdirSync(join(home.toolkitDir, "run"))).toEqual([]);
  await expect.poll(() => heardOn(port).catch(() => "refused"), { timeout: 30_000 }).toBe("refused");
  const again = await home.detach(`-L 0:127.0.0.1:1 --name doomed --json`);
  expect(again.code).toBe(0);
});

test("a state directory with a long path gets a socket elsewhere, private and gone at the end", async () => {
  await using home = new DetachHome();
  const stateDir = home.path("x".repeat(60), "y".repeat(60));
  const { json, code } = await home.detach(`-L 0:127.0.0.1:1 --name long --json --state-dir ${stateDir}`);
  expect(code).toBe(0);
  const record: unknown = JSON.parse(readFileSync(join(stateDir, "toolkit/run/tunnel-long.json"), "utf8"));
  const socket = String(at(record, "socket"));
  expect(Buffer.byteLength(socket)).toBeLessThan(104);
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  expect(statSync(join(socket, "..")).mode & 0o777).toBe(0o700);
  const listed = await home.run(`tunnel list --json --state-dir ${stateDir}`);
  expect(listed.json).toMatchObject({ tunnels: [{ name: "long", pid: at(json, "pid") }] });
  await home.run(`tunnel close long --json --state-dir ${stateDir}`);
  expect(() => statSync(join(socket, ".."))).toThrow("ENOENT");
});

test("from an old Node.js the tunnel in the background runs on the one that the launcher found", async () => {
  await using home = new DetachHome();
  const versions = "{ ...process.versions, node: '20.0.0' }";
  const pretend = encodeURIComponent(`Object.defineProperty(process, "versions", { value: ${versions} })`);
  const said = execFileSync(
    process.execPath,
    ["--import", `data:text/javascript,${pretend}`, binPath, ...open("-L 0:127.0.0.1:1 --json").split(/ +/u)],
    { env: { ...home.env() }, encoding: "utf8" },
  );
  const pid = Number(at(JSON.parse(said), "pid"));
  home.pids.push(pid);
  expect(isRunning(pid)).toBe(true);
  expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain("--import");
});
