/** node install, start, stop, restart, uninstall: a service of systemd's user manager, which is a real one. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createCertificate } from "../fixtures/certificate.ts";
import { type RawServer, startRawServer } from "../fixtures/raw-server.ts";
import { type Edge, serviceHeaders, serviceToken, startEdge } from "../support/edge.ts";
import { Keyring } from "../support/keyring.ts";
import { at, textAt } from "../support/raw-client.ts";
import { binPath, CliHome } from "../support/run-cli.ts";
import { freePort, startSshd } from "../support/sshd.ts";
import { type Finished, UserSystemd } from "../support/user-systemd.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
let login: RawServer;
let edge: Edge;
beforeAll(async () => {
  [home, login] = await Promise.all([startGatewayHome(), startRawServer(() => {})]);
  edge = await startEdge({ gatewayPort: home.port, loginUrl: `http://127.0.0.1:${login.port}` });
});
afterAll(async () => {
  await edge[Symbol.asyncDispose]();
  await login[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

/** The files that a person has on the machine when they install. */
function writeGiven(machine: CliHome): { readonly token: string; readonly headers: string } {
  const given = { token: machine.path("token"), headers: machine.path("headers") };
  writeFileSync(given.token, home.token);
  writeFileSync(given.headers, serviceHeaders.join("\n"));
  return given;
}

function must(finished: Finished): Finished {
  if (finished.code !== 0) throw new Error(`exit ${finished.code}: ${finished.stdout}${finished.stderr}`);
  return finished;
}

async function approve(node: unknown): Promise<void> {
  await succeed(home.ask(`pair approve ${textAt(node, "request", "requestId")} --surface`));
}

async function connectedNodes(): Promise<unknown[]> {
  const { json } = await succeed(home.ask("nodes list --json"));
  return (at(json, "nodes") as { displayName: string; connected: boolean }[])
    .filter(({ connected }) => connected)
    .map(({ displayName }) => displayName);
}

const secrets = () => [home.token, serviceToken.id, serviceToken.secret];
const facts = (machine: CliHome, name = "node") => ({
  unit: machine.path(".config", "systemd", "user", `openclaw-${name}.service`),
  envFile: machine.path(".openclaw", "toolkit", "services", `${name}.env`),
});

describe("a node behind an edge", () => {
  let machine: UserSystemd;
  beforeAll(async () => {
    machine = await UserSystemd.start();
  });
  afterAll(() => machine[Symbol.asyncDispose]());

  test("is kept going with the edge's headers and pin, through restarts, and taken down again without a trace", async () => {
    const { unit, envFile } = facts(machine);
    const { token, headers } = writeGiven(machine);
    const certificate = createCertificate("IP:127.0.0.1");
    const loginUrl = `http://127.0.0.1:${login.port}`;
    await using secure = await startEdge({ gatewayPort: home.port, loginUrl, certificate });
    const target = `--url ${secure.url} --tls-fingerprint ${certificate.fingerprint}`;
    const line = `node install --json ${target} --token-file ${token} --header-file ${headers} --display-name served`;
    const installed = must(await machine.openclaw(line));
    expect(installed.json).toMatchObject({
      ok: true,
      updated: false,
      started: true,
      gateway: `${secure.url}/`,
      secrets: ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_HEADERS"],
      service: { name: "node", manager: "systemd", unit: "openclaw-node.service", path: unit, envFile, enabled: true },
      node: {
        state: "pairing-required",
        request: { layer: "device", approve: expect.stringMatching(/^openclaw devices approve /u) },
      },
    });
    await approve(at(installed.json, "node"));
    const started = async () => must(await machine.openclaw("node start --json"));
    await expect
      .poll(started, { timeout: 20_000 })
      .toMatchObject({ json: { service: { active: true }, node: { state: "ready", gateway: `${secure.url}/` } } });
    expect(await connectedNodes()).toEqual(["served"]);

    const pid = await machine.property("openclaw-node.service", "MainPID");
    const shown = [
      readFileSync(unit, "utf8"),
      readFileSync(`/proc/${pid}/cmdline`, "utf8"),
      readFileSync(`/proc/${pid}/environ`, "utf8"),
      installed.stdout + installed.stderr,
    ];
    for (const secret of secrets()) for (const text of shown) expect(text).not.toContain(secret);
    expect(readFileSync(unit, "utf8")).toContain(`--environment-file=${envFile}`);
    expect([unit, envFile].map((path) => statSync(path).mode & 0o777)).toEqual([0o600, 0o600]);

    const restarted = must(await machine.openclaw("node restart --json"));
    expect(restarted.json).toMatchObject({ service: { active: true }, node: { state: "ready" } });
    expect(await machine.property("openclaw-node.service", "MainPID")).not.toBe(pid);
    await succeed(home.ask("nodes invoke served system.info"));

    const status = must(await machine.openclaw("node status --json"));
    expect(status.json).toMatchObject({
      services: [
        { unit: "openclaw-node.service", enabled: true, active: true, path: unit, envFile, node: { state: "ready" } },
      ],
    });

    const stopped = must(await machine.openclaw("node stop --json"));
    expect(stopped.json).toMatchObject({ ok: true, service: { active: false, state: "stopped", enabled: true } });
    expect(await connectedNodes()).toEqual([]);

    must(await machine.openclaw("node start"));
    const removed = must(await machine.openclaw("node uninstall --json"));
    expect(removed.json).toMatchObject({ ok: true, stopped: true, removed: expect.arrayContaining([unit, envFile]) });
    expect(await connectedNodes()).toEqual([]);
    const link = join(machine.unitDir, "default.target.wants", "openclaw-node.service");
    expect([unit, envFile, link].filter((path) => existsSync(path))).toEqual([]);
    expect(await machine.property("openclaw-node.service", "LoadState")).toBe("not-found");
    expect(await machine.openclaw("node uninstall --json")).toMatchObject({
      code: 9,
      json: { error: { code: "not-found", message: "there is no service openclaw-node.service" } },
    });
  });

  test("that is given no service token ends for good, and says why; installed again with it, it is let in", async () => {
    const { token, headers } = writeGiven(machine);
    const line = `node install edgy --json --url ${edge.url} --token-file ${token} --display-name edgy`;
    const refused = await machine.openclaw(line);
    expect(refused).toMatchObject({
      code: 4,
      json: { ok: false, error: { code: "upgrade-refused", details: { service: "node-edgy", willRetry: false } } },
    });
    expect(await machine.property("openclaw-node-edgy.service", "ActiveState")).toBe("failed");
    expect(await machine.openclaw("node start edgy --json")).toMatchObject({ code: 4 });
    const status = must(await machine.openclaw("node status --json"));
    expect(status.json).toMatchObject({
      services: [{ state: "failed", lastEnd: "exit code 4", node: { failure: { code: "upgrade-refused" } } }],
    });
    const again = must(await machine.openclaw(`${line} --header-file ${headers}`));
    expect(again.json).toMatchObject({ updated: true, node: { state: "ready" } });
    must(await machine.openclaw("node uninstall edgy"));
  });

  test("that is not there yet is waited for, and the service that was killed comes back", async () => {
    const { token } = writeGiven(machine);
    const line = `node install early --json --timeout 5s --port ${await freePort()} --token-file ${token}`;
    const installed = must(await machine.openclaw(line));
    expect(installed.json).toMatchObject({ started: true, service: { active: true } });
    const status = async () =>
      at((await machine.openclaw("node status --json")).json, "services", "0", "node", "state");
    await expect.poll(status, { timeout: 20_000 }).toBe("disconnected");
    const pid = Number(await machine.property("openclaw-node-early.service", "MainPID"));
    process.kill(pid, "SIGKILL");
    const isBack = async () => Number(await machine.property("openclaw-node-early.service", "MainPID"));
    await expect.poll(isBack, { timeout: 20_000 }).toSatisfy((now: number) => now > 0 && now !== pid);
    must(await machine.openclaw("node uninstall early"));
  });

  test("keeps its own, whoever else has a unit of that name or another state directory", async () => {
    const { token } = writeGiven(machine);
    const { unit } = facts(machine, "node-theirs");
    const line = `node install theirs --json --port ${home.port} --token-file ${token}`;
    writeFileSync(unit, "[Service]\nExecStart=/bin/true\n");
    for (const words of [line, "node uninstall theirs --json", "node stop theirs --json"]) {
      expect(await machine.openclaw(words)).toMatchObject({
        code: 9,
        json: { error: { code: "conflict", message: expect.stringContaining(unit) } },
      });
    }
    expect(readFileSync(unit, "utf8")).toBe("[Service]\nExecStart=/bin/true\n");
    must(await machine.openclaw(`node install mine --no-start --port ${home.port} --token-file ${token}`));
    const elsewhere = await machine.openclaw(`node uninstall mine --json --state-dir ${machine.path("other")}`);
    expect(elsewhere).toMatchObject({ code: 9, json: { error: { details: { stateDir: machine.stateDir } } } });
    must(await machine.openclaw("node uninstall mine"));
  });

  test("that is installed where its manager does not look is not started, and says why; it is uninstalled all the same", async () => {
    const { token } = writeGiven(machine);
    const env = { XDG_CONFIG_HOME: machine.path("elsewhere") };
    must(await machine.openclaw(`node install lost --no-start --port ${home.port} --token-file ${token}`, { env }));
    for (const verb of ["start", "restart"]) {
      expect(await machine.openclaw(`node ${verb} lost --json`, { env })).toMatchObject({
        code: 1,
        json: { error: { code: "failed", hint: expect.stringContaining("XDG_CONFIG_HOME") } },
      });
    }
    must(await machine.openclaw("node stop lost", { env }));
    const removed = must(await machine.openclaw("node uninstall lost --json", { env }));
    const unit = join(env.XDG_CONFIG_HOME, "systemd", "user", "openclaw-node-lost.service");
    const { envFile } = facts(machine, "node-lost");
    expect(removed.json).toMatchObject({ removed: [unit, envFile] });
    expect([unit, envFile].filter((path) => existsSync(path))).toEqual([]);
  });

  test("whose secrets' file is gone ends for good, and says which file it was", async () => {
    const { token } = writeGiven(machine);
    const { envFile } = facts(machine, "node-bare");
    must(await machine.openclaw(`node install bare --no-start --port ${home.port} --token-file ${token}`));
    rmSync(envFile);
    const message = expect.stringContaining(envFile);
    expect(await machine.openclaw("node start bare --json")).toMatchObject({
      code: 2,
      json: { error: { code: "usage", message, details: { willRetry: false } } },
    });
    const status = must(await machine.openclaw("node status --json"));
    const bare = (at(status.json, "services") as { name: string }[]).find(({ name }) => name === "node-bare");
    expect(bare).toMatchObject({ state: "failed", lastEnd: "exit code 2", node: { failure: { message } } });
    must(await machine.openclaw("node uninstall bare"));
  });

  test("gets every word as it was typed", async () => {
    const { token } = writeGiven(machine);
    const typed = String.raw`--display-name=50% $HOME ${"$"}{x} "q" 'a' \n; é # %h`;
    const words = ["node", "install", "odd", "--json", `--port=${home.port}`, `--token-file=${token}`, typed];
    must(await machine.finish([process.execPath, binPath, ...words]));
    const pid = await machine.property("openclaw-node-odd.service", "MainPID");
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")).toContain(typed);
    must(await machine.openclaw("node uninstall odd"));
  });
});

test("a service finds its key in the keychain, and says so when the keychain is locked", async () => {
  await using keyring = await Keyring.start();
  const { DBUS_SESSION_BUS_ADDRESS = "" } = keyring.env;
  await using machine = await UserSystemd.start({ DBUS_SESSION_BUS_ADDRESS });
  const { token } = writeGiven(machine);
  const line = `node install --json --secret-store keychain --port ${home.port} --token-file ${token} --display-name kept`;
  const installed = must(await machine.openclaw(line, { env: { DBUS_SESSION_BUS_ADDRESS } }));
  expect(installed.json).toMatchObject({ node: { state: "pairing-required" } });
  expect(installed.stderr).toContain("openclaw identity move --to file");
  const status = must(await machine.openclaw("node status --json"));
  expect(status.json).toMatchObject({ secretStore: { store: "keychain" } });
  await keyring.lock();
  const locked = await machine.openclaw("node restart --json");
  expect(locked).toMatchObject({ code: expect.toSatisfy((code: number) => code > 0), json: { ok: false } });
  expect(textAt(locked.json, "error", "message")).toMatch(/keychain/u);
});

test("a service keeps a tunnel of its own, and an invite is all that it needs", async () => {
  await using machine = await UserSystemd.start();
  await using sshd = await startSshd();
  const made = await succeed(home.ask(`pair invite --public-url ${home.url} --ttl 1m --json`));
  const keys = `-i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
  const line = `node install --json --tunnel ${sshd.user}@127.0.0.1:${sshd.port} --pair-file - ${keys} --display-name afar`;
  const installed = must(await machine.openclaw(line, { stdin: textAt(made.json, "code") }));
  expect(installed.json).toMatchObject({ secrets: ["OPENCLAW_PAIR_CODE"], node: { state: "ready" } });
  await succeed(home.ask("nodes invoke afar system.info"));
  expect(must(await machine.openclaw("node restart --json")).json).toMatchObject({ node: { state: "ready" } });
  await sshd.kill();
  expect(await machine.openclaw("node restart --json")).toMatchObject({
    code: 8,
    json: { error: { code: "ssh", details: { willRetry: true } } },
  });
});

describe("without a manager", () => {
  const nowhere = (machine: CliHome) => {
    mkdirSync(machine.path("run"), { mode: 0o700 });
    return { XDG_RUNTIME_DIR: machine.path("run") };
  };

  test("nothing is written, and the way out is told", async () => {
    using machine = new CliHome();
    const { token } = writeGiven(machine);
    const result = await machine.run(`node install --json --port ${home.port} --token-file ${token}`, {
      env: nowhere(machine),
    });
    expect(result).toMatchObject({
      code: 1,
      json: { error: { code: "no-service-manager", hint: expect.stringContaining("--no-start") } },
    });
    const { unit, envFile } = facts(machine);
    expect([unit, envFile].filter((path) => existsSync(path))).toEqual([]);
  });

  test("--no-start writes the files all the same, status says what is known, and uninstall removes them", async () => {
    using machine = new CliHome();
    const { token } = writeGiven(machine);
    const { unit, envFile } = facts(machine);
    const env = nowhere(machine);
    const result = await succeed(
      machine.run(`node install --json --no-start --port ${home.port} --token-file ${token}`, { env }),
    );
    expect(result.json).toMatchObject({ started: false, service: { enabled: null, active: null, state: "unknown" } });
    expect((await machine.run("node status --json", { env })).json).toMatchObject({
      services: [{ path: unit, envFile, state: "unknown", node: null }],
    });
    for (const verb of ["start", "stop", "restart"]) {
      expect(await machine.run(`node ${verb} --json`, { env })).toMatchObject({
        code: 1,
        json: { error: { code: "no-service-manager" } },
      });
    }
    const removed = await succeed(machine.run("node uninstall --json", { env }));
    expect(removed.json).toMatchObject({ stopped: false, removed: [unit, envFile] });
    expect(removed.stderr).toContain("could not be stopped");
  });

  test("secrets whose unit is gone are removed all the same", async () => {
    using machine = new CliHome();
    const { token } = writeGiven(machine);
    const { unit, envFile } = facts(machine);
    const env = nowhere(machine);
    await succeed(machine.run(`node install --no-start --port ${home.port} --token-file ${token}`, { env }));
    rmSync(unit);
    expect((await machine.run("node uninstall --json", { env })).json).toMatchObject({ ok: true, removed: [envFile] });
    expect(await machine.run("node uninstall --json", { env })).toMatchObject({ code: 9 });
  });

  test("a system without systemd is told apart", async () => {
    using machine = new CliHome();
    const { token } = writeGiven(machine);
    const result = await machine.run(`node install --json --port ${home.port} --token-file ${token}`, {
      env: { PATH: machine.path("empty") },
    });
    expect(result).toMatchObject({
      code: 1,
      json: { error: { code: "no-service-manager", message: expect.stringContaining("no systemctl") } },
    });
  });
});

describe("a manager that does not answer", () => {
  /** A systemctl that says who it is, and then nothing. */
  function hanging(machine: CliHome): { readonly env: Record<string, string>; readonly pid: () => number } {
    const [bin, told] = [machine.path("bin"), machine.path("systemctl.pid")];
    mkdirSync(bin);
    writeFileSync(join(bin, "systemctl"), `#!/bin/sh\necho $$ > ${told}\nexec sleep 600\n`, { mode: 0o700 });
    const pid = () => (existsSync(told) ? Number(readFileSync(told, "utf8")) : 0);
    return { env: { PATH: `${bin}:${process.env["PATH"]}`, XDG_RUNTIME_DIR: machine.path("run") }, pid };
  }
  const isGone = (pid: number) =>
    !existsSync(`/proc/${pid}`) || /\) Z /u.test(readFileSync(`/proc/${pid}/stat`, "utf8"));

  async function install(machine: CliHome): Promise<void> {
    const { token } = writeGiven(machine);
    const env = { PATH: machine.path("empty") };
    await succeed(machine.run(`node install --no-start --port ${home.port} --token-file ${token}`, { env }));
  }

  test.each(["install --port 1", "start", "stop", "restart", "uninstall"])(
    "is waited for as long as --timeout says: node %s",
    async (words) => {
      using machine = new CliHome();
      await install(machine);
      const { env, pid } = hanging(machine);
      const result = await machine.run(`node ${words} --json --timeout 500ms`, { env });
      expect(result).toMatchObject({
        code: 3,
        json: {
          error: {
            code: "timeout",
            message: expect.stringContaining("systemctl"),
            hint: expect.stringContaining("--timeout"),
            details: { timeoutMs: 500 },
          },
        },
      });
      expect(result.stdout).not.toContain("linger");
      await expect.poll(() => isGone(pid())).toBe(true);
      const { unit, envFile } = facts(machine);
      expect([unit, envFile].every((path) => existsSync(path))).toBe(true);
    },
  );

  test("keeps nobody from the status", async () => {
    using machine = new CliHome();
    await install(machine);
    const result = await succeed(machine.run("node status --json --timeout 500ms", { env: hanging(machine).env }));
    expect(result.json).toMatchObject({ services: [{ name: "node", state: "unknown", active: null }] });
  });

  test.each([
    ["stop", "SIGTERM", 143],
    ["uninstall", "SIGINT", 130],
    ["status", "SIGTERM", 143],
  ] as const)("is left alone when node %s is stopped by %s", async (verb, signal, code) => {
    using machine = new CliHome();
    await install(machine);
    const { env, pid } = hanging(machine);
    await using running = machine.spawn(`node ${verb} --json`, { env });
    await expect.poll(pid, { timeout: 20_000 }).toBeGreaterThan(0);
    const ended = await running.stop(signal);
    expect(ended).toMatchObject({ code, json: { ok: false, error: { message: `stopped by ${signal}` } } });
    await expect.poll(() => isGone(pid())).toBe(true);
  });
});

describe("on other systems", () => {
  const { platform } = process;
  const pretend = (name: string) => Object.defineProperty(process, "platform", { value: name });
  afterEach(() => void pretend(platform));

  test("macOS gets an agent without a secret in it", async () => {
    using machine = new CliHome();
    const { token, headers } = writeGiven(machine);
    const env = { PATH: machine.path("empty") };
    pretend("darwin");
    const line = `node install --json --no-start --port ${home.port} --token-file ${token} --header-file ${headers}`;
    const installed = await succeed(machine.run(line, { env }));
    const agent = machine.path("Library", "LaunchAgents", "openclaw-toolkit.node.plist");
    const { envFile } = facts(machine);
    expect(installed.json).toMatchObject({ service: { manager: "launchd", path: agent, envFile, state: "unknown" } });
    const text = readFileSync(agent, "utf8");
    expect(text).toContain(`<string>--environment-file=${envFile}</string>`);
    for (const secret of secrets()) expect(text).not.toContain(secret);
    expect(statSync(agent).mode & 0o777).toBe(0o600);
    expect((await machine.run("node status --json", { env })).json).toMatchObject({ services: [{ path: agent }] });
    expect(await machine.run(line.replace("--no-start", ""), { env })).toMatchObject({
      code: 1,
      json: { error: { code: "no-service-manager" } },
    });
    const removed = await succeed(machine.run("node uninstall --json", { env }));
    expect(removed.json).toMatchObject({ removed: [agent, envFile] });
  });

  test("Windows is told what to do instead, and its status goes on working", async () => {
    using machine = new CliHome();
    pretend("win32");
    for (const verb of ["install", "start", "stop", "restart", "uninstall"]) {
      expect(await machine.run(`node ${verb} --json`)).toMatchObject({
        code: 1,
        json: { error: { code: "no-service-manager", hint: expect.stringContaining("Task Scheduler") } },
      });
    }
    expect((await machine.run("node status --json")).json).toMatchObject({ ok: true, services: [] });
  });
});

describe("what is given at install", () => {
  const token = "token-of-a-gateway-elsewhere";
  const header = "X-Edge: of the edge";

  test.each<[where: string, flags: string, options: { env?: Record<string, string>; stdin?: string }, held: object]>([
    ["a flag", `--token ${token}`, {}, { OPENCLAW_GATEWAY_TOKEN: token }],
    ["standard input", "--token-file -", { stdin: `${token}\n` }, { OPENCLAW_GATEWAY_TOKEN: token }],
    ["the environment", "", { env: { OPENCLAW_GATEWAY_PASSWORD: token } }, { OPENCLAW_GATEWAY_PASSWORD: token }],
    [
      "a flag, which beats the environment",
      `--token ${token}`,
      { env: { OPENCLAW_GATEWAY_PASSWORD: "another" } },
      { OPENCLAW_GATEWAY_TOKEN: token },
    ],
    [
      "headers of a flag, of standard input and of the environment",
      `--header '${header}' --header-file -`,
      {
        stdin: "X-Second: 2\nx-edge: weaker",
        env: { CF_ACCESS_CLIENT_ID: serviceToken.id, CF_ACCESS_CLIENT_SECRET: serviceToken.secret },
      },
      { OPENCLAW_GATEWAY_HEADERS: [header, "X-Second: 2", ...serviceHeaders].join("\n") },
    ],
  ])("from %s stands in the environment file alone", async (_where, flags, options, held) => {
    using machine = new CliHome();
    await succeed(machine.run(`node install --no-start --json --host 127.0.0.1 ${flags}`, options));
    const { unit, envFile } = facts(machine);
    const lines = readFileSync(envFile, "utf8").split("\n").slice(1, -1);
    expect(lines).toEqual(Object.entries(held).map(([name, value]) => `${name}=${JSON.stringify(value)}`));
    for (const secret of [token, "another", serviceToken.secret, "of the edge", "weaker"])
      expect(readFileSync(unit, "utf8")).not.toContain(secret);
  });

  test("that is no secret stands in the unit, and depends on no place and no environment any more", async () => {
    using machine = new CliHome();
    writeFileSync(machine.path("token"), token);
    const line = `node install --no-start --json --tls --host gateway.example --tls-fingerprint ${"ab".repeat(32)} --token-file ${machine.path("token")} --allow git --allow ls --exec-policy full --no-auth-header --profile work --known-hosts hosts --approval-timeout 1h`;
    await succeed(machine.run(line, { env: { NODE_EXTRA_CA_CERTS: "/etc/ca.pem", OPENCLAW_GATEWAY_URL: "ws://x:1" } }));
    const unit = readFileSync(facts(machine).unit, "utf8");
    const words = /^ExecStart=(.*)$/mu.exec(unit)?.[1]?.split(" ") ?? [];
    expect(words.slice(2)).toEqual([
      "node",
      "run",
      "--service=node",
      `--environment-file=${machine.stateDir}-work/toolkit/services/node.env`,
      `--state-dir=${machine.stateDir}-work`,
      "--no-input",
      "--no-color",
      "--host=gateway.example",
      "--tls",
      `--tls-fingerprint=${"ab".repeat(32)}`,
      "--no-auth-header",
      "--approval-timeout=1h",
      "--allow=git",
      "--allow=ls",
      "--exec-policy=full",
      `--known-hosts=${join(process.cwd(), "hosts")}`,
    ]);
    expect(unit).toContain("Environment=NODE_EXTRA_CA_CERTS=/etc/ca.pem\n");
    expect(unit).not.toContain("ws://x:1");
  });

  test.each<[what: string, flags: string, code: number, said: RegExp, stdin?: string]>([
    ["an exec policy that is none", "--exec-policy maybe", 2, /no exec policy "maybe"/u],
    ["a duration that is none", "--approval-timeout soon", 2, /--approval-timeout/u],
    ["an address that is none", "--url http://127.0.0.1:1", 2, /--url begins with http/u],
    ["a header that is the connection's own", "--header 'Host: x'", 2, /--header "Host"/u],
    ["a token twice", `--token ${token} --token-file -`, 2, /both given/u],
    ["two that read standard input", "--token-file - --header-file -", 2, /cannot both read/u],
    ["a token in two lines", "--token-file -", 2, /--token-file has characters/u, "one\ntwo\n"],
    ["a token in the clear", `--url ws://192.0.2.1:1 --token ${token}`, 4, /cross the network unencrypted/u],
    ["a passphrase on standard input", "--tunnel me@127.0.0.1 --passphrase-file -", 2, /--passphrase-file/u],
    ["a code beside a token", `--pair x --token ${token}`, 2, /stands in for token/u],
    ["a code that is none", "--pair x", 2, /OPENCLAW_PAIR_CODE|--pair/u],
    ["a control character", "--display-name 'a\tb'", 2, /control character/u],
    [
      "an environment file that is not there",
      "--environment-file /nowhere/at/all",
      2,
      /cannot read the environment file/u,
    ],
  ])("%s is refused, and nothing is written", async (_what, flags, code, said, stdin = "one") => {
    using machine = new CliHome();
    const result = await machine.run(`node install --no-start --json ${flags}`, { stdin });
    expect(result.code).toBe(code);
    expect(textAt(result.json, "error", "message")).toMatch(said);
    expect(result.stdout + result.stderr).not.toContain(token);
    const { unit, envFile } = facts(machine);
    expect([unit, envFile].filter((path) => existsSync(path))).toEqual([]);
  });

  test.each(["/nowhere/at/all", "another"])(
    "a symbolic link to %s in the unit's place stays as it is",
    async (leadsTo) => {
      using machine = new CliHome();
      const { unit, envFile } = facts(machine);
      mkdirSync(dirname(unit), { recursive: true });
      const end = resolve(dirname(unit), leadsTo);
      if (leadsTo === "another") writeFileSync(end, "[Service]\n");
      symlinkSync(end, unit);
      for (const words of ["install --no-start --port 1 --token x", "uninstall", "start"]) {
        expect(await machine.run(`node ${words} --json`)).toMatchObject({
          code: 9,
          json: { error: { code: "conflict", message: expect.stringContaining("symbolic link") } },
        });
      }
      expect(readlinkSync(unit)).toBe(end);
      expect(existsSync(envFile)).toBe(false);
      expect(existsSync(end) ? readFileSync(end, "utf8") : "").toBe(leadsTo === "another" ? "[Service]\n" : "");
    },
  );

  test("is all that counts: what an update no longer gives is dropped, and named", async () => {
    using machine = new CliHome();
    const line = "node install --no-start --host 127.0.0.1";
    const first = await succeed(machine.run(`${line} --json --token ${token} --header '${header}'`));
    expect(first.json).not.toHaveProperty("dropped");
    const second = await succeed(machine.run(`${line} --json --token other`));
    expect(second.json).toMatchObject({ updated: true, dropped: ["OPENCLAW_GATEWAY_HEADERS"] });
    const third = await succeed(machine.run(line));
    expect(third.stdout).toContain("dropped: OPENCLAW_GATEWAY_TOKEN\n");
    expect((await succeed(machine.run(`${line} --json`))).json).not.toHaveProperty("dropped");
  });

  test.each(["..", "a b", "-x", "x".repeat(65)])("%j is no name of a service", async (label) => {
    using machine = new CliHome();
    for (const verb of ["install", "start", "uninstall"])
      expect(await machine.run(["node", verb, "--json", "--", label])).toMatchObject({ code: 2 });
  });
});

describe("node run --environment-file", () => {
  test("takes the secrets from the file, whatever the environment has", async () => {
    using machine = new CliHome();
    const envFile = machine.path("secrets.env");
    writeFileSync(envFile, `# ours\nOPENCLAW_GATEWAY_TOKEN = ${home.token}\n`, { mode: 0o600 });
    const env = { OPENCLAW_GATEWAY_TOKEN: "stale", OPENCLAW_GATEWAY_PASSWORD: "stale too" };
    const line = `node run --json --no-wait --port ${home.tunnelPort} --environment-file ${envFile} --display-name filed`;
    const result = await machine.run(line, { env });
    expect(result).toMatchObject({ code: 5 });
  });

  test("is no option of Node.js: a file that is not there is one failure of ours", async () => {
    using machine = new CliHome();
    await using running = machine.spawn("node run --environment-file /nope --json");
    const result = await running.ended;
    expect(result).toMatchObject({
      code: 2,
      json: { ok: false, error: { code: "usage", message: expect.stringContaining("/nope") } },
    });
  });

  test("refuses a file that others can open", async () => {
    using machine = new CliHome();
    const envFile = machine.path("secrets.env");
    writeFileSync(envFile, `OPENCLAW_GATEWAY_TOKEN=${home.token}\n`, { mode: 0o640 });
    expect(await machine.run(`node run --json --port ${home.port} --environment-file ${envFile}`)).toMatchObject({
      code: 2,
      json: { error: { code: "usage", fix: `chmod 600 ${envFile}`, details: { mode: "0640" } } },
    });
  });
});
