/** How many machines a range of addresses takes in, as far as that is a question of trust. Pure. */
import { BlockList, isIP } from "node:net";

/** `everybody`: the whole of IPv4 or IPv6; `public-wide`, `private-wide`: more networks than one runs; `loopback`: this machine, as a range. */
export type RangeWidth = "everybody" | "public-wide" | "private-wide" | "loopback" | "narrow";

const privateNetworks = new BlockList();
for (const [network, bits] of [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["169.254.0.0", 16],
  ["100.64.0.0", 10],
] as const) {
  privateNetworks.addSubnet(network, bits, "ipv4");
}
privateNetworks.addSubnet("fc00::", 7, "ipv6");
privateNetworks.addSubnet("fe80::", 10, "ipv6");
const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** The prefixes from which a range is one network: RFC 1918 and RFC 4193 networks may be a cluster, public ones are a few machines. */
const narrowFrom = { ipv4: { own: 16, foreign: 24 }, ipv6: { own: 48, foreign: 56 } } as const;

/** `range` is an address or a range as `isAddressRange` takes it; so is every other one here. */
export function rangeWidth(range: string): RangeWidth {
  const { address, family, bits, isSingle } = readRange(range);
  if (isSingle) return "narrow";
  if (bits <= 0) return "everybody";
  if (loopback.check(address, family)) return bits < 32 ? "loopback" : "narrow";
  const isOwn = privateNetworks.check(address, family);
  const { own, foreign } = narrowFrom[family];
  if (bits >= (isOwn ? own : foreign)) return "narrow";
  return isOwn ? "private-wide" : "public-wide";
}

/** True when there is an address that both take in. */
export function rangesMeet(one: string, other: string): boolean {
  const [a, b] = [readRange(one), readRange(other)];
  if (a.family !== b.family) return false;
  // Ranges are prefixes: the wider one has the whole of the other, or nothing of it.
  const [wide, narrow] = a.bits <= b.bits ? [a, b] : [b, a];
  const list = new BlockList();
  list.addSubnet(wide.address, Math.max(0, wide.bits), wide.family);
  return list.check(narrow.address, narrow.family);
}

/** True for addresses and ranges of this machine's own loopback. */
export function isOfLoopback(range: string): boolean {
  const { address, family, bits } = readRange(range);
  return loopback.check(address, family) && bits >= 8;
}

/** IPv4 written as IPv6 is IPv4. */
function readRange(range: string) {
  const [written = "", prefix] = range.split("/");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/iu.exec(written)?.[1];
  const address = mapped ?? written;
  const family = isIP(address) === 6 ? ("ipv6" as const) : ("ipv4" as const);
  const whole = family === "ipv6" ? 128 : 32;
  const bits = prefix === undefined ? whole : Number(prefix) - (mapped === undefined ? 0 : 96);
  return { address, family, bits, isSingle: prefix === undefined };
}
