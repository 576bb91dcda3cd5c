import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createCertificate } from "../fixtures/certificate.ts";
import { startRawServer } from "../fixtures/raw-server.ts";
import { freePort } from "../support/sshd.ts";
import { CliHome, type CliResult, type RunningCli } from "../support/run-cli.ts";
import { startGatewayHome } from "./world.ts";

test("the first event is ready, with everything a script needs to connect, and no token", async () => {
  using home = new CliHome();
  await using running = home.start("gateway run --port 0 --json");
  const ready = await running.event("ready");
  expect(running.events.items[0]).toBe(ready);
  expect(ready).toMatchObject({
    event: "ready",
    url: `ws://127.0.0.1:${String(ready["port"])}`,
    host: "127.0.0.1",
    port: expect.any(Number),
    authMode: "token",
    pid: process.pid,
    stateDir: home.stateDir,
    fingerprint: expect.stringMatching(/^([0-9a-f]{4}:){4}[0-9a-f]{4}$/u),
  });
  expect(ready).not.toHaveProperty("token");
  expect(await home.run(`gateway status --json --port ${String(ready["port"])}`)).toMatchObject({ code: 0 });
});

test("it ends with stopped and exit code 0, and leaves no record and no secret of this start", async () => {
  using home = new CliHome();
  const running = home.start("gateway run --port 0 --json");
  await running.event("ready");
  expect(readdirSync(join(home.toolkitDir, "run"))).toContain(`gateway-${process.pid}.json`);
  const ended = await running.stop("SIGINT");
  expect(ended.code).toBe(0);
  expect(running.events.items.at(-1)).toEqual({ event: "stopped", reason: "stopped by SIGINT" });
  expect(readdirSync(join(home.toolkitDir, "run")).filter((name) => name.endsWith(".json"))).toEqual([]);
  expect(existsSync(join(home.toolkitDir, "internal-secret"))).toBe(false);
});

test("a token is made once, kept 0600 and used again; people see its digest only", async () => {
  using home = new CliHome();
  const ended = await stopOnceReady(home.start("gateway run --port 0"));
  expect(ended.stderr).toMatch(/^made a token \(sha256:[0-9a-f]{8}\)/u);
  const path = join(home.toolkitDir, "gateway-token");
  const token = readFileSync(path, "utf8");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(ended.stdout + ended.stderr).not.toContain(token.trim());
  const again = await stopOnceReady(home.start("gateway run --port 0"));
  expect(again.stderr).toBe("");
  expect(readFileSync(path, "utf8")).toBe(token);
});

test("people read where it listens, how it is guarded and its fingerprint", async () => {
  using home = new CliHome();
  const { stdout } = await stopOnceReady(home.start("gateway run --port 0"));
  expect(stdout).toMatch(
    /^gateway ready on ws:\/\/127\.0\.0\.1:\d+ \(pid \d+\)\n {2}authentication {2}token\n {2}fingerprint {5}/u,
  );
  expect(stdout).toMatch(/\nstopped\n$/u);
});

test("everything in the state directory is for its owner alone", async () => {
  await using home = await startGatewayHome();
  const names = readdirSync(home.toolkitDir, { recursive: true, withFileTypes: true });
  const open = names.filter((entry) => (statSync(join(entry.parentPath, entry.name)).mode & 0o077) !== 0);
  expect(open.map(({ name }) => name)).toEqual([]);
  expect(statSync(home.stateDir).mode & 0o077).toBe(0);
});

test("a second gateway on the same state directory is turned away, and the first one named", async () => {
  await using home = await startGatewayHome();
  const second = await home.run("gateway run --port 0 --json");
  expect(second).toMatchObject({ code: 9, json: { error: { code: "locked", details: { pid: process.pid } } } });
  expect(second.stdout).toContain(`process ${process.pid}`);
  expect(await home.ask("gateway status")).toMatchObject({ code: 0 });
});

test("a port that is taken is named, and who holds it where the system tells", async () => {
  using home = new CliHome();
  await using server = await startRawServer(() => {});
  const result = await home.run(`gateway run --port ${server.port} --json`);
  const holder = process.platform === "linux" ? { pid: process.pid } : undefined;
  expect(result).toMatchObject({
    code: 9,
    json: { ok: false, error: { code: "port-in-use", details: { port: server.port, ...(holder && { holder }) } } },
  });
});

test("the token of a file, of stdin and of argv are all taken; argv is warned about once and never repeated", async () => {
  const cases = [
    { line: "--token-file FILE", stdin: "" },
    { line: "--token-file -", stdin: "given-token\n" },
    { line: "--token given-token", stdin: "" },
  ];
  for (const { line, stdin } of cases) {
    using home = new CliHome();
    const file = home.path("secret");
    writeFileSync(file, "given-token\n");
    await using running = home.start(`gateway run --port 0 --json ${line.replace("FILE", file)}`, { stdin });
    const { port } = await running.event("ready");
    const asked = await home.run(`gateway status --port ${String(port)} --token-file ${file}`);
    expect(asked).toMatchObject({ code: 0 });
    const { stdout, stderr } = await running.stop();
    expect(stdout + stderr).not.toContain("given-token");
    expect(stderr.match(/warning: --token can be read/gu) ?? []).toHaveLength(line.includes("--token ") ? 1 : 0);
  }
});

test("a password gateway takes its password and nothing else", async () => {
  using home = new CliHome();
  const [right, wrong] = [home.path("right"), home.path("wrong")];
  writeFileSync(right, "open-sesame\n");
  writeFileSync(wrong, "open-barley\n");
  await using running = home.start(`gateway run --port 0 --json --auth password --password-file ${right}`);
  const { port, authMode } = await running.event("ready");
  expect(authMode).toBe("password");
  expect(await home.run(`gateway status --port ${String(port)} --password-file ${right} --json`)).toMatchObject({
    code: 0,
    json: { auth: "password" },
  });
  expect(await home.run(`gateway status --port ${String(port)} --password-file ${wrong} --json`)).toMatchObject({
    code: 4,
    json: { ok: false, error: { code: "password-mismatch" } },
  });
});

test("with --upgrade-auth required a wrong token is refused by HTTP already", async () => {
  await using home = await startGatewayHome("--upgrade-auth required");
  const wrong = home.path("wrong");
  writeFileSync(wrong, "wrong");
  expect(await home.ask(`gateway status --json --token-file ${wrong}`)).toMatchObject({
    code: 4,
    json: { error: { code: "token-mismatch", details: { status: 401, reachable: true, upgrade: "refused" } } },
  });
  expect(await home.ask("gateway status")).toMatchObject({ code: 0 });
});

test("with a certificate it speaks wss, and a pin decides whom to believe", async () => {
  using home = new CliHome();
  const [cert, key] = [home.path("cert.pem"), home.path("key.pem")];
  const certificate = createCertificate("IP:127.0.0.1");
  writeFileSync(cert, certificate.cert);
  writeFileSync(key, certificate.key, { mode: 0o600 });
  await using running = home.start(`gateway run --port 0 --json --tls-cert ${cert} --tls-key ${key}`);
  const { url } = await running.event("ready");
  expect(url).toMatch(/^wss:/u);
  expect(
    await home.run(`gateway status --url ${String(url)} --tls-fingerprint ${certificate.fingerprint}`),
  ).toMatchObject({ code: 0 });
  expect(
    await home.run(`gateway status --json --url ${String(url)} --tls-fingerprint ${"00".repeat(32)}`),
  ).toMatchObject({
    code: 4,
    json: { error: { code: "tls-pin-mismatch" } },
  });
  using elsewhere = new CliHome();
  expect(await elsewhere.run(`gateway status --json --url ${String(url)}`)).toMatchObject({
    code: 3,
    json: { error: { code: "tls-failed" } },
  });
  // The machine that runs it knows its certificate.
  expect(await home.run("gateway status")).toMatchObject({ code: 0 });
});

test("--ephemeral says its token in the first line, and leaves nothing behind", async () => {
  using home = new CliHome();
  const TMPDIR = home.path("tmp");
  mkdirSync(TMPDIR);
  await using gateway = home.spawn("gateway run --ephemeral --json", { env: { TMPDIR } });
  const ready = await gateway.event("ready");
  expect(gateway.events.items[0]).toBe(ready);
  expect(ready).toMatchObject({ event: "ready", token: expect.stringMatching(/^[\w-]{43}$/u), pid: gateway.pid });
  expect(readdirSync(TMPDIR)).toHaveLength(1);
  expect(String(ready["stateDir"]).startsWith(TMPDIR)).toBe(true);
  const env = { OPENCLAW_GATEWAY_URL: String(ready["url"]), OPENCLAW_GATEWAY_TOKEN: String(ready["token"]) };
  expect(await home.run("gateway status --json", { env })).toMatchObject({ code: 0, json: { auth: "token" } });
  expect(await gateway.stop()).toMatchObject({ code: 0, stderr: "" });
  expect(readdirSync(TMPDIR)).toEqual([]);
  expect(existsSync(join(home.stateDir, "toolkit", "gateway-token"))).toBe(false);
});

test("a port in the configuration is taken, and one on the command line beats it", async () => {
  using home = new CliHome();
  const port = await freePort();
  await home.run(`config set gateway.port ${port}`);
  await using running = home.start("gateway run --json");
  expect(await running.event("ready")).toMatchObject({ port });
  expect(await home.run("gateway status --json")).toMatchObject({ code: 0, json: { url: `ws://127.0.0.1:${port}/` } });
  await running.stop();
  await using other = home.start("gateway run --json --port 0");
  expect((await other.event("ready"))["port"]).not.toBe(port);
});

test("with port 0 in the configuration commands find the gateway that runs", async () => {
  using home = new CliHome();
  await home.run("config set gateway.port 0");
  await using running = home.start("gateway run --json");
  const { port } = await running.event("ready");
  expect(await home.run("devices list --json")).toMatchObject({ code: 0, json: { ok: true, pending: [], paired: [] } });
  expect(await home.run("gateway status --json")).toMatchObject({ json: { url: `ws://127.0.0.1:${String(port)}/` } });
});

/** Without --json there are no events to wait for; the sentence is. */
async function stopOnceReady(running: RunningCli): Promise<CliResult> {
  await running.lines.find((line) => line.startsWith("gateway ready"));
  return running.stop();
}
