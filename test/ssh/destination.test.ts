/** The grammar of destinations and forwards. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isFailure } from "../../src/errors.ts";
import { formatDestination, formatForward, parseDestination, parseForward } from "../../src/ssh/destination.ts";
import type { Destination, ForwardSpec } from "../../src/ssh/destination.ts";

const hostNames = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6(), fc.constant("localhost"));
const userNames = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_.@-]{0,15}$/);
const ports = fc.integer({ min: 1, max: 65_535 });

describe("a destination", () => {
  test.each<[string, Destination]>([
    ["host", { host: "host" }],
    ["user@host", { user: "user", host: "host" }],
    ["user@host:2222", { user: "user", host: "host", port: 2222 }],
    ["host:22", { host: "host", port: 22 }],
    ["me@corp@host", { user: "me@corp", host: "host" }],
    ["10.0.0.1:1", { host: "10.0.0.1", port: 1 }],
    ["[::1]:2222", { host: "::1", port: 2222 }],
    ["[::1]", { host: "::1" }],
    ["::1", { host: "::1" }],
    ["user@fe80::1%eth0", { user: "user", host: "fe80::1%eth0" }],
    ["ssh://host", { host: "host" }],
    ["ssh://user@host:2222", { user: "user", host: "host", port: 2222 }],
    ["SSH://user@[2001:db8::1]:22/", { user: "user", host: "2001:db8::1", port: 22 }],
    ["ssh://a%40b@host", { user: "a@b", host: "host" }],
  ])("%s is understood", (text, want) => {
    expect(parseDestination(text)).toEqual(want);
  });

  test.each<[text: string, complaint: RegExp]>([
    ["", /host is missing/],
    ["@host", /user in front of @ is empty/],
    ["user@", /host is missing/],
    ["host:", /port.*must be a number from 1 to 65535, not ""/],
    ["host:0", /port/],
    ["host:65536", /port/],
    ["host:22x", /not "22x"/],
    ["-oProxyCommand=x", /"-oProxyCommand=x" cannot be a host name/],
    ["-l@host", /"-l" cannot be a user name/],
    ["ho st", /cannot be a host name/],
    ["host\nother", /cannot be a host name/],
    ["host/path", /cannot be a host name/],
    ["a:b:c", /cannot read the host "a:b:c"/],
    ["[host]:22", /"host" is not an IPv6 address/],
    ["[::1", /cannot read the host/],
    ["ssh://%zz@host", /percent/],
    ["ssh://host/path", /cannot be a host name/],
  ])("%j is refused by name", (text, complaint) => {
    expect(failureOf(() => parseDestination(text))).toMatchObject({
      code: "usage",
      message: expect.stringMatching(complaint),
    });
  });

  test.each(["me:hunter2@host", "ssh://me:hunter2@host:22", "ssh://:hunter2@host"])(
    "a password in %s is refused without being repeated",
    (text) => {
      const failure = failureOf(() => parseDestination(text));
      expect(failure).toMatchObject({ code: "usage", message: expect.stringContaining("password") });
      expect(JSON.stringify([failure, String(failure)])).not.toContain("hunter2");
    },
  );

  test("survives being written and read again", () => {
    fc.assert(
      fc.property(
        fc.record({ user: userNames, host: hostNames, port: ports }, { requiredKeys: ["host"] }),
        (destination) => {
          expect(parseDestination(formatDestination(destination))).toEqual({ ...destination });
        },
      ),
    );
  });

  test("of any text is read or refused as bad usage", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(failsOnlyAsUsage(() => parseDestination(text))).toBe(true);
      }),
    );
  });
});

describe("a forward", () => {
  const to = (host: string, port: number) => ({ type: "tcp", host, port }) as const;
  test.each<[string, Omit<ForwardSpec, "direction">]>([
    ["8080:localhost:80", { bind: "127.0.0.1", port: 8080, target: to("localhost", 80) }],
    ["0:localhost:80", { bind: "127.0.0.1", port: 0, target: to("localhost", 80) }],
    ["localhost:8080:10.0.0.1:80", { bind: "localhost", port: 8080, target: to("10.0.0.1", 80) }],
    ["0.0.0.0:8080:h:80", { bind: "0.0.0.0", port: 8080, target: to("h", 80) }],
    ["*:8080:h:80", { bind: "*", port: 8080, target: to("h", 80) }],
    ["[::]:8080:[::1]:80", { bind: "::", port: 8080, target: to("::1", 80) }],
    ["[::1]:0:[fe80::1]:80", { bind: "::1", port: 0, target: to("fe80::1", 80) }],
    ["8080:/run/gateway.sock", { bind: "127.0.0.1", port: 8080, target: { type: "unix", path: "/run/gateway.sock" } }],
    ["*:8080:/a:b", { bind: "*", port: 8080, target: { type: "unix", path: "/a:b" } }],
  ])("%s is understood", (text, want) => {
    expect(parseForward("remote", text)).toEqual({ direction: "remote", ...want });
    expect(parseForward("local", text)).toEqual({ direction: "local", ...want });
  });

  test.each<[text: string, complaint: RegExp]>([
    ["", /cannot read the forward/],
    ["8080", /cannot read the forward "8080"/],
    ["8080:80", /cannot read the forward/],
    ["8080:h:80:81:82", /cannot read the forward/],
    [":8080:h:80", /bind address of ":8080:h:80" is empty/],
    ["8080::80", /a host is missing/],
    ["8080:*:80", /the target "\*" of "8080:\*:80" is a pattern/],
    ["8080:10.0.0.?:80", /is a pattern/],
    ["x:h:80", /listening port of "x:h:80" must be a number from 0 to 65535, not "x"/],
    ["65536:h:80", /listening port/],
    ["8080:h:0", /target port .* from 1 to 65535/],
    ["8080:h:http", /target port .* not "http"/],
    ["::1:8080:h:80", /cannot read the forward/],
    ["8080:[::1:80", /cannot read/],
    ["8080:-x:80", /cannot be a host name/],
    ["/sock:h:80", /cannot read the forward/],
  ])("%j is refused by name", (text, complaint) => {
    expect(failureOf(() => parseForward("remote", text))).toMatchObject({
      code: "usage",
      message: expect.stringMatching(complaint),
    });
  });

  test("with an empty bind address is told how to say every address", () => {
    expect(failureOf(() => parseForward("remote", ":1:h:1"))).toMatchObject({ hint: expect.stringContaining("*") });
  });

  test("survives being written and read again", () => {
    const targets = fc.oneof(
      fc.record({ type: fc.constant("tcp" as const), host: hostNames, port: ports }),
      fc.record({ type: fc.constant("unix" as const), path: fc.stringMatching(/^\/[\w./:-]{1,40}$/) }),
    );
    const specs = fc.record({
      direction: fc.constantFrom("remote" as const, "local" as const),
      bind: fc.oneof(hostNames, fc.constant("*")),
      port: fc.integer({ min: 0, max: 65_535 }),
      target: targets,
    });
    fc.assert(
      fc.property(specs, (spec) => {
        expect(parseForward(spec.direction, formatForward(spec))).toEqual(spec);
      }),
    );
  });

  test("of any text is read or refused as bad usage", () => {
    const pieces = fc.array(fc.constantFrom(":", "[", "]", "::1", "*", "/", "@", "80", "h", "-", " ", "\n", "\0"));
    fc.assert(
      fc.property(pieces, (parts) => {
        expect(failsOnlyAsUsage(() => parseForward("local", parts.join("")))).toBe(true);
      }),
    );
  });
});

function failureOf(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}

function failsOnlyAsUsage(action: () => unknown): boolean {
  const failure = failureOf(action);
  return failure === undefined || isFailure(failure, "usage");
}
