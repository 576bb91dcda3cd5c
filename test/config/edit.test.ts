import * as fc from "fast-check";
import JSON5 from "json5";
import { describe, expect, test } from "vitest";
import { setKey, unsetKey } from "../../src/config/edit.ts";

describe("setting a key", () => {
  test.each<[name: string, before: string, key: string, typed: string, after: string]>([
    ["an empty text becomes a file", "", "gateway.port", "1", "{\n  gateway: {\n    port: 1,\n  },\n}\n"],
    [
      "a value is replaced where it stands",
      "{\n  // ours\n  gateway: { port: 1 /* one */ }, // end\n}\n",
      "gateway.port",
      "22",
      "{\n  // ours\n  gateway: { port: 22 /* one */ }, // end\n}\n",
    ],
    [
      "a key is added behind the last one and its comment",
      "{\n  gateway: {\n    port: 1, // one\n  },\n}\n",
      "gateway.mode",
      "local",
      '{\n  gateway: {\n    port: 1, // one\n    mode: "local",\n  },\n}\n',
    ],
    [
      "without a trailing comma none is added",
      "{\n  gateway: {\n    port: 1 // one\n  }\n}",
      "gateway.mode",
      "local",
      '{\n  gateway: {\n    port: 1, // one\n    mode: "local"\n  }\n}',
    ],
    [
      "one line stays one line",
      "{ gateway: { port: 1 } }",
      "gateway.mode",
      "local",
      '{ gateway: { port: 1, mode: "local" } }',
    ],
    [
      "one line with a trailing comma stays that",
      "{ gateway: { port: 1, }, }",
      "gateway.mode",
      "local",
      '{ gateway: { port: 1, mode: "local", }, }',
    ],
    [
      "an empty object is opened up",
      "{\n  gateway: {},\n}",
      "gateway.port",
      "1",
      "{\n  gateway: {\n    port: 1,\n  },\n}",
    ],
    [
      "comments in an empty object stay",
      "{\n  // nothing yet\n}\n",
      "gateway.port",
      "1",
      "{\n  // nothing yet\n  gateway: {\n    port: 1,\n  },\n}\n",
    ],
    [
      "JSON stays JSON",
      '{\n\t"gateway": {\n\t\t"port": 1\n\t}\n}\n',
      "gateway.remote.url",
      "ws://a:1",
      '{\n\t"gateway": {\n\t\t"port": 1,\n\t\t"remote": {\n\t\t\t"url": "ws://a:1"\n\t\t}\n\t}\n}\n',
    ],
    [
      "CRLF stays CRLF",
      "{\r\n    gateway: {\r\n        port: 1,\r\n    },\r\n}\r\n",
      "node.allow",
      "['a', 'b']",
      '{\r\n    gateway: {\r\n        port: 1,\r\n    },\r\n    node: {\r\n        allow: [\r\n            "a",\r\n            "b",\r\n        ],\r\n    },\r\n}\r\n',
    ],
    [
      "a byte order mark stays",
      "\uFEFF{ gateway: { port: 1 } }",
      "gateway.port",
      "2",
      "\uFEFF{ gateway: { port: 2 } }",
    ],
    [
      "of a key written twice the last one is changed",
      "{ gateway: { port: 1, port: 2 } }",
      "gateway.port",
      "3",
      "{ gateway: { port: 1, port: 3 } }",
    ],
    [
      "a key spelled with escapes is found",
      "{ gatew\\u0061y: { 'p\\x6frt': 1 } }",
      "gateway.port",
      "3",
      "{ gatew\\u0061y: { 'p\\x6frt': 3 } }",
    ],
    [
      "a closing brace on the last member's line moves down",
      "{\n  gateway: {\n    port: 1 }\n}",
      "gateway.mode",
      "local",
      '{\n  gateway: {\n    port: 1, \n    mode: "local"\n  }\n}',
    ],
  ])("%s", (_name, before, key, typed, after) => {
    expect(setKey(before, key, typed)).toBe(after);
    expect(() => JSON5.parse(after)).not.toThrow();
  });

  test.each<[key: string, typed: string, value: unknown]>([
    ["gateway.port", "0x10", 16],
    ["gateway.tls.enabled", "true", true],
    ["node.displayName", "Ada's kitchen", "Ada's kitchen"],
    ["node.displayName", '"quoted"', "quoted"],
    ["node.displayName", "12", "12"],
    ["node.displayName", "true", "true"],
    ["node.displayName", "// x", "// x"],
    ["gateway.auth.token", "12345", "12345"],
    ["gateway.auth.token", "a\u2028b\n", "a\u2028b\n"],
    ["node.allow", "[]", []],
    ["gateway.auth.identityScopes", "{ 'ada@x.y': ['operator.read'] }", { "ada@x.y": ["operator.read"] }],
    ["headers", "{ 'X-A': '1' }", { "X-A": "1" }],
  ])("%s typed as %j", (key, typed, value) => {
    expect(valueAt(JSON5.parse(setKey("", key, typed)), key)).toEqual(value);
  });

  test.each([
    ["gateway.port", "hunter2", "gateway.port must be a whole number from 0 to 65535"],
    ["gateway.port", "", "gateway.port must be a whole number from 0 to 65535"],
    ["gateway.port", "70000", "gateway.port must be a whole number from 0 to 65535"],
    ["gateway.mode", "hunter2", "gateway.mode must be one of local, remote"],
    ["node.allow", "hunter2", "node.allow must be a list"],
    ["gateway.auth.token", "", "gateway.auth.token must be text that is not empty"],
    ["gateway.prot", "1", "there is no setting gateway.prot"],
    ["gateway", "{}", "there is no setting gateway"],
    ["__proto__", "{}", "there is no setting __proto__"],
  ])("%s cannot be %j", (key, typed, message) => {
    expect(() => setKey("{}", key, typed)).toThrow(
      expect.objectContaining({ code: "usage", message, hint: expect.any(String) }),
    );
  });

  test("a group that is no object has no place for its keys", () => {
    expect(() => setKey("{ gateway: { auth: 5 } }", "gateway.auth.rateLimit.windowMs", "1", "config.json5")).toThrow(
      expect.objectContaining({ code: "config-invalid", fix: "openclaw config unset gateway.auth" }),
    );
  });

  test("a text that is no JSON5 is not touched", () => {
    for (const edit of [
      () => setKey("{ a: ", "gateway.port", "1", "f"),
      () => unsetKey("{ a: ", "gateway.port", "f"),
    ]) {
      expect(edit).toThrow(expect.objectContaining({ code: "config-invalid", message: "f:1:6 is not JSON5" }));
    }
  });
});

describe("unsetting a key", () => {
  test.each<[name: string, before: string, key: string, after: string]>([
    [
      "the line goes, with the comment behind it",
      "{\n  // above\n  gateway: {\n    port: 1, // one\n    mode: 'local', // two\n  },\n}\n",
      "gateway.port",
      "{\n  // above\n  gateway: {\n    mode: 'local', // two\n  },\n}\n",
    ],
    [
      "the last one takes a comma with it that it did not have",
      "{\n  a: 1, // one\n  b: 2\n}",
      "b",
      "{\n  a: 1 // one\n}",
    ],
    ["the last one leaves the comma before it when it had its own", "{\n  a: 1,\n  b: 2,\n}", "b", "{\n  a: 1,\n}"],
    ["the first of a line", "{ a: 1, b: 2 }", "a", "{ b: 2 }"],
    ["the last of a line", "{ a: 1, b: 2 }", "b", "{ a: 1 }"],
    ["the middle of a line", "{ a: 1, /* of b */ b: 2, c: 3 }", "b", "{ a: 1, /* of b */ c: 3 }"],
    ["the only one", "{a: 1}", "a", "{}"],
    [
      "a group with all that is in it",
      "{ gateway: { port: 1, auth: { token: 'x' } }, b: [{}] }",
      "gateway",
      "{ b: [{}] }",
    ],
    ["a key of no meaning, to repair a file", "{\r\n  gatewy: 1,\r\n  b: 2,\r\n}", "gatewy", "{\r\n  b: 2,\r\n}"],
    ["a key written twice goes twice", "{ a: 1, b: 2, a: 3 }", "a", "{ b: 2 }"],
    ["commas at the beginning of lines", "{\n    a: 1\n  , b: 2\n  , c: 3\n}", "b", "{\n    a: 1\n  , c: 3\n}"],
    ["what is not there", "{ a: 1 }", "gateway.port", "{ a: 1 }"],
    ["nothing in nothing", "", "gateway.port", ""],
  ])("%s", (_name, before, key, after) => {
    expect(unsetKey(before, key)).toBe(after);
    expect(() => JSON5.parse(after === "" ? "{}" : after)).not.toThrow();
  });
});

describe("whatever the file looks like", () => {
  const blank = fc.stringMatching(
    /^( |\t|\n|\r\n|\u00a0|\/\/[a-z{}[\]:,"']{0,5}\n|\/\*[a-z{}[\]:,"'\n]{0,5}\*\/){0,3}$/,
  );
  const word = fc.constantFrom("gateway", "port", "node", "mode", "allow", "x", "ünï", "$_1", "a b", "", "1");
  const { root } = fc.letrec<{ root: string; object: string; value: string }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom("1", "-.5e3", "+0xAf", "Infinity", "null", "true", "'it\\'s'", '"a\\\nb"', "'//}'", "''"),
      fc
        .tuple(blank, tie("value"), blank, fc.boolean())
        .map(([a, item, b, comma]) => `[${a}${item}${b}${comma ? "," : ""}]`),
      tie("object"),
    ),
    object: fc
      .tuple(
        fc.array(
          fc
            .tuple(blank, word, fc.boolean(), blank, blank, tie("value"), blank)
            .map(([a, key, bare, b, c, value, d]) => `${a}${keyText(key, bare)}${b}:${c}${value}${d}`),
          { maxLength: 4 },
        ),
        fc.boolean(),
        blank,
      )
      .map(([members, comma, end]) => `{${members.join(",")}${comma && members.length > 0 ? "," : ""}${end}}`),
    root: fc.tuple(blank, tie("object"), blank).map((parts) => parts.join("")),
  }));

  test("setting a key changes that value and no other, and every comment stays", () => {
    const choice = fc.constantFrom<[string, string, unknown]>(
      ["gateway.port", "7", 7],
      ["gateway.mode", "remote", "remote"],
      ["node.allow", "['a', 'b']", ["a", "b"]],
      ["headers", "{ X: '1' }", { X: "1" }],
    );
    fc.assert(
      fc.property(root, choice, (text, [key, typed, value]) => {
        const before = JSON5.parse(text);
        fc.pre(hasPlace(before, key));
        const after = setKey(text, key, typed);
        expect(JSON5.parse(after)).toEqual(withValue(before, key.split("."), value));
        expect(setKey(after, key, typed)).toBe(after);
        expect(valueAt(before, key) === undefined ? commentsOf(after) : commentsOf(text)).toEqual(commentsOf(text));
      }),
      { numRuns: 1000 },
    );
  });

  test("unsetting a key removes it and nothing else", () => {
    fc.assert(
      fc.property(root, fc.constantFrom("gateway", "gateway.port", "node.mode", "x", "x.x", ""), (text, key) => {
        const after = unsetKey(text, key);
        expect(JSON5.parse(after)).toEqual(withoutValue(JSON5.parse(text), key.split(".")));
      }),
      { numRuns: 1000 },
    );
  });
});

function keyText(key: string, bare: boolean): string {
  return bare && /^[\p{L}_$][\p{L}\d_$]*$/u.test(key) ? key : JSON.stringify(key);
}

/** False when something that is no object stands where the key's group belongs. */
function hasPlace(root: unknown, key: string): boolean {
  const group = key.split(".").slice(0, -1).join(".");
  const found = valueAt(root, group);
  return found === undefined || isPlain(found);
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function valueAt(root: unknown, key: string): unknown {
  return key === "" ? root : key.split(".").reduce<unknown>((at, word) => (isPlain(at) ? at[word] : undefined), root);
}

function withValue(root: unknown, [word = "", ...rest]: readonly string[], value: unknown): unknown {
  const object = isPlain(root) ? root : {};
  return { ...object, [word]: rest.length === 0 ? value : withValue(object[word], rest, value) };
}

function withoutValue(root: unknown, [word = "", ...rest]: readonly string[]): unknown {
  if (!isPlain(root) || !(word in root)) return root;
  const { [word]: inner, ...others } = root;
  return rest.length === 0 ? others : { ...root, [word]: withoutValue(inner, rest) };
}

/** Comments of a text in order, looked for independently of how the edit does it. */
function commentsOf(text: string): string[] {
  return [...text.matchAll(/"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|(\/\/[^\n\r]*|\/\*[^]*?\*\/)/g)].flatMap(
    ([, comment]) => (comment === undefined ? [] : [comment]),
  );
}
