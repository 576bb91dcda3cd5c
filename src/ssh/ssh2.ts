/**
 * The one door to the ssh2 library, opened only when a connection is really made. What a client needs is taken part by part: the library's
 * own front door also loads its server, its key generator and its HTTP agents, 3 MiB that every tunnel would carry for its whole life.
 */
import { createRequire } from "node:module";
import { deferPoly1305 } from "./poly1305.ts";

export type { AcceptConnection, ClientChannel, TcpConnectionDetails } from "ssh2";

/** The client, once. */
export async function loadClient(): Promise<typeof import("ssh2").Client> {
  deferPoly1305();
  const { default: Client } = await import("ssh2/lib/client.js");
  return Client;
}

/** What speaks to an SSH agent. */
export async function loadAgents(): Promise<Pick<typeof import("ssh2"), "BaseAgent" | "createAgent">> {
  const { default: agents } = await import("ssh2/lib/agent.js");
  return agents;
}

/** Reads keys of every form the library knows. */
export async function loadKeyParser(): Promise<typeof import("ssh2").utils.parseKey> {
  const { default: keys } = await import("ssh2/lib/protocol/keyParser.js");
  return keys.parseKey;
}

/** All of it, for a server. Its named exports are not all visible to an ES module, hence the default one. */
export async function loadSsh2(): Promise<typeof import("ssh2")> {
  deferPoly1305();
  const { default: ssh2 } = await import("ssh2");
  return ssh2;
}

/**
 * Whether ssh2 encrypts by its native addon, which an installation may or may not have built. It falls back to Node.js without a word,
 * and bulk transfers are slower then. Looked up where ssh2 itself looks.
 */
export function hasNativeCrypto(): boolean {
  return (nativeCrypto ??= isThere("ssh2/lib/protocol/crypto/build/Release/sshcrypto.node"));
}

let nativeCrypto: boolean | undefined;

function isThere(module: string): boolean {
  const require = createRequire(import.meta.url);
  try {
    require(module);
    return true;
  } catch {
    return false;
  }
}
