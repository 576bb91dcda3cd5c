/** The one door to the ssh2 library, opened only when a connection is really made: loading it takes 73 ms. */
import { createRequire } from "node:module";

/** Loads ssh2, once. Its named exports are not all visible to an ES module, hence the default one. */
export async function loadSsh2(): Promise<typeof import("ssh2")> {
  const { default: ssh2 } = await import("ssh2");
  return ssh2;
}

/**
 * Whether ssh2 encrypts by its native addon, which an installation may or may not have built. It falls back to Node.js without a word,
 * and bulk transfers are slower then. Looked up where ssh2 itself looks.
 */
export function hasNativeCrypto(): boolean {
  const require = createRequire(import.meta.url);
  try {
    require("ssh2/lib/protocol/crypto/build/Release/sshcrypto.node");
    return true;
  } catch {
    return false;
  }
}
