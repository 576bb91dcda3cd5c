/** What a person says about an SSH connection: options, the SSH configuration, and answers at a real terminal. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Secret } from "../../src/secret.ts";
import { startSshServer, type SshServer } from "../../src/ssh/ssh-server.ts";
import { at, listAt } from "../support/raw-client.ts";
import { binPath, CliHome, type RunningCli } from "../support/run-cli.ts";
import { runTool, type Sshd, startSshd } from "../support/sshd.ts";

let sshd: Sshd;
let bastion: Sshd;
let greeter: Server;
let forward: string;
beforeAll(async () => {
  [sshd, bastion] = await Promise.all([startSshd(), startSshd()]);
  greeter = createServer((socket) => socket.end("hello through the tunnel"));
  await new Promise<void>((resolve) => greeter.listen(0, "127.0.0.1", resolve));
  const address = greeter.address();
  forward = `-L 0:127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
});
afterAll(async () => {
  greeter.close();
  await Promise.all([sshd[Symbol.asyncDispose](), bastion[Symbol.asyncDispose]()]);
});

/** A home whose SSH configuration knows both servers: `pantry`, reached through `door`. */
function homeWithConfig(pantry = "ProxyJump door"): CliHome {
  const home = new CliHome();
  mkdirSync(home.path(".ssh"));
  const known = home.path(".ssh", "known_hosts");
  writeFileSync(known, readFileSync(sshd.knownHostsFile, "utf8") + readFileSync(bastion.knownHostsFile, "utf8"));
  const host = (name: string, { port, user, identityFile }: Sshd, more: string) =>
    `Host ${name}\n HostName 127.0.0.1\n Port ${port}\n User ${user}\n IdentityFile ${identityFile}\n ${more}\n`;
  const config = host("pantry", sshd, pantry) + host("door", bastion, "IdentitiesOnly yes");
  writeFileSync(home.path(".ssh", "config"), config, { mode: 0o600 });
  return home;
}

async function greeting(tunnel: RunningCli): Promise<string> {
  const ready = await tunnel.event("ready");
  return text(connect({ host: "127.0.0.1", port: Number(at(listAt(ready, "forwards")[0], "port")) }));
}

function logins({ log }: Sshd): number {
  return log.filter((line) => line.startsWith("Accepted publickey")).length;
}

describe("a name of ~/.ssh/config", () => {
  test("is enough to go through its jump host", async () => {
    using home = homeWithConfig();
    const before = logins(bastion);
    await using tunnel = home.start(`tunnel open pantry ${forward} --json`);
    expect(await greeting(tunnel)).toBe("hello through the tunnel");
    expect(logins(bastion)).toBe(before + 1);
  });

  test("goes where the command line says instead", async () => {
    using home = homeWithConfig("ProxyJump nowhere.invalid");
    const before = logins(bastion);
    await using direct = home.start(`tunnel open pantry ${forward} -J none --json`);
    expect(await greeting(direct)).toBe("hello through the tunnel");
    expect(logins(bastion)).toBe(before);
    await using jumping = home.start(`tunnel open pantry ${forward} --jump door --json`);
    expect(await greeting(jumping)).toBe("hello through the tunnel");
    expect(logins(bastion)).toBe(before + 1);
  });

  test("is only a name with -F none, and another file may be given", async () => {
    using home = homeWithConfig();
    const other = home.path("other");
    writeFileSync(other, readFileSync(home.path(".ssh", "config"), "utf8").replaceAll("pantry", "cellar"));
    const unknown = await home.run(`tunnel open pantry ${forward} -F none --json`);
    expect(unknown.code).toBe(8);
    expect(unknown.stdout).toContain('"code":"ssh"');
    await using tunnel = home.start(`tunnel open cellar ${forward} --ssh-config ${other} --json`);
    expect(await greeting(tunnel)).toBe("hello through the tunnel");
  });

  test("with a program in front of it is refused, and the answer says what to write", async () => {
    using home = homeWithConfig("ProxyCommand ssh -W %h:%p door");
    const { code, json } = await home.run(`tunnel open pantry ${forward} --json`);
    expect(code).toBe(2);
    expect(json).toMatchObject({
      error: {
        code: "usage",
        message: expect.stringContaining(`${home.path(".ssh", "config")}:6: ProxyCommand is not supported`),
        hint: 'write "ProxyJump door" in its place, or give -J door',
      },
    });
  });

  test("is told when a block of it was left out", async () => {
    using home = homeWithConfig();
    writeFileSync(
      home.path(".ssh", "config"),
      `${readFileSync(home.path(".ssh", "config"), "utf8")}Match exec true\n User x\n`,
    );
    await using tunnel = home.start(`tunnel open pantry ${forward} --json`);
    await tunnel.event("ready");
    expect(await tunnel.talk.find((line) => line.includes("left out"))).toContain('"exec" is not looked at');
  });

  test("through a jump host that is down fails by the jump host's name", async () => {
    using home = homeWithConfig("ProxyJump me@127.0.0.1:1");
    const { code, stdout } = await home.run(`tunnel open pantry ${forward} --json`);
    expect(code).toBe(8);
    expect(stdout).toContain('"message":"jump host 127.0.0.1:1: nothing accepts connections');
  });
});

describe("a mistake is told before anything is dialled", () => {
  test.each<[what: string, flags: (home: CliHome) => string, says: string]>([
    ["a key that is not there", (home) => `-i ${home.path("no-key")}`, "cannot read the identity file"],
    ["a configuration that is not there", (home) => `-F ${home.path("no-config")}`, "there is no SSH configuration"],
    ["a password file that is not there", (home) => `--password-file ${home.path("no")}`, "--password-file"],
    ["a passphrase file that is not there", (home) => `--passphrase-file ${home.path("no")}`, "--passphrase-file"],
    ["a policy that there is not", () => "--host-key-policy none", 'there is no host key policy "none"'],
    ["a fingerprint that cannot be one", () => "--host-key-fingerprint SHA256:abc", "is not a SHA256 fingerprint"],
    ["a keepalive that is no time", () => "--keepalive often", "--keepalive"],
    ["jump hosts that cannot be read", () => "-J a,b:many", 'in the jump hosts "a,b:many"'],
  ])("%s", async (_what, flags, says) => {
    using home = new CliHome();
    const { code, json } = await home.run(`tunnel open me@127.0.0.1:1 ${forward} ${flags(home)} --json`);
    expect(code).toBe(2);
    expect(json).toMatchObject({ ok: false, error: { code: "usage", message: expect.stringContaining(says) } });
  });

  test("a key that others can read", async () => {
    using home = new CliHome();
    const key = home.path("loose");
    copyFileSync(sshd.identityFile, key);
    chmodSync(key, 0o644);
    const { code, json } = await home.run(`tunnel open me@127.0.0.1:1 ${forward} -i ${key} --json`);
    expect(code).toBe(8);
    expect(json).toMatchObject({ error: { code: "ssh-auth", fix: `chmod 600 ${key}` } });
  });

  test("a key that nobody can unlock", async () => {
    using home = new CliHome();
    const key = home.path("locked");
    await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "correct horse", "-f", key);
    const { code, json } = await home.run(`tunnel open me@127.0.0.1:1 ${forward} -i ${key} --json`);
    expect(code).toBe(2);
    expect(json).toMatchObject({ error: { code: "usage", hint: expect.stringContaining("--passphrase-file") } });
  });
});

test("a password that nobody can be asked for is a needed answer, and the option that gives it is named", async () => {
  await using server = await startSshServer({ password: new Secret("open sesame") });
  using home = new CliHome();
  const line = `tunnel open me@127.0.0.1:${server.port} --host-key-policy accept-new ${forward} --json`;
  const { code, stdout } = await home.run(line);
  expect(code).toBe(2);
  expect(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")).toMatchObject({
    error: { code: "usage", hint: "give it with --password-file", details: { user: "me", accepts: expect.any(Array) } },
  });
});

/** The command at a terminal of its own, by script(1). */
class Terminal implements AsyncDisposable {
  readonly child: ChildProcess;
  seen = "";
  #looked = 0;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
  readonly #waiting = new Set<() => void>();

  constructor(line: string, home: CliHome) {
    // Wide, so that no question is broken over lines.
    const command = `stty cols 400 rows 50; exec ${process.execPath} ${binPath} ${line}`;
    this.child = spawn("script", ["-qefc", command, "/dev/null"], {
      env: { ...home.env(), TERM: "xterm" },
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.ended = new Promise((resolve) => this.child.once("close", resolve));
    this.child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      this.seen += chunk;
      for (const look of this.#waiting) look();
    });
  }

  /** Resolves when the terminal has shown this, after what an earlier call waited for. */
  async shows(wanted: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => {
      const found = this.seen.indexOf(wanted, this.#looked);
      if (found === -1) return;
      this.#looked = found + wanted.length;
      resolve();
    };
    this.#waiting.add(look);
    look();
    void this.ended.then(() => reject(new Error(`ended without showing ${JSON.stringify(wanted)}: ${this.seen}`)));
    await promise.finally(() => this.#waiting.delete(look));
  }

  type(keys: string): void {
    this.child.stdin?.write(keys);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.type("\u0003");
    await this.ended;
  }
}

describe("at a terminal", () => {
  let passwords: SshServer;
  beforeAll(async () => {
    passwords = await startSshServer({ password: new Secret("open sesame") });
  });
  afterAll(async () => passwords[Symbol.asyncDispose]());

  test("an unknown host key is shown and asked about, and then known", async () => {
    using home = new CliHome();
    const line = `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} ${forward}`;
    await using terminal = new Terminal(line, home);
    await terminal.shows(sshd.hostKeyFingerprint);
    await terminal.shows("Trust it from now on?");
    terminal.type("yellow\r");
    await terminal.shows("Trust it from now on?");
    terminal.type("yes\n");
    await terminal.shows(" is up (pid ");
    // In clear or hashed, as the system's configuration has it.
    const found = await runTool("ssh-keygen", "-F", `[127.0.0.1]:${sshd.port}`, "-f", home.path(".ssh", "known_hosts"));
    expect(found).toContain(" ssh-ed25519 ");
  });

  test("the fingerprint that a person has from elsewhere is an answer", async () => {
    using home = new CliHome();
    const line = `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} ${forward}`;
    await using terminal = new Terminal(line, home);
    await terminal.shows("Trust it from now on?");
    terminal.type(`${sshd.hostKeyFingerprint}\r`);
    await terminal.shows(" is up (pid ");
    expect(terminal.seen).not.toContain(", and has ");
  });

  test.each([
    ["no", "no\r"],
    ["nothing", "\n"],
    ["another fingerprint", `SHA256:${"yes".repeat(14)}y\r`],
  ])("a host key that is answered with %s ends the command, and stays unknown", async (_what, keys) => {
    using home = new CliHome();
    await using terminal = new Terminal(`tunnel open me@127.0.0.1:${sshd.port} ${forward}`, home);
    await terminal.shows("Trust it from now on?");
    terminal.type(keys);
    await terminal.shows("was not trusted");
    expect(() => readFileSync(home.path(".ssh", "known_hosts"))).toThrow("ENOENT");
  });

  test("a passphrase is asked until it fits, and never shown", async () => {
    using home = new CliHome();
    const key = home.path("locked");
    copyFileSync(sshd.identityFile, key);
    chmodSync(key, 0o600);
    await runTool("ssh-keygen", "-q", "-p", "-N", "correct horse", "-f", key);
    const line = `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${key} --known-hosts ${sshd.knownHostsFile} ${forward}`;
    await using terminal = new Terminal(line, home);
    // The mark of an open question: what is answered stays on the screen without it.
    await terminal.shows(`Passphrase of ${key}: `);
    terminal.type("wrong\n");
    await terminal.shows(`Passphrase of ${key}: `);
    terminal.type("correct horse\r");
    await terminal.shows(" is up (pid ");
    expect(terminal.seen).not.toContain("correct horse");
  });

  test("a password is asked for, by whose it is, and never shown", async () => {
    using home = new CliHome();
    const line = `tunnel open me@127.0.0.1:${passwords.port} --host-key-policy accept-new ${forward}`;
    await using terminal = new Terminal(line, home);
    await terminal.shows(`me@127.0.0.1:${passwords.port} asks: Password:`);
    terminal.type("open sesame\r");
    await terminal.shows(" is up (pid ");
    expect(terminal.seen).not.toContain("sesame");
  });

  test.each([
    ["a host key", "", "Trust it from now on?"],
    ["a password", "--host-key-policy accept-new", "asks: Password:"],
  ])("Ctrl-C at the question about %s ends the command as anywhere else", async (_about, flags, question) => {
    using home = new CliHome();
    await using terminal = new Terminal(`tunnel open me@127.0.0.1:${passwords.port} ${flags} ${forward}`, home);
    await terminal.shows(question);
    terminal.type("\u0003");
    expect(await terminal.ended).toBe(0);
    expect(terminal.seen).not.toMatch(/refuses|was not trusted/);
  });

  test("Ctrl-C at the question of a command that has no other end is its exit code", async () => {
    using home = new CliHome();
    await using terminal = new Terminal("pair join", home);
    await terminal.shows("Paste the code");
    terminal.type("\u0003");
    expect(await terminal.ended).toBe(130);
  });
});
