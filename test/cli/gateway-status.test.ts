import { createServer as createHttpServer, type Server } from "node:http";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createGateway } from "../../src/gateway/index.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { RunRecord } from "../../src/state/run-record.ts";
import { version } from "../../src/version.ts";
import { startRawServer } from "../fixtures/raw-server.ts";
import { CliHome } from "../support/run-cli.ts";
import { freePort } from "../support/sshd.ts";
import { sharedToken } from "../support/world.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

test("a gateway that is up: the promised keys, and a sentence for people", async () => {
  const { code, json } = await home.ask("gateway status --json");
  expect({ code, json }).toEqual({
    code: 0,
    json: {
      ok: true,
      url: `${home.url}/`,
      chosenBy: "--port",
      reachable: true,
      upgrade: "accepted",
      auth: "token",
      version,
      protocol: 4,
      latencyMs: expect.any(Number),
      uptimeMs: expect.any(Number),
    },
  });
  const { stdout } = await home.ask("gateway status");
  expect(stdout).toContain(`${home.url}/ is up\n  version    ${version} (protocol 4)\n`);
});

test.each(["gateway status", "devices list", "nodes list", "pair list", "call health"])(
  "%s finds the gateway that runs here, whatever port it listens on, and says so when asked for more",
  async (line) => {
    const { code, stderr } = await home.run(`${line} --json --verbose`);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      new RegExp(`^gateway: ${home.url}/, from the gateway that runs here \\(pid ${process.pid}\\)$`, "mu"),
    );
    expect((await home.run(`${line} --json`)).stderr).toBe("");
  },
);

test("what is given by name is meant, and no other gateway that happens to run here", async () => {
  const port = await freePort();
  const env = { OPENCLAW_GATEWAY_PORT: String(port) };
  expect(await home.run("gateway status --json", { env })).toMatchObject({ code: 3 });
  expect(
    await home.run("gateway status --json", { env: { OPENCLAW_GATEWAY_URL: `ws://127.0.0.1:${port}` } }),
  ).toMatchObject({ code: 3 });
  expect(await home.run(`gateway status --json --port ${port}`)).toMatchObject({ code: 3 });
});

test("of several that run here one has to be named", async () => {
  using machine = new CliHome();
  const runDir = join(machine.toolkitDir, "run");
  await using _one = await RunRecord.write(runDir, "gateway", { gateway: home.url, state: "ready" }, systemRuntime);
  const other = JSON.parse(readFileSync(join(runDir, `gateway-${process.pid}.json`), "utf8")) as object;
  writeFileSync(join(runDir, "gateway-other.json"), JSON.stringify({ ...other, gateway: "ws://127.0.0.1:1" }));
  expect(await machine.run("devices list --json")).toMatchObject({
    code: 2,
    json: {
      error: {
        code: "usage",
        message: expect.stringContaining(`${home.url} (pid ${process.pid})`),
        details: { candidates: expect.arrayContaining([{ url: "ws://127.0.0.1:1", pid: process.pid }]) },
      },
    },
  });
});

test("the record of a dead gateway names nobody", async () => {
  using machine = new CliHome();
  await using gateway = machine.spawn("gateway run --port 0 --json");
  await gateway.event("ready");
  gateway.child.kill("SIGKILL");
  await gateway.ended;
  const { stdout } = await machine.run("gateway status --json", { env: { OPENCLAW_GATEWAY_TOKEN: "x" } });
  expect(stdout).toContain(":18789/");
});

test.each<
  [where: string, line: (home: GatewayHome, file: string) => string, env: (home: GatewayHome) => Record<string, string>]
>([
  ["--token-file", ({ port }, file) => `--port ${port} --token-file ${file}`, () => ({})],
  ["--url", ({ url }, file) => `--url ${url} --token-file ${file}`, () => ({})],
  ["--host and --port", ({ port }, file) => `--host localhost --port ${port} --token-file ${file}`, () => ({})],
  ["the environment", () => "", ({ url, token }) => ({ OPENCLAW_GATEWAY_URL: url, OPENCLAW_GATEWAY_TOKEN: token })],
  [
    "a flag that beats the environment",
    ({ port }, file) => `--port ${port} --token-file ${file}`,
    () => ({ OPENCLAW_GATEWAY_URL: "ws://127.0.0.1:1", OPENCLAW_GATEWAY_TOKEN: "wrong" }),
  ],
])("from another machine with the token: %s", async (_where, line, env) => {
  using other = new CliHome();
  const file = other.path("token");
  writeFileSync(file, `${home.token}\n`);
  const result = await other.run(`gateway status --json ${line(home, file)}`, { env: env(home) });
  expect(result).toMatchObject({ code: 0, json: { auth: "token" } });
});

test("--token-file - reads the token from standard input, once", async () => {
  using other = new CliHome();
  const result = await other.run(`gateway status --json --token-file - --port ${home.port}`, {
    stdin: `${home.token}\n`,
  });
  expect(result).toMatchObject({ code: 0, stderr: "" });
});

test("a token in argv works, warns once, and is nowhere in the output", async () => {
  using other = new CliHome();
  for (const token of [home.token, "not-the-gateways-token"]) {
    const { stdout, stderr } = await other.run(`gateway status --json --debug --port ${home.port} --token ${token}`);
    expect(stderr.match(/--token can be read by other users/gu)).toHaveLength(1);
    expect(stdout + stderr).not.toContain(token);
  }
});

test("a wrong token", async () => {
  expect(await home.ask("gateway status --json --token-file -", "wrong")).toMatchObject({
    code: 4,
    json: { ok: false, error: { code: "token-mismatch", details: { reachable: true, upgrade: "refused" } } },
  });
});

test("no token at all", async () => {
  using other = new CliHome();
  expect(await other.run(`gateway status --json --port ${home.port}`)).toMatchObject({
    code: 4,
    json: { ok: false, error: { code: "credential-missing", details: { reachable: true, upgrade: "accepted" } } },
  });
});

test("a port where nothing listens", async () => {
  const port = await freePort();
  expect(await home.run(`gateway status --json --port ${port}`)).toMatchObject({
    code: 3,
    json: { ok: false, error: { code: "unreachable", details: { reachable: false, upgrade: "not reached" } } },
  });
});

test("a port where a web server listens", async () => {
  const { server, port } = await listen(createHttpServer((_request, response) => response.end("<html>hello</html>")));
  expect(await home.run(`gateway status --json --port ${port}`)).toMatchObject({
    code: 3,
    json: { error: { code: "not-a-gateway" } },
  });
  await close(server);
});

test("a port where something else talks", async () => {
  await using server = await startRawServer((socket) => socket.end("220 mail.example ESMTP\r\n"));
  expect(await home.run(`gateway status --json --port ${server.port}`)).toMatchObject({
    code: 3,
    json: { error: { code: "not-a-gateway" } },
  });
});

test("a port that hangs up", async () => {
  await using server = await startRawServer((socket) => socket.destroy());
  expect(await home.run(`gateway status --json --port ${server.port}`)).toMatchObject({
    code: 3,
    json: { error: { code: "unreachable" } },
  });
});

test("a port that says nothing: --timeout ends the wait", async () => {
  await using server = await startRawServer(() => {});
  for (const line of [
    `--timeout 200ms gateway status --port ${server.port}`,
    `devices list --port ${server.port} --timeout 200`,
  ]) {
    expect(await home.run(`${line} --json`)).toMatchObject({
      code: 3,
      json: { error: { code: "timeout", details: { timeoutMs: 200 } } },
    });
  }
});

test.each([
  ["a token", "--token-file FILE"],
  ["a password", "--password-file FILE"],
  ["a header", "--header 'X-Access: secret'"],
])("%s does not leave over plain ws to another machine, and nothing is dialled", async (_what, flags) => {
  const secret = home.path("elsewhere");
  writeFileSync(secret, "for-somebody-else");
  const line = `gateway status --json --url ws://203.0.113.1 ${flags.replace("FILE", secret)}`;
  expect(await home.run(line)).toMatchObject({ code: 4, json: { error: { code: "insecure-transport" } } });
});

test("the local gateway's own token is not for other gateways", async () => {
  await using other = await startGatewayHome();
  expect(await home.run(`gateway status --json --port ${other.port}`)).toMatchObject({
    code: 4,
    json: { error: { code: "credential-missing" } },
  });
});

test.each(["Authorization: Bearer x", "Host: elsewhere", "Connection: close", "Upgrade: h2c", "Sec-WebSocket-Key: x"])(
  "the header %s is refused",
  async (header) => {
    const result = await home.ask(`gateway status --json --header '${header}'`);
    expect(result).toMatchObject({ code: 2, json: { error: { code: "usage" } } });
    expect(result.stdout).not.toContain("Bearer x");
  },
);

test("other headers are sent, and --no-auth-header leaves Authorization to the edge", async () => {
  const seen: NodeJS.Dict<string | string[]>[] = [];
  const { server, port } = await listen(createHttpServer());
  server.on("upgrade", (request, socket) => {
    seen.push(request.headers);
    socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
  });
  const line = `gateway status --json --port ${port} --token-file - --header 'X-Access: a' --header 'X-Other: b'`;
  expect(await home.run(line, { stdin: "tok" })).toMatchObject({
    code: 4,
    json: { error: { code: "upgrade-refused", details: { status: 403 } } },
  });
  expect(seen[0]).toMatchObject({ authorization: "Bearer tok", "x-access": "a", "x-other": "b" });
  seen.length = 0;
  await home.run(`${line} --no-auth-header`, { stdin: "tok" });
  expect(seen[0]).toMatchObject({ "x-access": "a" });
  expect(seen[0]).not.toHaveProperty("authorization");
  await close(server);
});

test("a redirect is not followed", async () => {
  const visits: string[] = [];
  const target = await listen(
    createHttpServer((request) => visits.push(request.url ?? "")).on("upgrade", () => visits.push("upgrade")),
  );
  const { server, port } = await listen(createHttpServer());
  server.on("upgrade", (_request, socket) => {
    socket.end(`HTTP/1.1 302 Found\r\nlocation: ws://127.0.0.1:${target.port}/\r\ncontent-length: 0\r\n\r\n`);
  });
  const result = await home.run(`gateway status --json --port ${port} --token-file -`, { stdin: "tok" });
  expect(result).toMatchObject({ code: 4, json: { error: { code: "upgrade-refused", details: { status: 302 } } } });
  expect(visits).toEqual([]);
  await close(server);
  await close(target.server);
});

test("a gateway whose clock is two hours ahead or behind is no obstacle", async () => {
  for (const aheadMs of [7_200_000, -7_200_000]) {
    const runtime = { ...systemRuntime, now: () => Date.now() + aheadMs };
    await using gateway = await createGateway({ auth: { token: sharedToken }, runtime });
    using other = new CliHome();
    const env = { OPENCLAW_GATEWAY_URL: gateway.url, OPENCLAW_GATEWAY_TOKEN: sharedToken };
    expect(await other.run("devices list --json", { env })).toMatchObject({ code: 0 });
    expect(await other.run("pair request --role node --json", { env })).toMatchObject({
      code: 0,
      json: { paired: false },
    });
  }
});

async function listen(server: Server): Promise<{ readonly server: Server; readonly port: number }> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return { server, port: typeof address === "object" && address !== null ? address.port : 0 };
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

test.each([
  ["before the upgrade", ""],
  ["in the connect", "--no-auth-header"],
])("too many wrong credentials, refused %s: how long to wait stands there for people too", async (_name, flags) => {
  await using limited = await startGatewayHome();
  await succeed(limited.run("config set gateway.auth.rateLimit.maxAttempts 1"));
  await limited.gateway.event("reloaded");
  writeFileSync(limited.path("wrong"), "wrong\n");
  const ask = () => limited.ask(`gateway status --token-file ${limited.path("wrong")} ${flags}`);
  expect((await ask()).code).toBe(4);
  const { code, stderr } = await ask();
  expect(code).toBe(7);
  expect(stderr).toMatch(/^hint: try again in (?:5m|4m\d+s)$/mu);
});
