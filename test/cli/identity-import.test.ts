/** `identity import`: the product's key and tokens, from its files or its database, of which not a byte changes. */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { type DeviceIdentity, formatIdentity } from "../../src/identity/device-identity.ts";
import { digestsOf } from "../support/digests.ts";
import { makeIdentity } from "../support/node-host.ts";
import { textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";

const operatorScopes = ["operator.read"];
const nodeToken = "n".repeat(43);
const operatorToken = "o".repeat(43);

/** A machine with the product on it; its files are made as the product makes them (protocol.md § 9). */
class ProductHome extends CliHome {
  readonly identity: DeviceIdentity = makeIdentity();
  readonly databasePath = this.path(".openclaw", "state", "openclaw.sqlite");

  write(name: string, text: string): void {
    const path = this.path(".openclaw", name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
  }

  /** As 2026.3.8 and 2026.5.27 keep it. */
  writeFiles(deviceId = this.identity.deviceId): void {
    const row = (role: string, token: string, scopes: readonly string[]) => ({ token, role, scopes, updatedAtMs: 5 });
    const tokens = { node: row("node", nodeToken, []), operator: row("operator", operatorToken, operatorScopes) };
    this.write("identity/device.json", formatIdentity(this.identity));
    this.write("identity/device-auth.json", JSON.stringify({ version: 1, deviceId, tokens }));
    this.write(
      "node.json",
      JSON.stringify({ version: 1, nodeId: "n", gateway: { host: "::1", port: 4711, tls: true } }),
    );
  }

  /** As 2026.9.6 keeps it. While the result is open, what was written is in the log and not yet in the database itself. */
  writeDatabase(): DatabaseSync {
    mkdirSync(dirname(this.databasePath), { recursive: true });
    const database = new DatabaseSync(this.databasePath);
    database.exec(`PRAGMA journal_mode = WAL;
      CREATE TABLE device_identities (identity_key TEXT PRIMARY KEY, device_id TEXT, public_key_pem TEXT,
        private_key_pem TEXT, created_at_ms INTEGER, updated_at_ms INTEGER) STRICT;
      CREATE TABLE device_auth_tokens (device_id TEXT, role TEXT, token TEXT, scopes_json TEXT, updated_at_ms INTEGER) STRICT;
      CREATE TABLE config_machine_state (state_key TEXT PRIMARY KEY, value_json TEXT, updated_at_ms INTEGER) STRICT;`);
    const { deviceId, publicKeyPem, privateKeyPem, createdAtMs } = JSON.parse(formatIdentity(this.identity));
    const insert = (table: string, ...values: (string | number)[]) =>
      database.prepare(`INSERT INTO ${table} VALUES (${values.map(() => "?").join()})`).run(...values);
    insert("device_identities", "primary", deviceId, publicKeyPem, privateKeyPem, createdAtMs, createdAtMs);
    insert("device_auth_tokens", deviceId, "node", nodeToken, "[]", 5);
    insert("device_auth_tokens", "another device", "node", operatorToken, "[]", 5);
    const node = { version: 1, gateway: { host: "127.0.0.1", port: 4711, tls: false } };
    insert("config_machine_state", "nodeHost.config", JSON.stringify(node), 5);
    return database;
  }

  /** The tokens that this machine holds, without those parts that differ from run to run. */
  heldTokens(): unknown {
    return JSON.parse(readFileSync(this.path(".openclaw/toolkit/identity/device-tokens.json"), "utf8")).tokens;
  }
}

test("from the product's files: key, tokens, and the gateways that its node and its configuration name", async () => {
  using home = new ProductHome();
  home.writeFiles();
  home.write("openclaw.json", `{ gateway: { mode: "remote", remote: { url: "wss://gateway.example:8443/oc" } } }`);
  const before = digestsOf(home.stateDir);
  const { identity } = home;
  const { code, json, stdout, stderr } = await home.run("identity import --from-openclaw --json");
  expect({ code, json }).toMatchObject({
    code: 0,
    json: {
      ok: true,
      deviceId: identity.deviceId,
      publicKey: identity.publicKey,
      source: { kind: "json", path: home.path(".openclaw/identity/device.json") },
      tokens: [
        { gateway: "wss://[::1]:4711", role: "node", scopes: [], used: true },
        { gateway: "wss://gateway.example:8443", role: "operator", scopes: operatorScopes, used: true },
      ],
    },
  });
  expect(stdout + stderr).not.toMatch(/n{43}|o{43}|PRIVATE/u);
  expect(home.heldTokens()).toMatchObject([
    { gateway: "wss://[::1]:4711", deviceId: identity.deviceId, role: "node", token: nodeToken },
    { gateway: "wss://gateway.example:8443", role: "operator", token: operatorToken, updatedAtMs: 5 },
  ]);
  const own = home.path(".openclaw/toolkit/identity/device.json");
  expect(statSync(own).mode & 0o777).toBe(0o600);
  expect(readFileSync(own, "utf8")).toBe(formatIdentity(identity));
  expect(digestsOf(home.stateDir, ["toolkit"])).toEqual(before);
});

test("from the product's database, also while it is open and a part of it is in its log only", async () => {
  using home = new ProductHome();
  using _open = home.writeDatabase();
  const before = digestsOf(home.stateDir);
  expect(Object.keys(before)).toContain("state/openclaw.sqlite-wal");
  expect(await home.run("identity list --json")).toMatchObject({
    json: {
      identities: [{ source: "openclaw", inUse: false, deviceId: home.identity.deviceId, path: home.databasePath }],
    },
  });
  expect(await home.run("identity import --from-openclaw --json")).toMatchObject({
    code: 0,
    json: {
      deviceId: home.identity.deviceId,
      source: { kind: "sqlite", path: home.databasePath },
      tokens: [{ gateway: "ws://127.0.0.1:4711", role: "node" }],
    },
  });
  expect(digestsOf(home.stateDir, ["toolkit"])).toEqual(before);
  expect(readdirSync(home.toolkitDir)).toEqual(["identity"]);
});

test("a database that was closed leaves no log behind when it is read", async () => {
  using home = new ProductHome();
  home.writeDatabase().close();
  const before = digestsOf(home.stateDir);
  expect((await home.run("identity import --from-openclaw")).code).toBe(0);
  expect(digestsOf(home.stateDir, ["toolkit"])).toEqual(before);
});

test("the database counts before the files", async () => {
  using home = new ProductHome();
  home.writeDatabase().close();
  home.write("identity/device.json", formatIdentity(makeIdentity()));
  expect(await home.run("identity import --from-openclaw --json")).toMatchObject({
    json: { deviceId: home.identity.deviceId, source: { kind: "sqlite" } },
  });
});

test("an identity that is there makes room only with --force, and its file stays", async () => {
  using home = new ProductHome();
  home.writeFiles();
  const deviceId = textAt((await home.run("identity create --json")).json, "deviceId");
  const own = home.path(".openclaw/toolkit/identity/device.json");
  const text = readFileSync(own, "utf8");
  expect(await home.run("identity import --from-openclaw --json")).toMatchObject({
    code: 9,
    json: { error: { code: "conflict", hint: expect.stringContaining("--force"), details: { deviceId } } },
  });
  expect(readFileSync(own, "utf8")).toBe(text);
  const aside = home.path(`.openclaw/toolkit/identity/device.${deviceId.slice(0, 8)}.json`);
  expect(await home.run("identity import --from-openclaw --force --json")).toMatchObject({
    code: 0,
    json: { deviceId: home.identity.deviceId, replaced: { deviceId, path: aside } },
  });
  expect(readFileSync(aside, "utf8")).toBe(text);
  expect(statSync(aside).mode & 0o777).toBe(0o600);
});

test("importing again changes nothing, and a newer token of ours is kept", async () => {
  using home = new ProductHome();
  home.writeFiles();
  await home.run("identity import --from-openclaw --url ws://127.0.0.1:18789");
  const kept = home.path(".openclaw/toolkit/identity/device-tokens.json");
  const rotated = readFileSync(kept, "utf8")
    .replace(nodeToken, "r".repeat(43))
    .replace(`"updatedAtMs": 5`, `"updatedAtMs": 6`);
  writeFileSync(kept, rotated);
  const { code, json } = await home.run("identity import --from-openclaw --url ws://127.0.0.1:18789 --json");
  expect({ code, json }).toMatchObject({
    code: 0,
    json: {
      tokens: [
        { role: "node", used: false },
        { role: "operator", used: true },
      ],
    },
  });
  expect(json).not.toHaveProperty("replaced");
  expect(readFileSync(kept, "utf8")).toContain("r".repeat(43));
});

test("tokens of an identity that was replaced stay behind", async () => {
  using home = new ProductHome();
  home.writeFiles(makeIdentity().deviceId);
  expect(await home.run("identity import --from-openclaw --json")).toMatchObject({ code: 0, json: { tokens: [] } });
});

test.each<[name: string, line: string, prepare: (home: ProductHome) => void, want: object]>([
  ["nothing to import", "--from-openclaw", () => {}, { code: 9, json: { error: { code: "not-found" } } }],
  [
    "no word about where from",
    "",
    (home) => home.writeFiles(),
    { code: 2, json: { error: { code: "usage", message: expect.stringContaining("--from-openclaw") } } },
  ],
  [
    "a database that is none",
    "--from-openclaw",
    (home) => home.write("state/openclaw.sqlite", "x".repeat(4096)),
    { code: 1, json: { error: { code: "state-unreadable", message: expect.stringContaining("openclaw.sqlite") } } },
  ],
  [
    "a token file of another shape",
    "--from-openclaw",
    (home) => {
      home.writeFiles();
      home.write("identity/device-auth.json", `{"version":2}`);
    },
    { code: 1, json: { error: { code: "state-unreadable", message: expect.stringContaining("device-auth.json") } } },
  ],
  [
    "a configuration that names no gateway for the tokens",
    "--from-openclaw",
    (home) => {
      home.writeFiles();
      home.write("openclaw.json", `{ gateway: { mode: "remote" } }`);
    },
    { code: 2, json: { error: { code: "usage", hint: expect.stringContaining("--url") } } },
  ],
])("%s is an error that says so, and nothing is written", async (_name, line, prepare, want) => {
  using home = new ProductHome();
  prepare(home);
  const before = digestsOf(home.stateDir);
  expect(await home.run(`identity import ${line} --json`)).toMatchObject(want);
  expect(digestsOf(home.stateDir)).toEqual(before);
});
