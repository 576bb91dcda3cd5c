import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { assertNoProblems, type Dialect, readConfigFile, readConfigText } from "../../src/config/file.ts";
import { isGroup, nearestKey } from "../../src/config/read-settings.ts";
import { isSettingKey } from "../../src/config/settings.ts";

const read = (text: string, dialect: Dialect = "toolkit", env = {}) =>
  readConfigText(text, { path: "config.json5", dialect, env });

describe("any file", () => {
  test("comments, trailing commas and bare keys are fine, with any line ends and a byte order mark", () => {
    const text = "\uFEFF// ours\r\n{\r\n  gateway: { port: 1, /* here */ 'bind': 'lan', },\r\n}\r\n";
    expect(read(text)).toMatchObject({ values: { "gateway.port": 1, "gateway.bind": "lan" }, problems: [] });
  });

  test.each(["", "  \n", "\uFEFF", "{}", "{ /* nothing */ }"])("%j says nothing", (text) => {
    expect(read(text)).toMatchObject({ values: {}, problems: [] });
  });

  test.each([
    ["{\n  gateway: {\n    port: hunter2\n}", "config.json5:3:11"],
    ["{ 'hunter2 }", "config.json5:1:13"],
    ["{}}", "config.json5:1:3"],
    ["// only a comment", "config.json5:1:18"],
  ])("%j is no JSON5, and the error names the place and no value", (text, place) => {
    expect(() => read(text)).toThrow(
      expect.objectContaining({ code: "config-invalid", message: `${place} is not JSON5` }),
    );
  });

  test.each(["[]", "1", "null", '"text"'])("%s is no configuration", (text) => {
    expect(() => read(text)).toThrow(expect.objectContaining({ code: "config-invalid" }));
  });

  test("secrets are read as such", () => {
    const { values } = read("{ gateway: { auth: { token: 'hunter2' } }, headers: { 'X-Pass': 'hunter2' } }");
    expect(values["gateway.auth.token"]?.reveal()).toBe("hunter2");
    expect(values.headers?.[0]?.[1].reveal()).toBe("hunter2");
    expect(JSON.stringify(values)).not.toContain("hunter2");
  });

  test("an absent file says nothing, and one that cannot be read is named", async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-config-"));
    const choices = { dialect: "toolkit", env: {} } as const;
    const absent = await readConfigFile({ path: join(directory.path, "none.json5"), ...choices });
    expect(absent).toMatchObject({ values: {}, problems: [] });
    await expect(readConfigFile({ path: directory.path, ...choices })).rejects.toMatchObject({
      code: "state-unreadable",
      message: expect.stringContaining(directory.path),
    });
    await writeFile(join(directory.path, "file"), "");
    await expect(readConfigFile({ path: join(directory.path, "file", "x"), ...choices })).rejects.toMatchObject({
      code: "state-unreadable",
    });
  });
});

describe("our file", () => {
  test.each<[text: string, problems: [key: string, says: string][]]>([
    ["{ gatewy: {} }", [["gatewy", "did you mean gateway?"]]],
    ["{ gateway: { prot: 1 } }", [["gateway.prot", "did you mean gateway.port?"]]],
    ["{ gateway: { auth: { tocken: 'x' } } }", [["gateway.auth.tocken", "did you mean gateway.auth.token?"]]],
    ["{ port: 1 }", [["port", "did you mean gateway.port?"]]],
    ["{ gateway: 1 }", [["gateway", "must be an object"]]],
    ["{ gateway: { auth: [] } }", [["gateway.auth", "must be an object"]]],
    ["{ gateway: { port: '1' } }", [["gateway.port", "must be a whole number from 0 to 65535"]]],
    ["{ gateway: { port: 65536 } }", [["gateway.port", "must be a whole number from 0 to 65535"]]],
    ["{ gateway: { port: null } }", [["gateway.port", "must be a whole number from 0 to 65535"]]],
    ["{ gateway: { mode: 'remot' } }", [["gateway.mode", "must be one of local, remote"]]],
    ["{ gateway: { bind: 'everywhere' } }", [["gateway.bind", "or an IP address"]]],
    ["{ gateway: { auth: { token: 12345 } } }", [["gateway.auth.token", "must be text"]]],
    ["{ gateway: { auth: { token: '' } } }", [["gateway.auth.token", "not empty"]]],
    [
      "{ gateway: { auth: { identityScopes: { ada: 'x' } } } }",
      [["gateway.auth.identityScopes.ada", "must be a list"]],
    ],
    ["{ gateway: { trustedProxies: ['10.0.0.0/8', 'x'] } }", [["gateway.trustedProxies.1", "IP address or a range"]]],
    ["{ gateway: { trustedLocalServices: [{ id: 'x' }] } }", [["gateway.trustedLocalServices.0.scopes", "is missing"]]],
    [
      "{ gateway: { http: { routes: [{ path: 'v1', upstream: 'http://x' }] } } }",
      [["gateway.http.routes.0.path", "begins with /"]],
    ],
    ["{ gateway: { remote: { url: 'http://x' } } }", [["gateway.remote.url", "must be ws://host:port"]]],
    ["{ gateway: { remote: { url: 'wss://a:b@x' } } }", [["gateway.remote.url", "without secrets"]]],
    ["{ headers: { Host: 'x' } }", [["headers", "must be headers one may set"]]],
    ["{ __proto__: { gateway: { port: 1 } } }", [["__proto__", "is not a known key"]]],
    [
      "{ constructor: 1, node: { toString: 2 } }",
      [
        ["constructor", "is not a known key"],
        ["node.toString", "is not a known key"],
      ],
    ],
    [
      "{ gateway: { prot: 1, port: 'x' }, node: { allow: 'x' } }",
      [
        ["gateway.prot", "gateway.port"],
        ["gateway.port", "whole number"],
        ["node.allow", "a list"],
      ],
    ],
  ])("%s has problems, all of them told", (text, problems) => {
    expect(read(text).problems).toEqual(
      problems.map(([key, says]) => ({ key, message: expect.stringContaining(says) })),
    );
  });

  test("the suggestion is always something that exists", () => {
    const suggestions = ["x", "gateway", "gateway.auth.rateLimit.attempts", "a.b.c.d", ""].map((key) =>
      nearestKey(key),
    );
    expect(suggestions.filter((suggestion) => !isSettingKey(suggestion) && !isGroup(suggestion))).toEqual([]);
    expect(nearestKey("node.name")).toBe("node.displayName");
  });

  test("text in it stands for itself", () => {
    expect(read("{ node: { displayName: '${HOME}' } }", "toolkit", { HOME: "/h" }).values["node.displayName"]).toBe(
      "${HOME}",
    );
  });

  test("problems of all files become one error that has no value in it", () => {
    const files = [
      read("{ gateway: { auth: { token: 5551234 } } }"),
      read("{ gateway: { port: 'hunter2' } }", "product"),
    ];
    expect(() => assertNoProblems(files)).toThrow(
      expect.objectContaining({
        code: "config-invalid",
        message: expect.stringMatching(/^(?!.*(5551234|hunter2)).*gateway\.auth\.token must.*gateway\.port must/),
        details: {
          problems: [
            { file: "config.json5", line: 1, key: "gateway.auth.token", message: expect.any(String) },
            { file: "config.json5", line: 1, key: "gateway.port", message: expect.any(String) },
          ],
        },
      }),
    );
    expect(() => assertNoProblems([read("{}"), read("", "product")])).not.toThrow();
  });
});

test.each([
  ["gateway.prot", 3],
  ["gateway.auth.mode", 5],
  ["gateway.trustedProxies.1", 7],
  ["nod", 8],
])("a problem with %s is told with its line, %i", (key, line) => {
  const text = `{
  gateway: {
    "prot": 1, // not a key
    auth: {
      mode: "tokne",
    },
    trustedProxies: ["10.0.0.1", "x"], }, /*
*/ nod: {} }`;
  expect(() => assertNoProblems([read(text)])).toThrow(
    expect.objectContaining({
      message: expect.stringContaining(`config.json5:${line}: ${key} `),
      details: { problems: expect.arrayContaining([expect.objectContaining({ line, key })]) },
    }),
  );
});

describe("the product's file", () => {
  test("unknown keys are its own business, and only gateway.* is taken", () => {
    const text =
      "{ agents: { x: 1 }, node: { displayName: 5 }, headers: 1, gateway: { port: 7, reload: { mode: 'hot' } } }";
    expect(read(text, "product")).toMatchObject({ values: { "gateway.port": 7 }, problems: [] });
    expect(Object.keys(read(text, "product").values)).toEqual(["gateway.port"]);
  });

  test("a known key of the wrong type is a problem", () => {
    expect(read("{ gateway: { port: 'x' } }", "product").problems).toEqual([
      { key: "gateway.port", message: "must be a whole number from 0 to 65535" },
    ]);
  });

  test.each<[name: string, token: string, want: string | undefined]>([
    ["a variable", "'${TOKEN}'", "hunter2"],
    ["a variable within text", "'a-${TOKEN}-b'", "a-hunter2-b"],
    ["an escaped variable", "'$${TOKEN}'", "${TOKEN}"],
    ["what only looks like one", "'${token} $TOKEN'", "${token} $TOKEN"],
    ["an unset variable", "'${MISSING}'", undefined],
    ["an empty variable", "'${EMPTY}'", undefined],
    ["a reference to a variable", "{ source: 'env', provider: 'default', id: 'TOKEN' }", "hunter2"],
    ["a reference to an unset variable", "{ source: 'env', id: 'MISSING' }", undefined],
    ["a reference to another store", "{ source: 'exec', provider: 'vault', id: 'x' }", undefined],
  ])("a token may be %s", (_name, token, want) => {
    const env = { TOKEN: "hunter2", EMPTY: "" };
    const file = read(`{ gateway: { auth: { token: ${token} }, trustedProxies: ['\${PROXY}'] } }`, "product", {
      ...env,
      PROXY: "::1",
    });
    expect(file.problems).toEqual([]);
    expect(file.values["gateway.auth.token"]?.reveal()).toBe(want);
    expect(file.values["gateway.trustedProxies"]).toEqual(["::1"]);
    expect(file.unavailable.map(({ key }) => key)).toEqual(want === undefined ? ["gateway.auth.token"] : []);
  });
});
