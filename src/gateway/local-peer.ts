/**
 * Whether the program at the other end of a loopback connection is this user's own and talks to nobody else (auth.md § 2). One that also
 * holds other internet sockets (sshd, ssh, a proxy, a tunnel) may be passing on somebody else's words. Linux only: where the owner cannot
 * be established, the peer is not proven local.
 */
import { readdir, readFile, readlink } from "node:fs/promises";
import type { Peer } from "./peer.ts";

export type LocalProof = { readonly isProven: true } | { readonly isProven: false; readonly reason: LocalDoubt };
export type LocalDoubt = "not-direct" | "peer-unknown" | "peer-other-user" | "peer-may-relay";

/** One row of /proc/net/tcp and its like (proc(5)): addresses as hexadecimal, the port behind the colon. */
interface SocketRow {
  readonly localPort: number;
  readonly remotePort: number;
  readonly remoteIsLoopback: boolean;
  readonly uid: number;
  readonly inode: string;
}

/** Reads the kernel's tables about the peer of a connection to our port. Never throws: what cannot be read is a doubt. */
export async function proveLocal(peer: Peer, ownPort: number): Promise<LocalProof> {
  if (!peer.isDirect) return doubt("not-direct");
  try {
    const rows = await socketRows();
    const own = [...rows.values()].find((row) => isConnectionTo(row, ownPort) && row.localPort === peer.port);
    if (own === undefined || own.inode === "0") return doubt("peer-unknown");
    if (own.uid !== process.getuid?.()) return doubt("peer-other-user");
    const holders = await holdersOf(own.inode);
    if (holders.length === 0) return doubt("peer-unknown");
    const others = holders
      .flatMap((inodes) => inodes.map((inode) => rows.get(inode)))
      .filter((row) => row !== undefined);
    return others.every((row) => isConnectionTo(row, ownPort)) ? { isProven: true } : doubt("peer-may-relay");
  } catch {
    return doubt("peer-unknown");
  }
}

function doubt(reason: LocalDoubt): LocalProof {
  return { isProven: false, reason };
}

function isConnectionTo(row: SocketRow, port: number): boolean {
  return row.remotePort === port && row.remoteIsLoopback;
}

const tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];

/** Every internet socket of this network namespace by inode. */
async function socketRows(): Promise<ReadonlyMap<string, SocketRow>> {
  const texts = await Promise.all(tables.map((table) => readFile(`/proc/net/${table}`, "utf8").catch(() => "")));
  const rows = texts.flatMap((text) => text.split("\n").slice(1)).map(readRow);
  return new Map(rows.filter((row) => row !== undefined).map((row) => [row.inode, row]));
}

function readRow(line: string): SocketRow | undefined {
  const [, local = "", remote = "", , , , , uid = "", , inode = ""] = line.trim().split(/\s+/u);
  const [, localPort = ""] = local.split(":");
  const [remoteAddress = "", remotePort = ""] = remote.split(":");
  if (inode === "" || remotePort === "") return undefined;
  return {
    localPort: Number.parseInt(localPort, 16),
    remotePort: Number.parseInt(remotePort, 16),
    remoteIsLoopback: isLoopbackHex(remoteAddress),
    uid: Number(uid),
    inode,
  };
}

/** The kernel prints each 32-bit word in host order: 127.0.0.1 is `0100007F` here, and ends the mapped form too. */
function isLoopbackHex(address: string): boolean {
  if (address.length === 8) return address.endsWith("7F");
  const isMapped = address.startsWith("0000000000000000FFFF0000") && address.endsWith("7F");
  return isMapped || address === "00000000000000000000000001000000";
}

/** For each process that holds the socket, the inodes of all its sockets. Processes that we may not look into hold nothing of ours. */
async function holdersOf(inode: string): Promise<readonly (readonly string[])[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/u.test(name));
  const inodesOf = await Promise.all(pids.map(socketsOf));
  return inodesOf.filter((inodes) => inodes.includes(inode));
}

async function socketsOf(pid: string): Promise<readonly string[]> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => "")));
  return links.flatMap((link) => /^socket:\[(\d+)\]$/u.exec(link)?.[1] ?? []);
}
