/** The JSON-RPC dialect's words: what is read, what is written, and that nothing which arrives can break either. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  encodeBatch,
  encodeError,
  encodeNotification,
  encodeResult,
  readJsonRpc,
  type RpcFault,
  selectsJsonRpc,
  serverCodes,
  standardCodes,
} from "../../src/protocol/json-rpc.ts";
import { readRpcConnect } from "../../src/protocol/json-rpc-connect.ts";
import { maxBatchMembers, maxBytesBeforeHello } from "../../src/protocol/limits.ts";
import type { WireError } from "../../src/protocol/frame.ts";

const request = (more: Readonly<Record<string, unknown>> = {}) => ({
  jsonrpc: "2.0",
  id: 1,
  method: "health",
  ...more,
});

describe("which dialect a first message selects", () => {
  test.each([
    ["a request", '{"jsonrpc":"2.0","id":1,"method":"connect"}', true],
    ["a request of another version, to be told so", '{"jsonrpc":"1.0","id":1,"method":"connect"}', true],
    ["a batch", '[{"jsonrpc":"2.0","id":1,"method":"connect"}]', true],
    ["a batch with something else in front", '[1,{"jsonrpc":"2.0","id":1,"method":"connect"}]', true],
    ["what breaks off in the middle", '{"jsonrpc":"2.0","method":"foobar,"params":"bar","baz]', true],
    ["a batch that breaks off", '[ {"jsonrpc":"2.0","method"', true],
    [
      "what is nested too deep",
      `{"jsonrpc":"2.0","id":1,"method":"connect","params":${"[".repeat(200)}${"]".repeat(200)}}`,
      true,
    ],
    ["a frame of our own", '{"type":"req","id":"1","method":"connect","params":{}}', false],
    [
      "a frame of our own that names the other one",
      '{"type":"req","id":"1","method":"connect","params":{"jsonrpc":"2.0"}}',
      false,
    ],
    ["an empty list", "[]", false],
    ["a list of numbers", "[1,2,3]", false],
    ["no JSON", "hello", false],
    ["no JSON that mentions it", 'what is "jsonrpc"?', false],
    ["nothing", "", false],
    ["null", "null", false],
  ])("%s", (_name, text, isSelected) => {
    expect(selectsJsonRpc(text)).toBe(isSelected);
  });
});

describe("what a message says", () => {
  const invalid = (id: unknown, problem: string) => ({ kind: "invalid", id, problem });
  const badId = "id must be a string, null, or a number that can be kept exactly";
  const badParams = "params must be an object or an array";
  test.each<[name: string, message: unknown, read: unknown]>([
    ["a request", request(), { kind: "call", id: 1, method: "health" }],
    ["one with params", request({ params: { a: 1 } }), { kind: "call", id: 1, method: "health", params: { a: 1 } }],
    ["one with params by position", request({ params: [1] }), { kind: "call", id: 1, method: "health", params: [1] }],
    ["an id that is text", request({ id: "a" }), { kind: "call", id: "a", method: "health" }],
    ["an empty id", request({ id: "" }), { kind: "call", id: "", method: "health" }],
    ["the id 0", request({ id: 0 }), { kind: "call", id: 0, method: "health" }],
    ["an id with a fraction", request({ id: 1.5 }), { kind: "call", id: 1.5, method: "health" }],
    ["the id null, which is answered", request({ id: null }), { kind: "call", id: null, method: "health" }],
    ["no id: a notification", request({ id: undefined }), { kind: "call", id: undefined, method: "health" }],
    ["a member that the standard does not name", request({ trace: 1 }), { kind: "call", id: 1, method: "health" }],
    ["an id that is true", request({ id: true }), invalid(null, badId)],
    ["an id that is an object", request({ id: {} }), invalid(null, badId)],
    ["an id that loses digits", request({ id: 2 ** 53 }), invalid(null, badId)],
    ["another version", request({ jsonrpc: "1.0" }), invalid(1, 'jsonrpc must be "2.0"')],
    ["no version", { id: 1, method: "health" }, invalid(1, 'jsonrpc must be "2.0"')],
    ["a method that is a number", request({ method: 1 }), invalid(1, "method must be a non-empty string")],
    ["a method without a name", request({ method: "" }), invalid(1, "method must be a non-empty string")],
    [
      "an answer, which nobody asked for",
      { jsonrpc: "2.0", id: 1, result: 1 },
      invalid(1, "method must be a non-empty string"),
    ],
    ["params that are text", request({ params: "bar" }), invalid(1, badParams)],
    ["params that are null", request({ params: null }), invalid(1, badParams)],
    ["a number", 1, invalid(null, "a request is a JSON object")],
    ["null", null, invalid(null, "a request is a JSON object")],
  ])("%s", (_name, message, read) => {
    expect(readJsonRpc(JSON.stringify(message))).toEqual({ kind: "single", message: read });
  });

  test("an id of more digits than a number keeps is refused, not rounded", () => {
    expect(readJsonRpc('{"jsonrpc":"2.0","id":1e400,"method":"m"}')).toMatchObject({
      message: { kind: "invalid", id: null },
    });
    expect(readJsonRpc('{"jsonrpc":"2.0","id":9007199254740993,"method":"m"}')).toMatchObject({
      message: { kind: "invalid" },
    });
  });
});

describe("batches", () => {
  const batchOf = (length: number) => JSON.stringify(Array.from({ length }, () => request()));

  test("members are read one by one, invalid ones too", () => {
    expect(readJsonRpc(JSON.stringify([request(), 1, request({ id: undefined })]))).toEqual({
      kind: "batch",
      messages: [
        { kind: "call", id: 1, method: "health" },
        { kind: "invalid", id: null, problem: "a request is a JSON object" },
        { kind: "call", id: undefined, method: "health" },
      ],
    });
  });

  test.each([
    [1, "batch"],
    [maxBatchMembers, "batch"],
    [maxBatchMembers + 1, "unreadable"],
    [0, "unreadable"],
  ])("one of %i members is %s", (length, kind) => {
    expect(readJsonRpc(batchOf(length))).toMatchObject({ kind });
  });

  test("a batch within a batch is an invalid member", () => {
    expect(readJsonRpc(JSON.stringify([[request()]]))).toMatchObject({
      kind: "batch",
      messages: [{ kind: "invalid" }],
    });
  });
});

describe("limits are checked before the work", () => {
  const padded = (bytes: number) =>
    JSON.stringify(request({ params: { p: "" } })).replace('""', `"${"x".repeat(bytes)}"`);
  const overhead = padded(0).length;

  test.each([
    [maxBytesBeforeHello - 1, "single"],
    [maxBytesBeforeHello, "single"],
    [maxBytesBeforeHello + 1, "unreadable"],
  ])("a first message of %i bytes is %s", (bytes, kind) => {
    expect(readJsonRpc(padded(bytes - overhead), maxBytesBeforeHello)).toMatchObject({ kind });
  });

  test("deep nesting is an invalid request, and no JSON is a parse error", () => {
    expect(readJsonRpc("[".repeat(100_000))).toMatchObject({ kind: "unreadable", fault: "invalid-request" });
    expect(readJsonRpc("{")).toMatchObject({ kind: "unreadable", fault: "parse" });
    expect(readJsonRpc("")).toMatchObject({ kind: "unreadable", fault: "parse" });
  });
});

describe("errors", () => {
  const wire = (code: string, detail?: string): WireError => ({
    code,
    message: "no",
    ...(detail === undefined ? {} : { details: { code: detail } }),
  });
  test.each<[WireError, RpcFault | undefined, number]>([
    [wire("INVALID_REQUEST"), "parse", -32700],
    [wire("INVALID_REQUEST"), "invalid-request", -32600],
    [wire("INVALID_REQUEST"), "unknown-method", -32601],
    [wire("INVALID_REQUEST"), "invalid-params", -32602],
    [wire("UNAVAILABLE"), "internal", -32603],
    [wire("INVALID_REQUEST"), undefined, serverCodes.refused],
    [wire("INVALID_REQUEST", "UNKNOWN_NODE"), undefined, serverCodes.refused],
    [wire("INVALID_REQUEST", "AUTH_TOKEN_MISMATCH"), undefined, serverCodes.unauthorized],
    [wire("INVALID_REQUEST", "DEVICE_AUTH_SIGNATURE_INVALID"), undefined, serverCodes.unauthorized],
    [wire("NOT_PAIRED", "DEVICE_IDENTITY_REQUIRED"), undefined, serverCodes.unauthorized],
    [wire("INVALID_REQUEST", "CONTROL_UI_ORIGIN_NOT_ALLOWED"), undefined, serverCodes.unauthorized],
    [wire("NOT_PAIRED", "PAIRING_REQUIRED"), undefined, serverCodes.notPaired],
    [wire("FORBIDDEN", "MISSING_SCOPE"), undefined, serverCodes.forbidden],
    [wire("INVALID_REQUEST", "AUTH_RATE_LIMITED"), undefined, serverCodes.rateLimited],
    [wire("UNAVAILABLE"), undefined, serverCodes.unavailable],
  ])("%j, %s", (error, fault, code) => {
    const { message, ...data } = error;
    expect(JSON.parse(encodeError("a", error, fault))).toEqual({
      jsonrpc: "2.0",
      id: "a",
      error: { code, message, data },
    });
  });

  test("our whole error is in data", () => {
    const error = { code: "UNAVAILABLE", message: "later", details: { a: 1 }, retryable: true, retryAfterMs: 5 };
    expect(JSON.parse(encodeError(1, error))).toMatchObject({
      error: { message: "later", data: { code: "UNAVAILABLE", details: { a: 1 }, retryable: true, retryAfterMs: 5 } },
    });
  });

  test("codes of ours are in the range that the standard leaves to servers, and differ", () => {
    const codes = Object.values(serverCodes);
    expect(codes.every((code) => code <= -32000 && code >= -32099)).toBe(true);
    expect(new Set([...codes, ...Object.values(standardCodes)]).size).toBe(codes.length + 5);
  });
});

describe("round trips", () => {
  const id = fc.oneof(
    fc.string(),
    fc.integer(),
    fc.constant(null),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
  );
  const params = fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.jsonValue()));

  test("a request that was encoded says the same when it is read", () => {
    fc.assert(
      fc.property(id, fc.string({ minLength: 1 }), params, (rpcId, method, given) => {
        fc.pre(typeof rpcId !== "number" || !Number.isInteger(rpcId) || Number.isSafeInteger(rpcId));
        const sent = JSON.parse(JSON.stringify({ jsonrpc: "2.0", id: rpcId, method, params: given }));
        const read = readJsonRpc(JSON.stringify(sent));
        expect(read).toEqual({ kind: "single", message: { kind: "call", id: sent.id, method, params: sent.params } });
      }),
    );
  });

  test("an answer carries the id and the result that it was given", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.integer(), fc.constant(null)), fc.jsonValue(), (rpcId, result) => {
        const text = encodeResult(rpcId, JSON.stringify(result));
        expect(JSON.parse(text)).toEqual({ jsonrpc: "2.0", id: rpcId, result: JSON.parse(JSON.stringify(result)) });
        expect(JSON.parse(encodeBatch([text, text]))).toHaveLength(2);
      }),
    );
  });

  test("a notification of ours is read as one", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.dictionary(fc.string(), fc.jsonValue()), (method, payload) => {
        const json = JSON.stringify(payload);
        const read = readJsonRpc(encodeNotification(method, json));
        const message = { kind: "call", id: undefined, method, params: JSON.parse(json) };
        expect(read).toEqual({ kind: "single", message });
      }),
    );
  });

  test("whatever text arrives, it is read and never throws", () => {
    const anything = fc.oneof(
      fc.string(),
      fc.json(),
      fc.json().map((json) => `{"jsonrpc":"2.0","id":${json},"method":${json}}`),
    );
    fc.assert(
      fc.property(anything, (text) => {
        expect(["single", "batch", "unreadable"]).toContain(readJsonRpc(text).kind);
        expect(typeof selectsJsonRpc(text)).toBe("boolean");
      }),
      { numRuns: 1000 },
    );
  });
});

describe("connect params", () => {
  const client = { name: "panel", version: "1.0" };
  const device = { id: "d", publicKey: "k", signature: "s", signedAt: 1 };

  test.each([
    ["control", "operator", "backend"],
    ["webchat", "operator", "webchat"],
    ["node", "node", "node"],
  ])("%s is the role %s with the mode %s", (role, native, mode) => {
    expect(readRpcConnect({ role, client, auth: { token: "t" } })).toEqual({
      role,
      params: {
        minProtocol: 4,
        maxProtocol: 4,
        role: native,
        auth: { token: "t" },
        client: { id: "json-rpc", displayName: "panel", version: "1.0", platform: "unknown", mode },
      },
    });
  });

  test("what a node offers and what a key proves is passed on", () => {
    const offered = { commands: ["system.which"], caps: ["c"], permissions: { camera: true }, pathEnv: "/bin", device };
    const read = readRpcConnect({
      role: "node",
      client: { ...client, platform: "linux", deviceFamily: "Linux" },
      ...offered,
    });
    expect(read).toMatchObject({ params: { ...offered, client: { platform: "linux", deviceFamily: "Linux" } } });
  });

  test.each<[unknown, RegExp]>([
    [undefined, /Expected Object/u],
    [[], /role/u],
    [{ client }, /role/u],
    [{ role: "operator", client }, /unknown role "operator" \(known: control, node, webchat\)/u],
    [{ role: "control" }, /client/u],
    [{ role: "control", client: { version: "1" } }, /client\.name/u],
    [{ role: "control", client: { ...client, name: "" } }, /client\.name: must not be empty/u],
    [{ role: "control", client: { ...client, name: "a\u001b[2J" } }, /must not hold control characters/u],
    [{ role: "control", client, colour: "green" }, /colour/u],
    [{ role: "control", client: { ...client, id: "gateway-client" } }, /client\.id/u],
    [{ role: "control", client, auth: { token: 1 } }, /auth\.token/u],
    [{ role: "control", client, auth: { bootstrapToken: "b" } }, /auth\.bootstrapToken/u],
    [{ role: "control", client, scopes: "all" }, /scopes/u],
    [{ role: "control", client, minProtocol: 1 }, /minProtocol/u],
    [{ role: "node", client, device: { id: "d" } }, /device\.publicKey/u],
  ])("%j is refused", (params, problem) => {
    expect(readRpcConnect(params)).toMatchObject({ problem: expect.stringMatching(problem) });
  });
});
