/** gateway explain: the gateway's own gates, asked offline about callers that are only described. */
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type DescribedCaller, explainCaller } from "../../src/gateway/explain.ts";
import type { GatewayRules } from "../../src/gateway/options.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { at, makeDevice, RawClient, type RawConnect } from "../support/raw-client.ts";
import { RpcClient, type RpcConnectOptions } from "../support/rpc-client.ts";
import { CliHome, type CliResult } from "../support/run-cli.ts";
import { sharedToken, startGateway } from "../support/world.ts";
import { startGatewayHome, succeed } from "./world.ts";

const reports = join(import.meta.dirname, "../fixtures/reports");

function configured(text: string): CliHome {
  const home = new CliHome();
  mkdirSync(home.stateDir, { recursive: true, mode: 0o700 });
  writeFileSync(join(home.stateDir, "openclaw.json"), text);
  return home;
}

/** The answers by caller, from `gateway explain` with these words. */
async function answers(home: CliHome, words = ""): Promise<readonly string[]> {
  const { json } = await succeed(home.run(`gateway explain --json ${words}`));
  const callers = at(json, "callers");
  return (Array.isArray(callers) ? callers : []).map((one: unknown) =>
    [at(one, "name"), at(one, "answer"), at(one, "authenticatedBy") ?? at(one, "code")].join(" | "),
  );
}

async function explainAs(home: CliHome, caller: object): Promise<CliResult> {
  return home.run("gateway explain --json --as -", { stdin: JSON.stringify(caller) });
}

describe("the usual callers", () => {
  test("on a gateway as it comes", async () => {
    using home = new CliHome();
    expect(await answers(home)).toEqual([
      "the CLI on this machine, with nothing | in | local",
      "the same through a tunnel | out | AUTH_TOKEN_MISSING",
      "a new node from the LAN, with the token | out | PAIRING_REQUIRED",
      "a backend client on loopback, with the token | in | token",
    ]);
    expect(existsSync(home.toolkitDir)).toBe(false);
  });

  test("behind report B's proxy, with the gateway's own client at the same time", async () => {
    using home = new CliHome();
    mkdirSync(home.stateDir);
    cpSync(join(reports, "b-trusted-proxy-loopback.json5"), join(home.stateDir, "openclaw.json"));
    expect(await answers(home)).toEqual([
      "the CLI on this machine, with nothing | in | local",
      "the same through a tunnel | out | AUTH_UNAUTHORIZED",
      "the dashboard in the browser of me@example.com, through the proxy at 127.0.0.1 | in | trusted-proxy",
      "a new node from the LAN, with nothing | out | AUTH_UNAUTHORIZED",
      "a backend client on loopback, with the internal secret | in | internal",
    ]);
  });

  test("behind report E's proxy on another host", async () => {
    using home = new CliHome();
    mkdirSync(home.stateDir);
    cpSync(join(reports, "e-trusted-proxy-remote.json5"), join(home.stateDir, "openclaw.json"));
    expect(await answers(home)).toContain(
      "the dashboard in the browser of user@example.com, through the proxy at 10.233.64.0 | in | trusted-proxy",
    );
  });

  test("people read every rule, the answer and what to do", async () => {
    using home = new CliHome();
    const { stdout } = await succeed(home.run("gateway explain"));
    expect(stdout).toMatch(/^A gateway on 127\.0\.0\.1:18789, mode token, would decide:\n/u);
    expect(stdout).toContain("the CLI on this machine, with nothing: IN by local, with operator.write\n");
    expect(stdout).toMatch(/\n {2}local +passed +host-port-differs\n/u);
    expect(stdout).toMatch(/\n {2}enrolment +refused +not-paired, a person has to approve\n/u);
    expect(stdout).toMatch(/\n {2}hint: on the gateway's host: openclaw gateway token --show/u);
    expect(stdout).toMatch(/but the gateway listens on 127\.0\.0\.1 only/u);
  });

  test("a configuration with which no gateway would start is said to be that", async () => {
    using home = configured('{gateway: {bind: "lan", auth: {mode: "none"}}}');
    expect(await home.run("gateway explain --json")).toMatchObject({ code: 2, json: { error: { code: "usage" } } });
  });

  test("another file is explained with --config", async () => {
    using home = new CliHome();
    const file = home.path("new.json5");
    writeFileSync(file, '{gateway: {auth: {loopback: false, token: "a-new-token"}}}');
    expect((await answers(home, `--config ${file}`))[0]).toBe(
      "the CLI on this machine, with nothing | out | AUTH_TOKEN_MISSING",
    );
  });
});

describe("a described caller", () => {
  const withServices =
    '{gateway: {auth: {token: "t", password: "p"}, trustedLocalServices: [{id: "backup", scopes: ["operator.read"]}]}}';

  test.each<[what: string, caller: object, want: object]>([
    ["a wrong token", { credentials: ["wrong token"] }, { answer: "out", code: "AUTH_TOKEN_MISMATCH" }],
    [
      "a local service within and beyond its scopes",
      { clientId: "backup", credentials: ["right token"], scopes: ["operator.read", "operator.write"] },
      { answer: "in", scopes: ["operator.read"], removedScopes: { scopes: ["operator.write"] } },
    ],
    [
      "report C's first row",
      { clientId: "openclaw-tui", credentials: ["right token"], scopes: ["operator.write"] },
      { answer: "out", code: "DEVICE_IDENTITY_REQUIRED" },
    ],
    [
      "a client id that nobody has",
      { clientId: "unheard-of", credentials: ["right token"] },
      { answer: "out", code: "INVALID_REQUEST" },
    ],
    [
      "a new key with the token from its own process",
      { device: "new", process: "own", credentials: ["right token"], scopes: ["operator.read"] },
      { answer: "in", authenticatedBy: "token" },
    ],
    [
      "the same through a forward",
      {
        device: "new",
        process: "own",
        port: 2222,
        credentials: ["right token"],
        scopes: ["operator.read"],
        clientMode: "ui",
      },
      { answer: "out", code: "PAIRING_REQUIRED" },
    ],
    [
      "a node with an invite",
      { clientId: "node-host", device: "new", credentials: ["invite"], address: "192.0.2.7" },
      { answer: "in", authenticatedBy: "bootstrap-token" },
    ],
    [
      "a node with another's invite",
      { clientId: "node-host", device: "new", credentials: ["wrong invite"] },
      { code: "AUTH_BOOTSTRAP_TOKEN_INVALID" },
    ],
    [
      "a wrong header",
      { authorization: "wrong token" },
      { answer: "out", code: "HTTP 401", hint: expect.stringContaining("openclaw gateway token") },
    ],
    [
      "a page from elsewhere",
      { origin: "https://evil.example", credentials: ["right token"] },
      { code: "CONTROL_UI_ORIGIN_NOT_ALLOWED" },
    ],
    ["a password where the mode is token", { credentials: ["right password"], port: 2222 }, { answer: "out" }],
  ])("%s", async (_what, caller, want) => {
    using home = configured(withServices.replace('token: "t"', 'mode: "token", token: "t"'));
    expect(await explainAs(home, caller)).toMatchObject({ code: 0, json: { callers: [want] } });
  });

  test("tailscale's users are confirmed by what the description says of the tailnet", async () => {
    using home = configured('{gateway: {tailscale: {mode: "enabled"}}}');
    const caller = {
      headers: { "X-Forwarded-For": "100.100.1.2", "Tailscale-User-Login": "ann@example.com" },
      device: "new",
    };
    expect(await explainAs(home, { ...caller, whois: "ann@example.com" })).toMatchObject({
      json: {
        callers: [
          { steps: expect.arrayContaining([{ method: "tailscale", outcome: "accepted", reason: "ann@example.com" }]) },
        ],
      },
    });
    expect(await explainAs(home, caller)).toMatchObject({
      json: { callers: [{ answer: "out", code: "AUTH_TAILSCALE_WHOIS_FAILED" }] },
    });
  });

  test.each<[field: string, caller: unknown]>([
    ["address", { address: "nowhere" }],
    ["port", { port: 70_000 }],
    ["role", { role: "webchat" }],
    ["credentials.0", { credentials: ["the token"] }],
    ["credentials", { credentials: ["right token", "wrong token"] }],
    ["credentials", { credentials: ["right password"] }],
    ["process", { process: "mine" }],
    ["headers.x-user", { headers: { "x-user": 5 } }],
    ["colour", { colour: "green" }],
  ])("a wrong %s is a usage error that names it", async (field, caller) => {
    using home = new CliHome();
    const file = home.path("client.json");
    writeFileSync(file, JSON.stringify(caller));
    const result = await home.run(`gateway explain --json --as ${file}`);
    expect(result).toMatchObject({ code: 2, json: { error: { code: "usage", details: { path: file, field } } } });
  });

  test("a file that is not there, or is no JSON5, is named", async () => {
    using home = new CliHome();
    expect(await home.run("gateway explain --as nothing.json")).toMatchObject({
      code: 2,
      stderr: /there is no file nothing\.json/u,
    });
    expect(await home.run("gateway explain --as -", { stdin: "{" })).toMatchObject({ code: 2 });
  });

  test("a device that the gateway knows is looked up beside it, and the gateway's records stay as they are", async () => {
    await using home = await startGatewayHome();
    const device = await home.pair({
      role: "operator",
      clientId: "cli",
      mode: "cli",
      scopes: ["operator.read"],
      displayName: "desk",
    });
    const before = readdirSync(home.toolkitDir);
    const caller = { device: "desk", host: "127.0.0.1:1", credentials: ["device token"], scopes: ["operator.read"] };
    expect(await explainAs(home, caller)).toMatchObject({
      code: 0,
      json: { callers: [{ answer: "in", authenticatedBy: "device-token", scopes: ["operator.read"] }] },
    });
    expect(await explainAs(home, { ...caller, device: device.id, scopes: ["operator.admin"] })).toMatchObject({
      json: { callers: [{ answer: "out", code: "PAIRING_REQUIRED", message: /more scopes/u }] },
    });
    expect(await explainAs(home, { ...caller, credentials: ["wrong device token"] })).toMatchObject({
      json: { callers: [{ answer: "out", code: "AUTH_DEVICE_TOKEN_MISMATCH" }] },
    });
    expect(await explainAs(home, { device: "unheard-of" })).toMatchObject({
      code: 9,
      json: { error: { code: "not-found" } },
    });
    expect(readdirSync(home.toolkitDir)).toEqual(before);
    expect(await home.ask("devices list --json")).toMatchObject({ json: { pending: [], paired: [{}] } });
  });
});

describe("what is explained is what happens", () => {
  const rules: GatewayRules = {
    auth: {
      token: sharedToken,
      password: "the-password",
      mode: "trusted-proxy",
      trustedProxy: { userHeader: "x-user", allowUsers: ["ann"] },
      identityScopes: { ann: ["operator.read"] },
    },
    trustedProxies: ["127.0.0.1"],
    allowedOrigins: ["https://gw.example"],
    pairing: { trustedLocalServices: [{ id: "backup", scopes: ["operator.read"] }] },
  };
  const plain: DescribedCaller = {
    address: "127.0.0.1",
    host: "",
    origin: undefined,
    headers: {},
    // This process holds both ends.
    process: { isProven: false, reason: "peer-may-relay" },
    whois: undefined,
    role: "operator",
    scopes: ["operator.write"],
    clientId: "cli",
    clientMode: "cli",
    platform: "linux",
    deviceFamily: undefined,
    device: "none",
    authorization: undefined,
    credentials: [],
  };
  const page = { origin: "https://gw.example", clientId: "openclaw-control-ui", clientMode: "webchat" } as const;
  const rows: readonly (readonly [
    what: string,
    mode: "token" | "trusted-proxy" | "none",
    caller: Partial<DescribedCaller>,
    sent: RawConnect,
  ])[] = [
    ["nothing at all", "token", {}, {}],
    ["the right token", "token", { credentials: ["right token"] }, { auth: { token: sharedToken } }],
    [
      "a new key with the right token",
      "token",
      { device: "new", clientMode: "ui", credentials: ["right token"] },
      { device: makeDevice(), mode: "ui", auth: { token: sharedToken } },
    ],
    [
      "an interface without a key",
      "token",
      { clientId: "openclaw-tui", clientMode: "ui", credentials: ["right token"] },
      { auth: { token: sharedToken } },
    ],
    ["a page of a user", "trusted-proxy", { ...page, headers: { "x-user": ["ann"] } }, {}],
    ["a page of another", "trusted-proxy", { ...page, headers: { "x-user": ["bob"] } }, {}],
    ["two users at once", "trusted-proxy", { ...page, headers: { "X-User": ["ann", "bob"] } }, {}],
    ["nothing where nothing is asked", "none", {}, {}],
  ];

  test.each(rows)("%s, in mode %s", async (_what, mode, described, sent) => {
    const told: GatewayRules = { ...rules, auth: { ...rules.auth, mode } };
    await using world = await startGateway(told);
    const host = `127.0.0.1:${world.gateway.port}`;
    const caller = { ...plain, host, ...described };
    const headers = Object.fromEntries(Object.entries(caller.headers).map(([name, values]) => [name, [...values]]));
    const origin = caller.origin === undefined ? {} : { origin: caller.origin };
    await using client = await RawClient.open(world.url, { ...headers, ...origin });
    const { role, scopes, clientId, clientMode } = caller;
    const asked = client.connect({
      device: undefined,
      auth: undefined,
      role,
      scopes,
      clientId,
      mode: clientMode,
      ...sent,
    });
    const decision = await world.decisions.find(() => true);
    await asked;
    const explained = await explainCaller({ rules: told, port: world.gateway.port, runtime: systemRuntime }, caller);
    const withoutFrame = decision.trace.filter(({ method }) => method !== "frame");
    expect(explained.steps).toEqual(withoutFrame);
    expect(explained.answer).toBe(decision.outcome === "admitted" ? "in" : "out");
    expect(explained.code).toBe(decision.code);
    expect(explained.scopes).toEqual(decision.scopes);
  });

  const rpcRows: readonly (readonly [string, Partial<DescribedCaller>, RpcConnectOptions])[] = [
    ["the right token, with whatever it allows", { credentials: ["right token"] }, { auth: { token: sharedToken } }],
    [
      "a scope by name",
      { credentials: ["right token"], scopes: ["operator.read"] },
      { auth: { token: sharedToken }, more: { scopes: ["operator.read"] } },
    ],
    ["a page that may hold little", { clientMode: "webchat", credentials: ["right token"] }, { role: "webchat" }],
    ["a node that wants to ask for a token", { role: "node", credentials: ["right token"] }, { role: "node" }],
    ["a wrong token", { credentials: ["wrong token"] }, { auth: { token: "wrong" } }],
    ["nothing", {}, { auth: undefined }],
  ];

  test.each(rpcRows)("in JSON-RPC: %s", async (_what, described, sent) => {
    const told: GatewayRules = { ...rules, auth: { ...rules.auth, mode: "token" } };
    await using world = await startGateway(told);
    const host = `127.0.0.1:${world.gateway.port}`;
    const { client } = await RpcClient.connect(world.url, sent);
    await using _client = client;
    const decision = await world.decisions.find(() => true);
    const gateway = { rules: told, port: world.gateway.port, runtime: systemRuntime };
    const caller = { ...plain, host, scopes: [], ...described };
    const explained = await explainCaller(gateway, caller, "json-rpc");
    expect(explained.steps).toEqual(decision.trace.filter(({ method }) => method !== "frame"));
    expect(explained.answer).toBe(decision.outcome === "admitted" ? "in" : "out");
    expect(explained.scopes).toEqual(decision.scopes);
    expect(explained.code).toBe(decision.code);
  });

  const httpRows: readonly (readonly [string, "token" | "trusted-proxy", Partial<DescribedCaller>, number, object])[] =
    [
      ["the token", "token", { authorization: "right token" }, 200, { Authorization: `Bearer ${sharedToken}` }],
      ["the other header", "token", { credentials: ["right token"] }, 200, { "X-OpenClaw-Token": sharedToken }],
      ["a wrong token", "token", { credentials: ["wrong token"] }, 401, { "X-OpenClaw-Token": "wrong" }],
      ["nothing", "token", {}, 401, {}],
      ["a foreign page", "token", { origin: "https://x.example" }, 403, { Origin: "https://x.example" }],
      ["a proxy's user", "trusted-proxy", { headers: { "x-user": ["ann"] } }, 200, { "x-user": "ann" }],
      ["another user", "trusted-proxy", { headers: { "x-user": ["bob"] } }, 401, { "x-user": "bob" }],
    ];

  test.each(httpRows)("over HTTP: %s, in mode %s", async (_what, mode, described, status, headers) => {
    const told: GatewayRules = { ...rules, auth: { ...rules.auth, mode } };
    await using world = await startGateway(told);
    const gateway = { rules: told, port: world.gateway.port, runtime: systemRuntime };
    expect((await fetch(`${world.httpUrl}/metrics`, { headers: { ...headers } })).status).toBe(status);
    const caller = { ...plain, host: `127.0.0.1:${world.gateway.port}`, ...described };
    const explained = await explainCaller(gateway, caller, "http");
    expect(explained).toMatchObject(status === 200 ? { answer: "in" } : { answer: "out", code: `HTTP ${status}` });
    if (status === 200) return;
    expect(explained.steps).toEqual(world.decisions.items[0]?.trace);
  });
});

describe("other dialects", () => {
  test("over HTTP there are no nodes, and people read what is explained", async () => {
    using home = new CliHome();
    expect(await answers(home, "--dialect http")).toEqual([
      "the CLI on this machine, with nothing | in | local",
      "the same through a tunnel | out | HTTP 401",
      "a backend client on loopback, with the token | in | token",
    ]);
    const { stdout } = await succeed(home.run("gateway explain --dialect http"));
    expect(stdout).toMatch(/^A gateway on 127\.0\.0\.1:18789, mode token, would decide about an HTTP request:\n/u);
  });

  test("two credentials are one too many over HTTP, and a bootstrap token is none of JSON-RPC's", async () => {
    using home = configured('{gateway: {auth: {token: "t", password: "p"}}}');
    const both = JSON.stringify({ credentials: ["right token", "right password"] });
    expect(await home.run("gateway explain --json --dialect http --as -", { stdin: both })).toMatchObject({
      code: 2,
      json: { error: { code: "usage", message: expect.stringContaining("at the most over HTTP") } },
    });
    const invited = JSON.stringify({ role: "node", credentials: ["invite"] });
    expect(await home.run("gateway explain --json --dialect json-rpc --as -", { stdin: invited })).toMatchObject({
      code: 0,
      json: { dialect: "json-rpc", callers: [{ answer: "out", code: "INVALID_REQUEST" }] },
    });
  });
});
