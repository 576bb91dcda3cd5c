/**
 * Whether the program at the other end of a loopback connection is this user's own and talks to nobody else (auth.md § 2). One that also
 * holds other internet sockets (sshd, ssh, a proxy, a tunnel) may be passing on somebody else's words. Where the owner cannot be
 * established, as on systems other than Linux, the peer is not proven local.
 */
import type { Peer } from "./peer.ts";
import { lookAtSystem, type SystemSocket } from "./system-sockets.ts";

export type LocalProof = { readonly isProven: true } | { readonly isProven: false; readonly reason: LocalDoubt };
export type LocalDoubt = "not-direct" | "peer-unknown" | "peer-other-user" | "peer-may-relay";

/** Looks the peer of a connection to our port up. Never throws: what cannot be read is a doubt. */
export async function proveLocal(peer: Pick<Peer, "isDirect" | "port">, ownPort: number): Promise<LocalProof> {
  if (!peer.isDirect) return doubt("not-direct");
  const { sockets, holdersOf } = await lookAtSystem();
  const isToUs = (socket: SystemSocket) => socket.remotePort === ownPort && socket.remoteIsLoopback;
  const own = [...sockets.values()].find((socket) => isToUs(socket) && socket.localPort === peer.port);
  if (own === undefined || own.inode === "0") return doubt("peer-unknown");
  if (own.uid !== process.getuid?.()) return doubt("peer-other-user");
  const holders = holdersOf(own.inode);
  if (holders.length === 0) return doubt("peer-unknown");
  const held = holders.flatMap(({ inodes }) => inodes).map((inode) => sockets.get(inode));
  return held.every((socket) => socket === undefined || isToUs(socket)) ? { isProven: true } : doubt("peer-may-relay");
}

function doubt(reason: LocalDoubt): LocalProof {
  return { isProven: false, reason };
}
