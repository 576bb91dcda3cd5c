/** Questions about addresses that need no name to be looked up. */
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** True for `localhost`, 127.0.0.0/8 and ::1 (also v4-mapped, also in brackets): what is said there stays on this machine. */
export function isLoopbackHost(host: string): boolean {
  const bare = withoutBrackets(host);
  if (isIPv4(bare)) return loopback.check(bare, "ipv4");
  if (isIPv6(bare)) return loopback.check(bare, "ipv6");
  // RFC 6761 § 6.3: resolvers answer these names with loopback addresses.
  return bare.toLowerCase() === "localhost" || bare.toLowerCase().endsWith(".localhost");
}

/** True for an IP address, or one with a prefix length (`10.0.0.0/8`, `fd00::/8`). */
export function isAddressRange(text: string): boolean {
  const [address = "", prefix, ...more] = text.split("/");
  const version = isIP(address);
  if (version === 0 || more.length > 0) return false;
  if (prefix === undefined) return true;
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128);
}

/** `[::1]` as `::1`; anything else as it is. */
export function withoutBrackets(host: string): string {
  return host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
}
