import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { settingKeys } from "../../src/config/settings.ts";
import { digest } from "../../src/secret.ts";
import { CliHome } from "../support/run-cli.ts";
import { startGatewayHome } from "./world.ts";

const ownFile = ".openclaw/toolkit/config.json5";
const productFile = ".openclaw/openclaw.json";

function write(home: CliHome, file: string, text: string): string {
  mkdirSync(dirname(home.path(file)), { recursive: true });
  writeFileSync(home.path(file), text);
  return home.path(file);
}

const commented = `// our gateway
{
  gateway: {
    port: 18800, // not the usual one
    bind: "loopback",
  },
}
`;

test("set changes one value and keeps every comment", async () => {
  using home = new CliHome();
  const path = write(home, ownFile, commented);
  expect(await home.run("config set gateway.port 18900 --json")).toMatchObject({
    code: 0,
    json: { ok: true, path: "gateway.port", file: path, changed: true },
  });
  expect(readFileSync(path, "utf8")).toBe(commented.replace("18800", "18900"));
  expect(await home.run("config set gateway.port 18900")).toMatchObject({
    code: 0,
    stdout: "gateway.port was so already\n",
  });
});

test("unset removes one value and keeps every comment", async () => {
  using home = new CliHome();
  const path = write(home, ownFile, commented);
  expect(await home.run("config unset gateway.bind --json")).toMatchObject({ code: 0, json: { changed: true } });
  const text = readFileSync(path, "utf8");
  expect(text).toContain("// our gateway");
  expect(text).toContain("// not the usual one");
  expect(text).not.toContain("bind");
  expect(await home.run("config unset gateway.bind --json")).toMatchObject({ code: 0, json: { changed: false } });
});

test("the first set makes the file, 0600", async () => {
  using home = new CliHome();
  expect(await home.run("config set gateway.bind lan")).toMatchObject({ code: 0, stdout: "gateway.bind is set\n" });
  expect(statSync(home.path(ownFile)).mode & 0o777).toBe(0o600);
  expect(await home.run("config get gateway.bind")).toMatchObject({ code: 0, stdout: "lan\n" });
});

test.each<[from: string, line: string, env: Record<string, string>, value: unknown, origin: string]>([
  ["the default", "config get gateway.port", {}, 18_789, "default"],
  ["our file", "config get gateway.port", { own: "{ gateway: { port: 1111 } }" }, 1111, "toolkit-config"],
  [
    "the product's file",
    "config get gateway.port",
    { product: '{ "gateway": { "port": 2222 } }' },
    2222,
    "product-config",
  ],
  [
    "our file before the product's",
    "config get gateway.port",
    { own: "{ gateway: { port: 1111 } }", product: '{ "gateway": { "port": 2222 } }' },
    1111,
    "toolkit-config",
  ],
  [
    "the environment before both",
    "config get gateway.port",
    { own: "{ gateway: { port: 1111 } }", OPENCLAW_GATEWAY_PORT: "3333" },
    3333,
    "OPENCLAW_GATEWAY_PORT",
  ],
])("get: %s", async (_from, line, { own, product, ...env }, value, origin) => {
  using home = new CliHome();
  if (own !== undefined) write(home, ownFile, own);
  if (product !== undefined) write(home, productFile, product);
  expect(await home.run(`${line} --json`, { env })).toMatchObject({
    code: 0,
    json: { ok: true, path: "gateway.port", value, origin },
  });
  expect(await home.run(line, { env })).toMatchObject({ code: 0, stdout: `${String(value)}\n`, stderr: "" });
  expect((await home.run(`${line} --verbose`, { env })).stderr).toBe(`from ${origin}\n`);
});

test("a group shows what is set in it", async () => {
  using home = new CliHome();
  write(home, ownFile, commented);
  const { code, stdout } = await home.run("config get gateway");
  expect(code).toBe(0);
  expect(stdout).toContain("gateway.port = 18800\n");
  expect(await home.run("config get gateway.tls --json")).toMatchObject({
    code: 0,
    json: { settings: expect.arrayContaining([expect.objectContaining({ key: "gateway.tls.enabled" })]) },
  });
});

test("a secret shows as its digest, unless it is asked for; in argv it is warned about", async () => {
  using home = new CliHome();
  const set = await home.run("config set gateway.auth.token hush-hush");
  expect(set.stderr.match(/warning: /gu)).toHaveLength(1);
  expect(set.stdout + set.stderr).not.toContain("hush-hush");
  for (const line of [
    "config get gateway.auth.token",
    "config list",
    "config get gateway.auth",
    "config list --json",
  ]) {
    const { stdout } = await home.run(line);
    expect(stdout).toContain(digest("hush-hush"));
    expect(stdout).not.toContain("hush-hush");
  }
  expect(await home.run("config get gateway.auth.token --show")).toMatchObject({ code: 0, stdout: "hush-hush\n" });
  const quiet = await home.run("config set gateway.auth.token --value-file -", { stdin: "other\n" });
  expect(quiet).toMatchObject({ code: 0, stderr: "" });
  expect(await home.run("config get gateway.auth.token --show")).toMatchObject({ stdout: "other\n" });
});

test.each(["config get gateway.prot", "config set gateway.prot 1"])(
  "%s: an unknown key is refused with the nearest known one, and nothing is written",
  async (line) => {
    using home = new CliHome();
    const path = write(home, ownFile, commented);
    expect(await home.run(`${line} --json`)).toMatchObject({
      code: 2,
      json: { error: { code: "usage", hint: expect.stringContaining("did you mean gateway.port?") } },
    });
    expect(readFileSync(path, "utf8")).toBe(commented);
  },
);

test.each([
  "config set gateway.port many",
  "config set gateway.bind everywhere",
  "config set gateway.tls.enabled perhaps",
])("%s: a value of the wrong kind is refused, and nothing is written", async (line) => {
  using home = new CliHome();
  expect((await home.run(`${line} --json`)).code).toBe(2);
  expect(existsSync(home.path(ownFile))).toBe(false);
});

test("an unknown key in our file stops every command that needs it, and names the nearest known one", async () => {
  using home = new CliHome();
  const path = write(home, ownFile, "{ gateway: { prot: 1 } }");
  for (const line of ["config list --json", "gateway status --json", "config validate --json"]) {
    const result = await home.run(line);
    expect(result).toMatchObject({ code: 2, json: { error: { code: "config-invalid" } } });
    expect(result.stdout).toContain(path);
    expect(result.stdout).toContain("gateway.port");
  }
  expect(await home.run("config unset gateway.prot --json")).toMatchObject({ code: 0, json: { changed: true } });
  expect(await home.run("config validate")).toMatchObject({ code: 0 });
});

test("an unknown key in the product's file is not our business", async () => {
  using home = new CliHome();
  write(home, productFile, '{ "agents": { "defaults": {} }, "gateway": { "port": 2222, "unheardOf": 1 } }');
  expect(await home.run("config validate --json")).toMatchObject({ code: 0, json: { ok: true, valid: true } });
});

test("validate names every problem at once", async () => {
  using home = new CliHome();
  write(home, ownFile, '{ gateway: { port: "many", bnid: 1, tls: { enabled: 3 } } }');
  const { code, stdout } = await home.run("config validate --json");
  expect(code).toBe(2);
  for (const named of ["gateway.port", "gateway.bnid", "gateway.tls.enabled"]) expect(stdout).toContain(named);
});

test("a file that cannot be parsed is named with its line, and stays as it is", async () => {
  using home = new CliHome();
  const path = write(home, ownFile, "{ gateway: {\n  port: \n");
  for (const line of [
    "config get gateway.port --json",
    "config set gateway.port 1 --json",
    "gateway run --port 0 --json",
  ]) {
    const result = await home.run(line);
    expect(result).toMatchObject({ code: 2, json: { error: { code: "config-invalid" } } });
    expect(result.stdout).toContain(path);
  }
  expect(readFileSync(path, "utf8")).toBe("{ gateway: {\n  port: \n");
});

test("list has every key, with its value, origin and meaning", async () => {
  using home = new CliHome();
  const { code, json } = await home.run("config list --json");
  expect(code).toBe(0);
  expect(json).toMatchObject({
    ok: true,
    settings: settingKeys.map((key) => ({ key, about: expect.any(String), origin: expect.any(String) })),
  });
  const { stdout } = await home.run("config list");
  for (const key of settingKeys) expect(stdout).toContain(key);
});

test("path says where the files are, and --config is another file", async () => {
  using home = new CliHome();
  expect(await home.run("config path --json")).toMatchObject({
    code: 0,
    json: { path: home.path(ownFile), productPath: home.path(productFile), stateDir: home.stateDir },
  });
  const other = write(home, "other.json5", "{ gateway: { port: 4444 } }");
  expect(await home.run(`config get gateway.port --config ${other}`)).toMatchObject({ stdout: "4444\n" });
  expect(await home.run(`--config ${other} config path`)).toMatchObject({ stdout: `${other}\n` });
});

test.each([
  ["{ gateway: {\n  prot: 1 } }", /config\.json5:2: gateway\.prot is not a known key/u],
  ["{ gateway: {\n  port: \n", /config\.json5:3:1 is not JSON5/u],
])("a broken file keeps no operator out who says on the command line all that is needed", async (text, problem) => {
  await using gateway = await startGatewayHome();
  using home = new CliHome();
  const path = write(home, ownFile, text);
  write(home, "token", gateway.token);
  const whole = `--url ${gateway.url} --token-file ${home.path("token")}`;
  for (const line of ["devices list", "gateway status"]) {
    const { code, stdout, stderr } = await home.run(`${line} ${whole} --json`);
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^\{"ok":true/u) });
    expect(stderr).toMatch(problem);
    expect(stderr).toMatch(/^warning: .*; only what stands on the command line counts\n$/su);
  }
  const pinned = `--url ${gateway.url.replace("ws:", "wss:")} --token-file ${home.path("token")}`;
  for (const target of ["", `--url ${gateway.url}`, pinned]) {
    expect(await home.run(`devices list ${target} --json`)).toMatchObject({
      code: 2,
      json: {
        error: {
          code: "config-invalid",
          message: expect.stringMatching(problem),
          fix: expect.stringMatching(/^openclaw config validate/u),
        },
      },
    });
  }
  expect(readFileSync(path, "utf8")).toBe(text);
});
