/** A list answers the same whether it was asked before or not, however many others were asked about meanwhile. */
import { expect, test } from "vitest";
import { AddressList } from "../../src/gateway/arrival/address-list.ts";

const list = new AddressList(["10.0.0.0/8", "192.168.1.1", "fd00::/8", "::ffff:172.16.0.0/108"]);

test.each([
  ["10.255.0.1", true],
  ["::ffff:10.1.2.3", true],
  ["::FFFF:0a01:0203", true],
  ["11.0.0.1", false],
  ["192.168.1.1", true],
  ["192.168.1.2", false],
  ["172.31.255.255", true],
  ["172.32.0.0", false],
  ["fd12::1", true],
  ["FD12::1", true],
  ["fe80::1", false],
  ["10.0.0.1:80", false],
  ["10.0.0", false],
  ["", false],
  [`10.0.0.1${" ".repeat(1000)}`, false],
])("%s: %s, again and again", (address, answer) => {
  expect(list.has(address)).toBe(answer);
  expect(list.has(address)).toBe(answer);
  for (let other = 0; other < 3000; other++) list.has(`10.1.${other >> 8}.${other & 255}`);
  expect(list.has(address)).toBe(answer);
});
