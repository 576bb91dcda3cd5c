/** devices service-account create: a key of its own for a program, on the gateway's host, in one command. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { at } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

const create = (home: CliHome, name: string, scopes = "--scope operator.write") =>
  `devices service-account create ${name} ${scopes} --out ${home.path(name)}`;

async function auditLines(home: GatewayHome): Promise<readonly unknown[]> {
  const { openSqliteStore } = await import("../../src/store/sqlite-store.ts");
  await using store = await openSqliteStore(join(home.toolkitDir, "gateway.db"));
  return store.tail("audit", 10);
}

test("the account works with every command by its directory, keeps its scopes and is approved by the owner", async () => {
  await using home = await startGatewayHome();
  const made = await succeed(
    home.run(`${create(home, "ci", "--scope operator.write --scope operator.pairing")} --json`),
  );
  const deviceId = String(at(made.json, "deviceId"));
  expect(made.json).toEqual({
    ok: true,
    name: "ci",
    deviceId: expect.stringMatching(/^[0-9a-f]{64}$/u),
    scopes: ["operator.write", "operator.pairing"],
    stateDir: home.path("ci"),
    url: home.url,
    use: `openclaw gateway status --state-dir ${home.path("ci")}`,
  });
  // No address, no secret: all of that is in the directory.
  using elsewhere = new CliHome();
  const state = `--state-dir ${home.path("ci")}`;
  expect(await elsewhere.run(`gateway status ${state} --json`)).toMatchObject({
    code: 0,
    json: { auth: "device-token" },
  });
  expect(await elsewhere.run(`devices list ${state} --json`)).toMatchObject({
    code: 0,
    json: { paired: [{ deviceId }] },
  });
  const env = { OPENCLAW_STATE_DIR: home.path("ci") };
  expect(await elsewhere.run("nodes list --json", { env })).toMatchObject({ code: 0, json: { ok: true } });
  expect(await elsewhere.run(`devices remove ${deviceId} ${state} --json`)).toMatchObject({ code: 0 });
});

test("the record is named, approved by the owner, and has an audit line", async () => {
  await using home = await startGatewayHome();
  await succeed(home.run(create(home, "backup")));
  expect(await home.ask("devices list --json")).toMatchObject({
    json: {
      paired: [
        {
          operatorLabel: "backup",
          approvedVia: "owner",
          roles: ["operator"],
          scopes: ["operator.write"],
          tokens: [{ role: "operator", scopes: ["operator.write"] }],
        },
      ],
    },
  });
  expect(await auditLines(home)).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ action: "device.enrol", via: "owner", by: "local", scopes: "operator.write" }),
    ]),
  );
});

test("what it writes is for its owner alone, and no secret is printed", async () => {
  await using home = await startGatewayHome();
  const { stdout, stderr } = await succeed(home.run(create(home, "quiet")));
  expect(stdout).toContain(`try it   openclaw gateway status --state-dir ${home.path("quiet")}\n`);
  const names = readdirSync(home.path("quiet"), { recursive: true, withFileTypes: true });
  const open = names.filter((entry) => (statSync(join(entry.parentPath, entry.name)).mode & 0o077) !== 0);
  expect(open.map(({ name }) => name)).toEqual([]);
  expect(statSync(home.path("quiet")).mode & 0o077).toBe(0);
  const tokens: unknown = JSON.parse(
    readFileSync(home.path("quiet", "toolkit", "identity", "device-tokens.json"), "utf8"),
  );
  const token = String(at(tokens, "tokens", "0", "token"));
  expect(token.length).toBeGreaterThan(20);
  expect(stdout + stderr).not.toContain(token);
});

test("it works without a gateway that runs, and in a mode that knows no token", async () => {
  using home = new CliHome();
  const first = home.start("gateway run --port 0 --json");
  await first.event("ready");
  await first.stop();
  await succeed(home.run(`${create(home, "later")} --url ws://127.0.0.1:18789`));
  mkdirSync(home.stateDir, { recursive: true });
  writeFileSync(
    join(home.stateDir, "openclaw.json"),
    '{gateway: {auth: {mode: "trusted-proxy", trustedProxy: {userHeader: "x-user"}}, trustedProxies: ["127.0.0.1"]}}',
  );
  await using running = home.start("gateway run --port 0 --json");
  const url = String((await running.event("ready"))["url"]);
  await succeed(home.run(create(home, "now")));
  expect(await home.run(`gateway status --state-dir ${home.path("now")} --json`)).toMatchObject({
    code: 0,
    json: { url: expect.stringContaining(url), auth: "device-token" },
  });
});

test("what is there already is never overwritten, and a failure leaves nothing", async () => {
  await using home = await startGatewayHome();
  await succeed(home.run(create(home, "one")));
  const before = readFileSync(home.path("one", "toolkit", "identity", "device.json"), "utf8");
  expect(await home.run(`${create(home, "one")} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "conflict" } },
  });
  expect(readFileSync(home.path("one", "toolkit", "identity", "device.json"), "utf8")).toBe(before);
  const taken = await home.run(
    `devices service-account create one --scope operator.read --out ${home.path("two")} --json`,
  );
  expect(taken).toMatchObject({ code: 9, json: { error: { code: "conflict", message: /a device called one/u } } });
  expect(existsSync(home.path("two"))).toBe(false);
  expect(await home.ask("devices list --json")).toMatchObject({ json: { paired: [{ operatorLabel: "one" }] } });
});

test.each([
  ["a scope that nobody has", "--scope operator.wirte", /did you mean operator\.write/u],
  ["no scope", "", /--scope operator\.write/u],
  ["a pin that is none", "--scope operator.read --url wss://gw.example --tls-fingerprint ab", /./u],
])("%s is a usage error, and nothing is made", async (_what, scopes, hint) => {
  await using home = await startGatewayHome();
  expect(await home.run(`${create(home, "bad", scopes)} --json`)).toMatchObject({
    code: 2,
    json: { error: { code: "usage", hint } },
  });
  expect(existsSync(home.path("bad"))).toBe(false);
});

test("where no gateway has ever run there is nothing to make it on", async () => {
  using home = new CliHome();
  expect(await home.run(`${create(home, "early")} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
  expect(existsSync(home.path("early"))).toBe(false);
  expect(existsSync(home.toolkitDir)).toBe(false);
});

test("report C's rotation works on the gateway's host, and the account goes on with its token", async () => {
  await using home = await startGatewayHome();
  await succeed(home.run(create(home, "manager", "--scope operator.write --scope operator.approvals")));
  const rotated = await home.ask(
    `devices rotate --device manager --role operator --scope operator.write --token ${home.token} --json`,
  );
  expect(rotated).toMatchObject({ code: 0, json: { ok: true, role: "operator", scopes: ["operator.write"] } });
  const state = `--state-dir ${home.path("manager")}`;
  expect(await home.run(`gateway status ${state} --json`)).toMatchObject({ code: 0, json: { auth: "device-token" } });
  expect(await home.run(`nodes list ${state} --json`)).toMatchObject({ code: 0 });
});

test("the account replaces its own token, without a right to decide about devices", async () => {
  await using home = await startGatewayHome();
  await succeed(home.run(create(home, "robot", "--scope operator.read")));
  const state = `--state-dir ${home.path("robot")}`;
  const { json } = await succeed(home.run(`devices rotate --self ${state} --json`));
  expect(json).toMatchObject({ ok: true, role: "operator", scopes: ["operator.read"], state: "confirmed" });
  await succeed(home.run(`nodes list ${state}`));
});
