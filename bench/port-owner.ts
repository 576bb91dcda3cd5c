/** Which process listens on a port of loopback, as Linux tells in /proc (proc(5)). */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Its pid. Throws when nobody listens, or when who does belongs to somebody else. */
export function ownerOf(port: number): number {
  const inode = listeningInode(port);
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (descriptors(pid).includes(`socket:[${inode}]`)) return Number(pid);
  }
  throw new Error(`who listens on port ${port} cannot be seen`);
}

function listeningInode(port: number): string {
  const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n")) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (local === address && state === listening && inode !== undefined) return inode;
  }
  throw new Error(`nobody listens on port ${port}`);
}

/** TCP_LISTEN, in hexadecimal. */
const listening = "0A";

/** What the process has open; nothing when it is gone or somebody else's. */
function descriptors(pid: string): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((descriptor) => link(`/proc/${pid}/fd/${descriptor}`));
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed in between
  }
}
