import { mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { readConfigText } from "../../src/config/file.ts";
import { statePaths } from "../../src/config/paths.ts";
import { factsOf, readSettings } from "../../src/config/read-settings.ts";
import { loadConfig, resolveConfig, type SettingFlags } from "../../src/config/resolve.ts";
import { settingKeys } from "../../src/config/settings.ts";

const paths = statePaths({ env: {}, home: "/home/ada" });

function resolve({
  flags = {},
  env = {},
  ours = "",
  theirs = "",
}: {
  flags?: SettingFlags;
  env?: Record<string, string>;
  ours?: string;
  theirs?: string;
}) {
  const files = [
    readConfigText(ours, { path: "ours.json5", dialect: "toolkit", env }),
    readConfigText(theirs, { path: "theirs.json", dialect: "product", env }),
  ];
  return resolveConfig({ flags, env, paths, files });
}

const portIn = (port: number) => `{ gateway: { port: ${port} } }`;

test.each<[name: string, sources: Parameters<typeof resolve>[0], port: number, origin: object]>([
  ["the default, when nobody says anything", {}, 18_789, { from: "default" }],
  ["the product's file", { theirs: portIn(1) }, 1, { from: "product-config", path: "theirs.json" }],
  [
    "our file before the product's",
    { theirs: portIn(1), ours: portIn(2) },
    2,
    { from: "toolkit-config", path: "ours.json5" },
  ],
  [
    "the environment before files",
    { ours: portIn(2), env: { OPENCLAW_GATEWAY_PORT: "3" } },
    3,
    { from: "env", name: "OPENCLAW_GATEWAY_PORT" },
  ],
  [
    "an empty variable says nothing",
    { ours: portIn(2), env: { OPENCLAW_GATEWAY_PORT: "" } },
    2,
    { from: "toolkit-config", path: "ours.json5" },
  ],
  ["a flag before all", { env: { OPENCLAW_GATEWAY_PORT: "3" }, flags: { "gateway.port": "4" } }, 4, { from: "flag" }],
  ["a flag that is a value already", { flags: { "gateway.port": 5 } }, 5, { from: "flag" }],
  [
    "a flag that was not given",
    { flags: { "gateway.port": undefined }, ours: portIn(2) },
    2,
    { from: "toolkit-config", path: "ours.json5" },
  ],
])("the port comes from %s", (_name, sources, port, origin) => {
  const config = resolve(sources);
  expect(config.settings["gateway.port"]).toBe(port);
  expect(config.origins["gateway.port"]).toEqual(origin);
});

test("every source of a key is there, the strongest first", () => {
  const config = resolve({
    env: { OPENCLAW_GATEWAY_TOKEN: "from env" },
    ours: "{ gateway: { auth: { token: 'from ours' } } }",
    theirs: "{ gateway: { auth: { token: 'from theirs' } } }",
  });
  expect(config.sources("gateway.auth.token").map(({ value, origin }) => [value.reveal(), origin.from])).toEqual([
    ["from env", "env"],
    ["from ours", "toolkit-config"],
    ["from theirs", "product-config"],
  ]);
  expect(config.sources("gateway.mode")).toEqual([]);
});

test("a secret in a variable is taken as it is, quotes and all", () => {
  const config = resolve({ env: { OPENCLAW_GATEWAY_TOKEN: '"12"' } });
  expect(config.settings["gateway.auth.token"]?.reveal()).toBe('"12"');
});

test("a configuration cannot be changed, and prints no secret", () => {
  const config = resolve({ ours: "{ gateway: { auth: { token: 'hunter2' } } }" });
  expect(Object.isFrozen(config)).toBe(true);
  expect(Object.isFrozen(config.settings)).toBe(true);
  expect(Object.isFrozen(config.origins)).toBe(true);
  expect(JSON.stringify(config)).not.toContain("hunter2");
});

test.each([
  [{ env: { OPENCLAW_GATEWAY_PORT: "hunter2" } }, "OPENCLAW_GATEWAY_PORT must be a whole number from 0 to 65535"],
  [{ flags: { "gateway.port": "hunter2" } }, "gateway.port must be a whole number from 0 to 65535"],
  [{ flags: { "gateway.port": 1.5 } }, "gateway.port must be a whole number from 0 to 65535"],
])("%j is `usage`", (sources, message) => {
  expect(() => resolve(sources)).toThrow(expect.objectContaining({ code: "usage", message }));
});

test("what the product keeps elsewhere is told, not guessed", () => {
  const config = resolve({ theirs: "{ gateway: { auth: { token: '${NOT_SET}' } } }" });
  expect(config.settings["gateway.auth.token"]).toBeUndefined();
  expect(config.unavailable).toEqual([
    { key: "gateway.auth.token", file: "theirs.json", message: "the environment variable NOT_SET is not set" },
  ]);
});

test("both files are read from where the paths say, and all their problems come at once", async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-config-"));
  const real = statePaths({ env: {}, home: directory.path });
  const load = () => loadConfig({ env: {}, paths: real });
  expect((await load()).settings["gateway.port"]).toBe(18_789);
  await mkdir(dirname(real.config), { recursive: true });
  await writeFile(real.config, "{ node: { displayName: 'kitchen' } }");
  await writeFile(real.product.config, portIn(7));
  const config = await load();
  expect(config.settings).toMatchObject({ "gateway.port": 7, "node.displayName": "kitchen" });
  expect(config.origins["gateway.port"]).toEqual({ from: "product-config", path: real.product.config });
  await writeFile(real.config, "{ nod: {} }");
  await writeFile(real.product.config, "{ gateway: { port: 'x' } }");
  await expect(load()).rejects.toMatchObject({
    code: "config-invalid",
    details: {
      problems: [
        { file: real.config, key: "nod" },
        { file: real.product.config, key: "gateway.port" },
      ],
    },
  });
});

test.each(settingKeys)("%s has a type, a line about it, and a default that is of its type", (key) => {
  const { type, about, fallback } = factsOf(key);
  expect(type).not.toBe("");
  expect(about).toMatch(/^[^.].{10,110}[^.]$/);
  expect(readSettings(fallback === undefined ? [] : [[key, fallback]]).problems).toEqual([]);
});

test("exactly the keys that hold secrets are marked", () => {
  const secrets = settingKeys.filter((key) => factsOf(key).secret);
  expect(secrets).toEqual([
    "gateway.auth.token",
    "gateway.auth.password",
    "gateway.remote.token",
    "gateway.remote.password",
    "headers",
  ]);
});
