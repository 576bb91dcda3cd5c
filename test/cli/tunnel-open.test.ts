import { readFileSync, writeFileSync } from "node:fs";
import { createServer, connect, type Server } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CliHome } from "../support/run-cli.ts";
import { at, listAt } from "../support/raw-client.ts";
import { freePort, runTool, type Sshd, startSshd } from "../support/sshd.ts";

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

/** `tunnel open` with this server's key; `known` names the known_hosts file. */
function open(words = "", known = sshd.knownHostsFile): string {
  return `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${known} ${words}`;
}

async function heardOn(port: number): Promise<string> {
  return text(connect({ host: "127.0.0.1", port }));
}

test("forwards in both directions are reported with the ports they got, and carry what they should", async () => {
  using home = new CliHome();
  await using tunnel = home.start(
    open(`-R 0:127.0.0.1:${greeterPort} -L 0:127.0.0.1:${greeterPort} --name both --json`),
  );
  const ready = await tunnel.event("ready");
  expect(ready).toMatchObject({ event: "ready", name: "both", pid: process.pid });
  const forwards = listAt(ready, "forwards");
  expect(forwards).toHaveLength(2);
  for (const forward of forwards) {
    expect(forward).toMatchObject({
      direction: expect.stringMatching(/^(remote|local)$/u),
      bind: expect.any(String),
      port: expect.any(Number),
      target: `127.0.0.1:${greeterPort}`,
    });
    expect(await heardOn(Number(at(forward, "port")))).toBe("hello through the tunnel");
  }
  expect(tunnel.events.items.map(({ event }) => event)).toEqual(["connecting", "forward", "forward", "ready"]);
  const { code } = await tunnel.stop();
  expect(code).toBe(0);
  expect(tunnel.events.items.at(-1)).toEqual({ event: "stopped" });
});

test.each(["-R", "-L"])(
  "two forwards that listen on one port are bad usage, before anything is dialled: %s",
  async (way) => {
    using home = new CliHome();
    const twice = `${way} 5001:127.0.0.1:4202 ${way} 5001:127.0.0.1:4203`;
    const { code, json } = await home.run(`tunnel open 127.0.0.1:1 ${twice} --json`);
    expect(code).toBe(2);
    expect(json).toMatchObject({
      error: {
        code: "usage",
        message: `two forwards listen on 127.0.0.1:5001 on ${way === "-R" ? "the server" : "this machine"}`,
      },
    });
  },
);

test("a real process ends on SIGTERM with exit code 0", async () => {
  using home = new CliHome();
  await using tunnel = home.spawn(open(`-L 0:127.0.0.1:${greeterPort} --json`));
  const ready = await tunnel.event("ready");
  expect(ready["pid"]).toBe(tunnel.pid);
  const port = Number(at(listAt(ready, "forwards")[0], "port"));
  expect(await tunnel.stop()).toMatchObject({ code: 0, signal: null, stderr: "" });
  await expect(heardOn(port)).rejects.toMatchObject({ code: "ECONNREFUSED" });
});

test("people read where each forward listens", async () => {
  using home = new CliHome();
  await using tunnel = home.start(open(`-L 0:127.0.0.1:${greeterPort} --name pantry`));
  expect(await tunnel.lines.find((line) => line.startsWith("local "))).toMatch(
    /^local 127\.0\.0\.1:\d+ -> 127\.0\.0\.1:\d+$/u,
  );
  expect(await tunnel.lines.find((line) => line.startsWith("tunnel "))).toBe(
    `tunnel pantry is up (pid ${process.pid})`,
  );
});

test("a lost connection is told, and comes back with the same ports", async () => {
  using home = new CliHome();
  await using tunnel = home.start(open(`-L 0:127.0.0.1:${greeterPort} --json`));
  const port = Number(at(listAt(await tunnel.event("ready"), "forwards")[0], "port"));
  await sshd.killSessions();
  expect(await tunnel.event("disconnected")).toMatchObject({
    reason: expect.any(String),
    retryInMs: expect.any(Number),
  });
  expect(await tunnel.event("reconnected")).toMatchObject({ downMs: expect.any(Number) });
  expect(await heardOn(port)).toBe("hello through the tunnel");
});

test("with --no-reconnect the loss is the end, with exit code 8", async () => {
  using home = new CliHome();
  await using tunnel = home.start(open(`-L 0:127.0.0.1:${greeterPort} --no-reconnect --json`));
  await tunnel.event("ready");
  await sshd.killSessions();
  const { code, stdout } = await tunnel.ended;
  expect(code).toBe(8);
  expect(stdout).toContain('"ok":false');
});

test.each<[why: string, tty: boolean, flags: string, env: Record<string, string>]>([
  ["without a terminal", false, "", {}],
  ["with --no-input", true, "--no-input", {}],
  ["with CI=true", true, "", { CI: "true" }],
  ["with --json", true, "--json", {}],
])("an unknown host key is shown and not asked about %s", async (_why, tty, flags, env) => {
  using home = new CliHome();
  const known = home.path("known_hosts");
  const { code, stderr } = await home.run(open(`-L 0:127.0.0.1:1 ${flags}`, known), { tty, env });
  expect(code).toBe(2);
  expect(stderr).toContain(sshd.hostKeyFingerprint);
  expect(stderr).toContain("--host-key-fingerprint");
  expect(() => readFileSync(known)).toThrow("ENOENT");
});

test("--host-key-fingerprint accepts that key and no other", async () => {
  using home = new CliHome();
  const known = home.path("known_hosts");
  await using tunnel = home.start(
    open(`-L 0:127.0.0.1:1 --host-key-fingerprint ${sshd.hostKeyFingerprint} --json`, known),
  );
  await tunnel.event("ready");
  const other = await home.run(open(`-L 0:127.0.0.1:1 --host-key-fingerprint SHA256:${"A".repeat(43)} --json`, known));
  expect(other.code).toBe(4);
  expect(other.stdout).toContain('"code":"host-key-changed"');
});

test("--host-key-policy accept-new remembers the key, and then strict is satisfied", async () => {
  using home = new CliHome();
  const known = home.path("known_hosts");
  await using first = home.start(open("-L 0:127.0.0.1:1 -F none --host-key-policy accept-new --json", known));
  await first.event("ready");
  // In clear or hashed, as the system's configuration has it.
  const found = await runTool("ssh-keygen", "-F", `[127.0.0.1]:${sshd.port}`, "-f", known);
  expect(found).toContain(" ssh-ed25519 ");
  await using second = home.start(open("-L 0:127.0.0.1:1 --json", known));
  await second.event("ready");
});

test("a host key that changed is refused with exit code 4, whatever the policy", async () => {
  using home = new CliHome();
  const known = home.path("known_hosts");
  await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home.path("other"));
  const [type = "", key = ""] = readFileSync(home.path("other.pub"), "utf8").split(" ");
  writeFileSync(known, `[127.0.0.1]:${sshd.port} ${type} ${key}\n`);
  for (const policy of ["strict", "accept-new"]) {
    const { code, stdout } = await home.run(open(`-L 0:127.0.0.1:1 --host-key-policy ${policy} --json`, known));
    expect(code).toBe(4);
    expect(stdout).toContain('"code":"host-key-changed"');
    expect(stdout).toContain(sshd.hostKeyFingerprint);
  }
});

test("a key that is not let in ends with exit code 8", async () => {
  using home = new CliHome();
  await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home.path("stranger"));
  const line = open("-L 0:127.0.0.1:1 --json").replace(sshd.identityFile, home.path("stranger"));
  const { code, stdout } = await home.run(line);
  expect(code).toBe(8);
  expect(stdout).toContain('"code":"ssh-auth"');
});

test("an encrypted key needs its passphrase, from a file where there is no terminal", async () => {
  using home = new CliHome();
  const key = home.path("locked");
  writeFileSync(key, readFileSync(sshd.identityFile), { mode: 0o600 });
  await runTool("ssh-keygen", "-q", "-p", "-N", "correct horse", "-f", key);
  const line = open("-L 0:127.0.0.1:1 --json").replace(sshd.identityFile, key);
  const without = await home.run(line);
  expect(without.code).not.toBe(0);
  expect(without.stdout).toContain("--passphrase-file");
  await using tunnel = home.start(`${line} --passphrase-file -`, { stdin: "correct horse\n" });
  await tunnel.event("ready");
});

test("a port where no SSH server listens ends with exit code 8", async () => {
  using home = new CliHome();
  const port = await freePort();
  const line = open("-L 0:127.0.0.1:1 --json").replace(`:${sshd.port}`, `:${port}`);
  const { code, stdout } = await home.run(line);
  expect(code).toBe(8);
  expect(stdout).toContain('"code":"ssh"');
  expect(stdout).toContain(String(port));
});

test("a port that is taken here is named, with exit code 9", async () => {
  using home = new CliHome();
  const { code, stdout } = await home.run(open(`-L ${greeterPort}:127.0.0.1:1 --json`));
  expect(code).toBe(9);
  expect(stdout).toContain('"code":"port-in-use"');
  expect(stdout).toContain(String(greeterPort));
});

test("a port that is taken there ends with exit code 8", async () => {
  using home = new CliHome();
  const { code, stdout } = await home.run(open(`-R ${greeterPort}:127.0.0.1:1 --json`));
  expect(code).toBe(8);
  expect(stdout).toContain('"code":"ssh-forward"');
});
