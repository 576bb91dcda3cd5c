import { expect, test } from "vitest";
import { isLoopback } from "../../src/transport/loopback.ts";

/** As a URL writes its host. */
const hostOf = (authority: string) => new URL(`ws://${authority}/`).hostname;

test.each(["localhost", "LOCALHOST", "gw.localhost", "127.0.0.1", "127.1", "127.255.255.254", "[::1]", "[0:0::1]"])(
  "%s stays here",
  (authority) => expect(isLoopback(hostOf(authority))).toBe(true),
);

test.each(["[::ffff:127.0.0.1]", "[::ffff:127.9.9.9]"])(
  "%s, an IPv4 address in IPv6's clothes, stays here",
  (authority) => expect(isLoopback(hostOf(authority))).toBe(true),
);

test.each(["::1", "127.0.0.1", "::ffff:127.0.0.1"])("so does %s of a socket", (address) =>
  expect(isLoopback(address)).toBe(true),
);

test.each([
  "127.example.test",
  "127.0.0.1.example.test",
  "localhost.example.test",
  "notlocalhost",
  "128.0.0.1",
  "0.0.0.0",
  "10.127.0.1",
  "[::]",
  "[::2]",
  "[::ffff:10.0.0.1]",
  "[::ffff:128.0.0.1]",
  "[7f00::1]",
])("%s does not", (authority) => expect(isLoopback(hostOf(authority))).toBe(false));
