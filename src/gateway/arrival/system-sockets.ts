/** The system's internet sockets and the processes that hold them, read from Linux's /proc (proc(5)). Elsewhere there is nothing to read. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { basename } from "node:path";

/** One row of /proc/net/tcp and its like. */
export interface SystemSocket {
  readonly localPort: number;
  readonly remotePort: number;
  readonly remoteIsLoopback: boolean;
  readonly isListening: boolean;
  readonly uid: number;
  readonly inode: string;
}

export interface SocketHolder {
  readonly pid: number;
  /** The inodes of all its sockets. */
  readonly inodes: readonly string[];
}

const tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];
/** TCP_LISTEN of the kernel's net/tcp_states.h. */
const listening = "0A";

/** Every internet socket of this network namespace by inode; empty where the system does not say. */
async function systemSockets(): Promise<ReadonlyMap<string, SystemSocket>> {
  const texts = await Promise.all(tables.map((table) => readFile(`/proc/net/${table}`, "utf8").catch(() => "")));
  const rows = texts.flatMap((text) => text.split("\n").slice(1)).map(readRow);
  return new Map(rows.filter((row) => row !== undefined).map((row) => [row.inode, row]));
}

/** The sockets, and the processes that hold one. Those that we may not look into are not among them. */
export interface SystemView {
  readonly sockets: ReadonlyMap<string, SystemSocket>;
  readonly holdersOf: (inode: string) => readonly SocketHolder[];
}

let underWay: Promise<SystemView> | undefined;
let next: Promise<SystemView> | undefined;

/**
 * A look at the whole system that begins now, or as soon as the one is over that is under way: who asks meanwhile shares it. A look takes
 * tens of milliseconds, and whoever can open connections could otherwise have one made for each.
 */
export function lookAtSystem(): Promise<SystemView> {
  if (underWay === undefined) return begin();
  next ??= underWay.then(() => {
    next = undefined;
    return begin();
  });
  return next;
}

function begin(): Promise<SystemView> {
  underWay = look().finally(() => (underWay = undefined));
  return underWay;
}

async function look(): Promise<SystemView> {
  const sockets = await systemSockets();
  const holders = await socketHolders();
  return { sockets, holdersOf: (inode) => holders.filter(({ inodes }) => inodes.includes(inode)) };
}

async function socketHolders(): Promise<readonly SocketHolder[]> {
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/u.test(name));
  return Promise.all(pids.map(async (pid) => ({ pid: Number(pid), inodes: await socketsOf(pid) })));
}

/** The process that listens on a TCP port, as `name (pid 123)`; undefined when the system does not tell. */
export async function portHolder(port: number): Promise<{ readonly pid: number; readonly name: string } | undefined> {
  const { sockets, holdersOf } = await lookAtSystem();
  const socket = [...sockets.values()].find((row) => row.isListening && row.localPort === port);
  const [holder] = socket === undefined ? [] : holdersOf(socket.inode);
  if (holder === undefined) return undefined;
  return { pid: holder.pid, name: await programName(holder.pid) };
}

/**
 * What a process runs. Its `comm` is that of its first thread, which Node.js calls `MainThread`. Of argv nothing is told but the first
 * word of the first part: the rest may hold secrets, and a program may have written it all into that part.
 */
async function programName(pid: number): Promise<string> {
  const program = await readlink(`/proc/${pid}/exe`).catch(() => "");
  const argv = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const [word = ""] = argv.split(/[\0\s]/u, 1);
  return basename(program.replace(/ \(deleted\)$/u, "")) || basename(word) || "a program";
}

function readRow(line: string): SystemSocket | undefined {
  const [, local = "", remote = "", state = "", , , , uid = "", , inode = ""] = line.trim().split(/\s+/u);
  const [, localPort = ""] = local.split(":");
  const [remoteAddress = "", remotePort = ""] = remote.split(":");
  if (inode === "" || remotePort === "") return undefined;
  return {
    localPort: Number.parseInt(localPort, 16),
    remotePort: Number.parseInt(remotePort, 16),
    remoteIsLoopback: isLoopbackHex(remoteAddress),
    isListening: state === listening,
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

async function socketsOf(pid: string): Promise<readonly string[]> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => "")));
  return links.flatMap((link) => /^socket:\[(\d+)\]$/u.exec(link)?.[1] ?? []);
}
