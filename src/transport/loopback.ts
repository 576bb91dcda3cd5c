/** Which addresses stay on this machine. */
import { isIPv4 } from "node:net";

/**
 * True for `localhost` and names below it (RFC 6761 § 6.3), 127.0.0.0/8 and ::1, also v4-mapped. `host` is a URL's hostname or a socket's
 * address, as URL and net write them: an IPv6 address with or without brackets.
 */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/gu, "").toLowerCase();
  if (isIPv4(bare)) return bare.startsWith("127.");
  return bare === "localhost" || bare.endsWith(".localhost") || bare === "::1" || /^::ffff:(?:7f|127\.)/u.test(bare);
}
