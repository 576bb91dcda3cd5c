import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { agreeOnProtocol, readChallenge, readConnectParams, readHelloOk } from "../../src/protocol/handshake.ts";
import { clientIds, clientModes } from "../../src/protocol/vocabulary.ts";

const client = { id: "cli", version: "1.0", platform: "linux", mode: "cli" };
const least = { minProtocol: 3, maxProtocol: 4, client };
const device = { id: "d", publicKey: "p", signature: "s", signedAt: 1 };

function problem(value: unknown): string {
  const read = readConnectParams(value);
  return "problem" in read ? read.problem : "none";
}

describe("connect params", () => {
  test("the least there can be is enough", () => {
    expect(readConnectParams(least)).toEqual({ params: least });
  });

  test.each(clientIds)("client id %s is known", (id) => {
    expect(problem({ ...least, client: { ...client, id } })).toBe("none");
  });

  test.each(clientModes)("client mode %s is known", (mode) => {
    expect(problem({ ...least, client: { ...client, mode } })).toBe("none");
  });

  test("a client id of the gateway's own configuration is taken too", () => {
    const params = { ...least, client: { ...client, id: "my-service" } };
    expect(readConnectParams(params, ["my-service"])).toEqual({ params });
    expect(problem(params)).toBe('client.id: unknown client id "my-service"');
  });

  test.each<[what: string, params: unknown, says: RegExp]>([
    ["nothing at all", undefined, /Expected Object/u],
    ["a missing client", { minProtocol: 3, maxProtocol: 4 }, /^client: /u],
    ["a protocol of 0", { ...least, minProtocol: 0 }, /^minProtocol: /u],
    ["half a protocol", { ...least, maxProtocol: 3.5 }, /^maxProtocol: /u],
    ["an unknown mode", { ...least, client: { ...client, mode: "x" } }, /^client\.mode: unknown client mode "x"/u],
    ["an unknown field", { ...least, extra: 1 }, /^extra: /u],
    ["an unknown field of client", { ...least, client: { ...client, extra: 1 } }, /^client\.extra: /u],
    ["an unknown credential", { ...least, auth: { secret: "x" } }, /^auth\.secret: /u],
    ["an empty version", { ...least, client: { ...client, version: "" } }, /^client\.version: must not be empty/u],
    [
      "an empty display name, which should be left out",
      { ...least, client: { ...client, displayName: "" } },
      /^client\.displayName: /u,
    ],
    ["a device without a signature", { ...least, device: { ...device, signature: "" } }, /^device\.signature: /u],
    ["a signature time that is no integer", { ...least, device: { ...device, signedAt: 1.5 } }, /^device\.signedAt: /u],
    [
      "a permission that is neither on nor off",
      { ...least, permissions: { camera: "yes" } },
      /^permissions\.camera: /u,
    ],
    ["scopes that are no list", { ...least, scopes: "operator.read" }, /^scopes: /u],
    ["a token that is no text", { ...least, auth: { token: 1 } }, /^auth\.token: /u],
  ])("%s is a problem with its path", (_what, params, says) => {
    expect(problem(params)).toMatch(says);
  });

  test.each<[what: string, limit: number, at: (length: number) => unknown]>([
    ["client.buildId", 96, (length) => ({ ...least, client: { ...client, buildId: "x".repeat(length) } })],
    ["client.timeZone", 64, (length) => ({ ...least, client: { ...client, timeZone: "x".repeat(length) } })],
    ["client.displayName", 256, (length) => ({ ...least, client: { ...client, displayName: "x".repeat(length) } })],
    ["a scope", 256, (length) => ({ ...least, scopes: ["x".repeat(length)] })],
    ["the list of commands", 1024, (length) => ({ ...least, commands: Array.from({ length }, () => "x") })],
  ])("%s may have %i characters or entries, not one more", (_what, limit, at) => {
    expect(problem(at(limit))).toBe("none");
    expect(problem(at(limit + 1))).not.toBe("none");
  });

  test("whatever comes, there is an answer, and it is short", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.jsonValue(),
          fc.jsonValue().map((value) => ({ ...least, client: value })),
        ),
        (value) => {
          expect(problem(value).length).toBeLessThanOrEqual(500);
        },
      ),
    );
  });

  test.each<[what: string, params: unknown]>([
    ["mode", { ...least, client: { ...client, mode: "x".repeat(50_000) } }],
    ["field", { ...least, ["x".repeat(50_000)]: 1 }],
    ["client id", { ...least, client: { ...client, id: "x".repeat(50_000) } }],
  ])("an unknown %s of 50,000 characters is not sent back whole", (_what, params) => {
    expect(problem(params)).not.toBe("none");
    expect(problem(params).length).toBeLessThanOrEqual(500);
  });
});

test.each<[min: number, max: number, agreed: number | undefined]>([
  [1, 2, undefined],
  [1, 3, 3],
  [3, 3, 3],
  [3, 4, 4],
  [4, 4, 4],
  [1, 99, 4],
  [5, 6, undefined],
  [4, 3, undefined],
])("a client of %i..%i speaks %s with us", (minProtocol, maxProtocol, agreed) => {
  expect(agreeOnProtocol({ minProtocol, maxProtocol })).toBe(agreed);
});

test.each<[payload: unknown, read: unknown]>([
  [
    { nonce: "n", ts: 5 },
    { nonce: "n", ts: 5 },
  ],
  [{ nonce: "n" }, { nonce: "n" }],
  [
    { nonce: "n", ts: 5, capabilities: ["x"] },
    { nonce: "n", ts: 5 },
  ],
  [{ nonce: "" }, undefined],
  [{ ts: 5 }, undefined],
  [{ nonce: "n", ts: "5" }, undefined],
  [undefined, undefined],
  ["n", undefined],
])("the challenge %j reads as %j", (payload, read) => {
  expect(readChallenge(payload)).toEqual(read);
});

describe("hello-ok", () => {
  const hello = {
    type: "hello-ok",
    protocol: 4,
    server: { version: "1", connId: "c" },
    features: { methods: [], events: [] },
    snapshot: {},
    policy: { maxPayload: 1, maxBufferedBytes: 1, tickIntervalMs: 1 },
  };

  test("fields of newer gateways stay in place", () => {
    const newer = {
      ...hello,
      server: { ...hello.server, bootId: "b" },
      extra: [1],
      auth: { role: "node", scopes: [], more: 1 },
    };
    expect(readHelloOk(newer)).toEqual({ hello: newer });
  });

  test("auth without role and scopes is an operator without scopes", () => {
    expect(readHelloOk({ ...hello, auth: {} })).toEqual({
      hello: { ...hello, auth: { role: "operator", scopes: [] } },
    });
  });

  test.each<[what: string, payload: unknown, says: RegExp]>([
    ["another type", { ...hello, type: "hello" }, /^type: /u],
    ["no policy", { ...hello, policy: undefined }, /^policy: /u],
    [
      "a device token that is no text",
      { ...hello, auth: { role: "node", scopes: [], deviceToken: 1 } },
      /^auth\.deviceToken: /u,
    ],
    ["nothing", undefined, /Expected Object/u],
  ])("%s is a problem with its path", (_what, payload, says) => {
    const read = readHelloOk(payload);
    expect("problem" in read ? read.problem : "none").toMatch(says);
  });
});

test.each(["\u001b[31mred", "two\nlines", "\u202ereversed"])("a display name like %j is refused", (displayName) => {
  const client = { id: "node-host", mode: "node", version: "1", platform: "linux", displayName };
  expect(readConnectParams({ minProtocol: 3, maxProtocol: 4, client })).toEqual({
    problem: "client.displayName: must not hold control characters",
  });
});
