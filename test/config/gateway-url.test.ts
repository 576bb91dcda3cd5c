import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isAddressRange, isLoopbackHost } from "../../src/config/address.ts";
import {
  formatGatewayUrl,
  formatOrigin,
  gatewayUrlOf,
  isSameGateway,
  parseGatewayUrl,
} from "../../src/config/gateway-url.ts";
import { isFailure } from "../../src/errors.ts";
import { parseFingerprint } from "../../src/config/tls-fingerprint.ts";

test.each([
  ["ws://127.0.0.1:18789", "ws://127.0.0.1:18789/"],
  ["wss://Gateway.Example:8443/Claw", "wss://gateway.example:8443/Claw"],
  ["ws://gateway.example", "ws://gateway.example:80/"],
  ["wss://gateway.example", "wss://gateway.example:443/"],
  ["wss://gateway.example:443/", "wss://gateway.example:443/"],
  ["ws://[::1]:18789/ws", "ws://[::1]:18789/ws"],
  [" ws://localhost:1 ", "ws://localhost:1/"],
])("%s is %s", (typed, normal) => {
  expect(formatGatewayUrl(parseGatewayUrl(typed, "--url"))).toBe(normal);
});

test.each<[typed: string, says: RegExp, hint: RegExp]>([
  ["http://gateway.example:18789", /begins with http:/, /ws:\/\/gateway.example:18789$/],
  ["https://gateway.example/claw", /begins with https:/, /wss:\/\/gateway.example\/claw$/],
  ["localhost:18789", /does not begin with ws/, /ws:\/\/localhost:18789/],
  ["gateway.example", /does not begin with ws/, /wss:\/\/gateway.example:18789/],
  ["ws://user:hunter2@gateway.example", /user name or password/, /--password-file/],
  ["ws://hunter2@gateway.example", /user name or password/, /--token-file/],
  ["ws://gateway.example/?token=hunter2", /query/, /--token-file/],
  ["ws://gateway.example/#hunter2", /fragment/, /--token-file/],
  ["/run/openclaw.sock", /names a file/, /ws:\/\/host/],
  ["unix:/run/openclaw.sock", /names a file/, /ws:\/\/host/],
  ["ws+unix:///run/openclaw.sock", /names a file/, /ws:\/\/host/],
  ["ws://host:0", /port 0/, /ws:\/\/host/],
  ["ws://host:65536", /not the address/, /ws:\/\/host/],
  ["ws://", /not the address/, /ws:\/\/host/],
  ["", /not the address/, /ws:\/\/host/],
  ["ssh://host", /not the address/, /ws:\/\/host/],
])("%j is refused in words that help", (typed, says, hint) => {
  expect(() => parseGatewayUrl(typed, "--url")).toThrow(
    expect.objectContaining({
      code: "usage",
      message: expect.stringMatching(new RegExp(`^--url (?!.*hunter2).*${says.source}`)),
      hint: expect.stringMatching(new RegExp(`^(?!.*hunter2).*${hint.source}`)),
    }),
  );
});

test("whatever is typed, it is an address or `usage`, and an address stays the same when it is read again", () => {
  const almost = fc.tuple(
    fc.constantFrom("ws://", "wss://", ""),
    fc.oneof(fc.webAuthority(), fc.string()),
    fc.string(),
  );
  fc.assert(
    fc.property(almost, (parts) => {
      const first = normalOrFailure(parts.join(""));
      expect(first.startsWith("ws") ? normalOrFailure(first) : first).toBe(first.startsWith("ws") ? first : "usage");
    }),
  );
});

function normalOrFailure(typed: string): string {
  try {
    return formatGatewayUrl(parseGatewayUrl(typed, "--url"));
  } catch (error) {
    if (isFailure(error)) return error.code;
    throw error;
  }
}

test.each([
  [{ host: "gateway.example", port: "8443", tls: true }, "wss://gateway.example:8443/"],
  [{ host: "10.0.0.7", port: 1, tls: false }, "ws://10.0.0.7:1/"],
  [{ host: "::1", port: "65535", tls: false }, "ws://[::1]:65535/"],
  [{ host: "[fd00::1]", port: 80, tls: false, contextPath: "claw" }, "ws://[fd00::1]:80/claw"],
  [{ host: "localhost", port: 80, tls: false, contextPath: "/a/b/" }, "ws://localhost:80/a/b/"],
])("parts %j make an address", (parts, normal) => {
  expect(formatGatewayUrl(gatewayUrlOf(parts))).toBe(normal);
});

test.each([
  { host: "ws://gateway.example" },
  { host: "gateway.example:18789" },
  { host: "user@gateway.example" },
  { host: "fe80::1%eth0" },
  { host: "" },
  { port: "0" },
  { port: "65536" },
  { port: "http" },
  { port: "1.5" },
  { port: "" },
  { port: -1 },
  { port: Number.NaN },
  { contextPath: "/a?token=x" },
  { contextPath: "/a b" },
  { contextPath: "/#a" },
])("parts with %j are `usage`", (wrong) => {
  expect(() => gatewayUrlOf({ host: "localhost", port: 1, tls: false, ...wrong })).toThrow(
    expect.objectContaining({ code: "usage", hint: expect.any(String) }),
  );
});

test.each([
  ["ws://localhost:1/", "ws://127.0.0.1:1/ws", true],
  ["ws://[::1]:1/", "wss://127.8.8.8:1/", true],
  ["ws://localhost:1/", "ws://localhost:2/", false],
  ["ws://a.example:1/", "ws://a.example:1", true],
  ["ws://a.example:1/", "wss://a.example:1/", false],
  ["ws://a.example:1/", "ws://a.example:1/other", false],
  ["ws://a.example:1/", "ws://b.example:1/", false],
  ["wss://a.example/", "wss://A.example:443/", true],
])("%s and %s are one gateway: %s", (a, b, same) => {
  expect(isSameGateway(parseGatewayUrl(a, "a"), parseGatewayUrl(b, "b"))).toBe(same);
});

test("the origin leaves the path out", () => {
  expect(formatOrigin(parseGatewayUrl("wss://gateway.example/claw", "--url"))).toBe("wss://gateway.example:443");
});

describe("addresses", () => {
  test.each([
    ["localhost", true],
    ["LOCALHOST", true],
    ["a.localhost", true],
    ["127.0.0.1", true],
    ["127.255.0.9", true],
    ["::1", true],
    ["[::1]", true],
    ["::ffff:127.0.0.1", true],
    ["0.0.0.0", false],
    ["::", false],
    ["10.0.0.1", false],
    ["::ffff:10.0.0.1", false],
    ["localhost.example", false],
    ["127.0.0.1.example", false],
    ["", false],
  ])("%s is loopback: %s", (host, loopback) => {
    expect(isLoopbackHost(host)).toBe(loopback);
  });

  test.each([
    ["10.0.0.0/8", true],
    ["10.0.0.1", true],
    ["fd00::/8", true],
    ["::1/128", true],
    ["10.0.0.0/33", false],
    ["fd00::/129", false],
    ["10.0.0.0/", false],
    ["10.0.0.0/8/8", false],
    ["10.0.0.0/-1", false],
    ["10.0.0/8", false],
    ["host/8", false],
    ["", false],
  ])("%s is a range: %s", (text, range) => {
    expect(isAddressRange(text)).toBe(range);
  });
});

describe("fingerprints", () => {
  const hex = "ab".repeat(32);
  test.each([
    hex,
    hex.toUpperCase(),
    "AB:".repeat(32).slice(0, -1),
    `sha256:${hex}`,
    `SHA256 Fingerprint=${hex}`,
    ` ${hex}\n`,
  ])("%j is read", (typed) => {
    expect(parseFingerprint(typed, "--tls-fingerprint")).toBe(hex);
  });

  test("a public key's is read with one slash or two, and written with one", () => {
    const base64 = Buffer.from(hex, "hex").toString("base64");
    for (const typed of [`sha256/${base64}`, `SHA256//${base64}`, ` sha256/${base64}\n`]) {
      expect(parseFingerprint(typed, "--tls-fingerprint")).toBe(`sha256/${base64}`);
    }
    // The last two bits of the last digit say nothing.
    expect(base64.at(-2)).toBe("s");
    expect(parseFingerprint(`sha256/${base64.slice(0, -2)}t=`, "x")).toBe(`sha256/${base64}`);
    for (const typed of [`sha256/${hex}`, `sha256/${base64.slice(1)}`, `sha1/${base64}`, base64, `sha256/${base64}=`]) {
      expect(() => parseFingerprint(typed, "x")).toThrow(expect.objectContaining({ code: "usage" }));
    }
  });

  test.each(["", hex.slice(1), `${hex}0`, `g${hex.slice(1)}`, `sha1:${hex}`])("%j is `usage`", (typed) => {
    expect(() => parseFingerprint(typed, "--tls-fingerprint")).toThrow(expect.objectContaining({ code: "usage" }));
  });
});
