/** Commands that reach their gateway through an access proxy: nginx, which wants both halves of a service token. */
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type RawServer, startRawServer } from "../fixtures/raw-server.ts";
import { createCertificate } from "../fixtures/certificate.ts";
import { type Edge, serviceHeaders, serviceToken, startEdge } from "../support/edge.ts";
import { at, textAt } from "../support/raw-client.ts";
import { binPath, CliHome, type CliResult } from "../support/run-cli.ts";
import { type Sshd, startSshd } from "../support/sshd.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
/** Where the edge sends who is not known: nobody may ever call there. */
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

const inFlags = serviceHeaders.map((header) => `--header '${header}'`).join(" ");
const inVariables = { CF_ACCESS_CLIENT_ID: serviceToken.id, CF_ACCESS_CLIENT_SECRET: serviceToken.secret };
const names = ["CF-Access-Client-Id", "CF-Access-Client-Secret"];

/** A machine elsewhere, which knows the gateway's token. */
class Elsewhere extends CliHome {
  readonly token = this.path("token");
  readonly headerFile = this.path("headers");

  constructor() {
    super();
    writeFileSync(this.token, home.token);
    writeFileSync(this.headerFile, serviceHeaders.join("\n"));
  }

  /** Writes a configuration of the gateway behind the edge. */
  configure(headers: object | undefined, url = edge.url): void {
    const gateway = { mode: "remote", remote: { url, token: home.token } };
    writeFileSync(this.path("config.json5"), JSON.stringify({ gateway, ...(headers !== undefined && { headers }) }));
  }

  get configFlag(): string {
    return `--config ${this.path("config.json5")}`;
  }
}

function expectNothingSecret({ stdout, stderr }: CliResult): void {
  for (const secret of [serviceToken.id, serviceToken.secret, home.token])
    expect(stdout + stderr).not.toContain(secret);
}

describe("the service token", () => {
  const asked = () => `pair request --role operator --json --url ${edge.url}`;

  test.each<[where: string, flags: (machine: Elsewhere) => string, env: Record<string, string>]>([
    ["flags", () => inFlags, {}],
    ["a file", ({ headerFile }) => `--header-file ${headerFile}`, {}],
    ["the two variables of Cloudflare Access", () => "", inVariables],
    ["OPENCLAW_GATEWAY_HEADERS", () => "", { OPENCLAW_GATEWAY_HEADERS: serviceHeaders.join("\n") }],
    [
      "a flag and the environment",
      () => `--header '${serviceHeaders[0]}'`,
      { OPENCLAW_GATEWAY_HEADERS: serviceHeaders[1] },
    ],
  ])("from %s opens the edge", async (_where, flags, env) => {
    using machine = new Elsewhere();
    const result = await succeed(machine.run(`${asked()} --token-file ${machine.token} ${flags(machine)}`, { env }));
    expect(result.json).toMatchObject({ ok: true, requestId: expect.any(String) });
  });

  test("from the configuration opens the edge of the gateway that is configured, and goes to no other", async () => {
    using machine = new Elsewhere();
    machine.configure({ "CF-Access-Client-Id": serviceToken.id, "CF-Access-Client-Secret": serviceToken.secret });
    await succeed(machine.run(`pair request --role operator --json ${machine.configFlag}`));
    await succeed(machine.run(`${asked()} ${machine.configFlag}`));
    await using other = await startRawServer((socket) => socket.once("data", () => socket.end()));
    await machine.run(
      `gateway status --url ws://127.0.0.1:${other.port} --token-file ${machine.token} ${machine.configFlag}`,
    );
    expect(other.heard).toContain("Upgrade: websocket");
    expect(other.heard).not.toMatch(/CF-Access/iu);
  });

  test("does not open it when it is wrong, and the names of what was sent are told", async () => {
    using machine = new Elsewhere();
    const env = { ...inVariables, CF_ACCESS_CLIENT_SECRET: "another-secret" };
    const result = await machine.run(`${asked()} --token-file ${machine.token}`, { env });
    expect(result).toMatchObject({
      code: 4,
      json: {
        error: {
          code: "upgrade-refused",
          hint: expect.stringContaining(`it got ${names.join(", ")} and did not take them`),
          details: { edge: { sent: names } },
        },
      },
    });
    expectNothingSecret(result);
    expect(result.stdout + result.stderr).not.toContain("another-secret");
  });

  test("in argv is warned of, and works", async () => {
    using machine = new Elsewhere();
    const { code, stderr } = await machine.run(`${asked()} --token-file ${machine.token} ${inFlags}`);
    expect([code, stderr.match(/^warning: --header can be read by other users/gmu)?.length]).toEqual([0, 1]);
  });

  test("is of no use where a header is that the connection sets itself", async () => {
    using machine = new Elsewhere();
    for (const name of ["Authorization", "host", "Connection", "Upgrade", "Sec-WebSocket-Protocol"]) {
      const header = `${name}: hunter2`;
      const { code, stdout, stderr } = await machine.run(["gateway", "status", "--url", edge.url, "--header", header]);
      expect([name, code]).toEqual([name, 2]);
      expect(stdout + stderr).not.toContain("hunter2");
    }
  });
});

describe("every command that connects", () => {
  let machine: Elsewhere;
  beforeAll(async () => {
    machine = new Elsewhere();
    const scopes = ["admin", "read", "write", "pairing"].map((scope) => `--scope operator.${scope}`).join(" ");
    machine.configure({ "CF-Access-Client-Id": serviceToken.id, "CF-Access-Client-Secret": serviceToken.secret });
    const request = `pair request --role operator ${scopes} --json ${machine.configFlag}`;
    const made = await succeed(machine.run(request));
    await succeed(home.ask(`devices approve ${textAt(made.json, "requestId")}`));
    await succeed(machine.run(request));
  });
  afterAll(() => machine[Symbol.dispose]());
  beforeEach(() => {
    machine.configure({ "CF-Access-Client-Id": serviceToken.id, "CF-Access-Client-Secret": serviceToken.secret });
  });

  const id = "ab".repeat(32);
  test.each<[line: string, code: number]>([
    ["gateway status", 0],
    ["call health", 0],
    ["devices list", 0],
    ["devices reject 00000000-0000-4000-8000-000000000000", 9],
    [`devices rename ${id} x`, 9],
    [`devices revoke ${id} --role node`, 9],
    [`devices remove ${id}`, 9],
    ["devices approve 00000000-0000-4000-8000-000000000000", 9],
    ["devices rotate --self --role operator", 0],
    ["devices clear --yes --pending", 0],
    ["nodes list", 0],
    ["nodes pending", 0],
    ["nodes describe nobody", 9],
    ["nodes rename nobody x", 9],
    ["nodes invoke nobody system.info", 9],
    ["nodes approve 00000000-0000-4000-8000-000000000000", 9],
    ["nodes reject 00000000-0000-4000-8000-000000000000", 9],
    ["pair list", 0],
    ["pair invites", 0],
    ["pair invite --public-url wss://gw.example.test", 0],
    ["pair withdraw 00000000-0000-4000-8000-000000000000", 9],
    ["pair approve 00000000-0000-4000-8000-000000000000", 9],
    ["pair reject 00000000-0000-4000-8000-000000000000", 9],
    ["pair request --role operator", 0],
  ])("%s", async (line, code) => {
    const through = await machine.run(`${line} --json ${machine.configFlag}`);
    expect([through.code, through.stdout]).toEqual([code, through.stdout]);
    machine.configure(undefined);
    const without = await machine.run(`${line} --json ${machine.configFlag}`);
    expect(without).toMatchObject({ code: 4, json: { error: { code: "upgrade-refused", details: { edge: {} } } } });
    expectNothingSecret(without);
  });

  test("identity rotate takes the new key to the gateway behind the edge", async () => {
    const rotated = await succeed(machine.run(`identity rotate --json ${machine.configFlag}`));
    expect(rotated.json).toMatchObject({ complete: true, gateways: [{ state: "moved" }] });
  });

  test("identity rotate takes the headers of the environment to the gateway that the environment names, and to no other", async () => {
    machine.configure(undefined, "wss://other.example.test");
    const line = `identity rotate --json ${machine.configFlag}`;
    const refused = await machine.run(line, { env: { ...inVariables, OPENCLAW_GATEWAY_URL: home.url } });
    expect(refused).toMatchObject({ code: 9 });
    expect(refused.stdout).toContain("redirect");
    const env = { ...inVariables, OPENCLAW_GATEWAY_URL: edge.url };
    expect((await succeed(machine.run(line, { env }))).json).toMatchObject({ complete: true });
  });
});

describe("a node", () => {
  /** An invite to the gateway, by way of the edge. */
  async function invite(): Promise<string> {
    return textAt((await succeed(home.ask(`pair invite --public-url ${edge.url} --json`))).json, "code");
  }

  test("joins, verifies and serves through the edge", async () => {
    using machine = new Elsewhere();
    const stdin = await invite();
    const verified = await succeed(machine.run(`pair verify --code-file - --online --json ${inFlags}`, { stdin }));
    expect(verified.json).toMatchObject({ ok: true, invite: {} });
    expect(await machine.run("pair join --code-file - --json", { stdin })).toMatchObject({
      code: 4,
      json: { error: { code: "upgrade-refused" } },
    });
    await succeed(machine.run(`pair join --code-file - --json ${inFlags}`, { stdin }));
    await using running = machine.start("node run --json", { env: inVariables });
    await running.event("ready");
  });

  test("that the edge does not know ends with its word, instead of calling again for ever", async () => {
    using machine = new Elsewhere();
    const result = await machine.run(`node run --json --url ${edge.url} --token-file ${machine.token}`);
    expect(result.code).toBe(4);
    expect(JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "")).toMatchObject({
      error: { code: "upgrade-refused", hint: expect.stringContaining("--header 'CF-Access-Client-Id: …'") },
    });
    expectNothingSecret(result);
  });

  test("comes to an edge through a tunnel", async () => {
    await using sshd: Sshd = await startSshd();
    using machine = new Elsewhere();
    const keys = `-i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
    const line = `node run --tunnel ${sshd.user}@127.0.0.1:${sshd.port} --url ${edge.url} --pair-file - ${keys} --json ${inFlags}`;
    await using running = machine.start(line, { stdin: await invite() });
    expect(await running.event("ready")).toMatchObject({ commands: expect.any(Array) });
  });
});

describe("pair link", () => {
  /** A machine whose gateway stands behind an edge of its own, and another one with a gateway to link it with. */
  async function twoMachines() {
    const started = new AsyncDisposableStack();
    const [near, far] = [started.use(new CliHome()), started.use(await startGatewayHome())];
    const { port } = await started.use(near.start("gateway run --port 0 --json")).event("ready");
    const own = started.use(await startEdge({ gatewayPort: Number(port), loginUrl: `http://127.0.0.1:${login.port}` }));
    const token = textAt((await succeed(near.run("gateway token --show --json"))).json, "token");
    const headers = { "CF-Access-Client-Id": serviceToken.id, "CF-Access-Client-Secret": serviceToken.secret };
    const config = near.path("config.json5");
    writeFileSync(config, JSON.stringify({ gateway: { mode: "remote", remote: { url: own.url, token } }, headers }));
    const scopes = ["admin", "read", "write", "pairing"].map((scope) => `--scope operator.${scope}`).join(" ");
    const made = await succeed(near.run(`pair request --role operator ${scopes} --json --config ${config}`));
    await succeed(near.run(`devices approve ${textAt(made.json, "requestId")} --port ${String(port)}`));
    const sshd = started.use(await startSshd());
    const ssh = `${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
    const there = `--remote-openclaw '${process.execPath} ${binPath}' --remote-state-dir ${far.stateDir} --remote-port ${far.port}`;
    const line = `pair link ${ssh} ${there} --json --config ${config}`;
    return { near, line, [Symbol.asyncDispose]: () => started.disposeAsync() };
  }

  test("takes the headers to the gateway of its own end, and hands them to nobody", async () => {
    await using machines = await twoMachines();
    const { near, line } = machines;
    await using link = near.spawn(`${line} --one-way to-remote`);
    expect(await link.event("linked")).toMatchObject({ toRemote: { verified: true } });
    await link.stop();
    // The far end's node is not given the service token, so the edge turns it away, and says so.
    const both = await near.spawn(line).ended;
    expect(both.code).toBe(4);
    expect(JSON.parse(both.stdout.trim().split("\n").at(-1) ?? "")).toMatchObject({
      error: { code: "upgrade-refused", message: expect.stringContaining("redirect"), details: { step: "join" } },
    });
    expectNothingSecret(both);
  });
});

describe("an answer of the edge", () => {
  test.each<[path: string, code: number, message: RegExp, hint: RegExp, details: object]>([
    [
      "/",
      4,
      /redirect to http:\/\/127\.0\.0\.1:\d+\/cdn-cgi\/access\/login \(HTTP 302\)$/u,
      /Cloudflare Access; give it its service token with --header 'CF-Access-Client-Id: …' --header 'CF-Access-Client-Secret: …', or CF_ACCESS_CLIENT_ID/u,
      { status: 302, edge: { answer: "redirect", wants: names, sent: [] } },
    ],
    [
      "/redirect",
      4,
      /redirect to http:\/\/127\.0\.0\.1:\d+\/oauth2\/start \(HTTP 302\)$/u,
      /access proxy in front of the gateway; give it the headers of its service token/u,
      { status: 302, edge: { answer: "redirect", wants: [] } },
    ],
    [
      "/login",
      4,
      /answered with a login page instead/u,
      /--header 'Name: value'/u,
      { status: 200, edge: { answer: "login-page" } },
    ],
    [
      "/forbidden",
      4,
      /before the gateway saw it \(HTTP 403\)/u,
      /--header/u,
      { status: 403, edge: { answer: "refusal" } },
    ],
    [
      "/basic",
      4,
      /wants a login of its own before the gateway: Basic "staff only" \(HTTP 401\)/u,
      /--no-auth-header/u,
      { status: 401, edge: { answer: "challenge", challenge: 'Basic "staff only"' } },
    ],
    ["/page", 3, /answered HTTP 200 instead of a WebSocket upgrade/u, /check the port and the path/u, { status: 200 }],
    ["/limited", 7, /asks to wait/u, /^try again in 17s$/u, { status: 429, retryAfterMs: 17_000 }],
    ["/echo", 4, /HTTP 403: you sent Bearer \[secret\] and/u, /check --token/u, { status: 403 }],
  ])("%s is named as what it is", async (path, code, message, hint, details) => {
    using machine = new Elsewhere();
    const result = await machine.run(`gateway status --json --url ${edge.url}${path} --token-file ${machine.token}`);
    expect(result.code).toBe(code);
    const error = at(result.json, "error");
    expect(at(error, "message")).toMatch(message);
    expect(at(error, "hint") ?? "").toMatch(hint);
    expect(at(error, "details")).toMatchObject(details);
    expectNothingSecret(result);
  });

  test("that repeats the service token is told without it", async () => {
    using machine = new Elsewhere();
    const result = await machine.run(
      `gateway status --json --url ${edge.url}/echo --token-file ${machine.token} ${inFlags}`,
    );
    expect(at(at(result.json, "error"), "message")).toContain("you sent Bearer [secret] and [secret]");
    expectNothingSecret(result);
  });
});

test("an edge with a certificate of its own hears the service token after its pin has matched, and not before", async () => {
  const certificate = createCertificate("IP:127.0.0.1");
  await using secure = await startEdge({ gatewayPort: home.port, loginUrl: "https://login.example.test", certificate });
  using machine = new Elsewhere();
  const line = `pair request --role operator --json --url ${secure.url} --token-file ${machine.token} ${inFlags}`;
  await succeed(machine.run(`${line} --tls-fingerprint ${certificate.fingerprint}`));
  expect(await machine.run(line)).toMatchObject({ code: 3, json: { error: { code: "tls-failed" } } });
});

test.each<[what: string, flags: string, env: Record<string, string>]>([
  ["a flag's header", `--header '${serviceHeaders[0]}'`, {}],
  ["the variables' headers", "", inVariables],
  ["OPENCLAW_GATEWAY_HEADERS", "", { OPENCLAW_GATEWAY_HEADERS: serviceHeaders[0] }],
])("%s do not leave in the clear", async (_what, flags, env) => {
  using machine = new CliHome();
  // An address of documentation (RFC 5737): nothing is ever dialled.
  const result = await machine.run(`gateway status --json --url ws://192.0.2.1:1 ${flags}`, { env });
  expect(result).toMatchObject({ code: 4, json: { error: { code: "insecure-transport" } } });
  expectNothingSecret(result);
});

test("where the edge sends who is not known, nobody has called", () => {
  expect(login.connections).toBe(0);
});
