/**
 * Which tunnels of this state directory run: one small file for each, made by its owner and tied to it by pid, start time and a nonce.
 * The file's name is the tunnel's, so that the file system decides who has a name. What a dead owner left is removed by who finds it.
 */
import { chmod, link, lstat, mkdtemp, readdir, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { OpenClawError, systemCode } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { readTextFile } from "../store/atomic-file.ts";
import { makePrivateDirectory } from "../store/private-directory.ts";
import { readFailure, unreadable, writeFailure } from "../store/state-failure.ts";
import { isAlive, ownMark } from "../store/process-life.ts";
import { checkTunnelName, defaultTunnelName, fileNameOf, tunnelNameIn } from "./tunnel-name.ts";

export interface TunnelRecord {
  readonly version: 1;
  readonly name: string;
  readonly destination: string;
  readonly pid: number;
  /** When the process began, as the system counts; empty where it does not say. */
  readonly processStart: string;
  readonly startedAtMs: number;
  /** Hex; the tunnel's control socket answers to it, and to nothing else. */
  readonly nonce: string;
  /** The control socket: a path, or the name of a Windows pipe. */
  readonly socket: string;
}

/** sockaddr_un has room for 108 bytes on Linux and 104 elsewhere, the last of them zero (unix(7)). */
const maxSocketPathBytes = 103;
const socketDirectoryPrefix = "openclaw-";
const socketDirectory = /^openclaw-[A-Za-z0-9]{6}$/u;
const socketName = /^t-[0-9a-f]{12}\.sock$/u;
/** A record on its way in or out. */
const stepName = /^tunnel-.+\.json\.[0-9a-f]{32}\.(?:tmp|dead)$/u;
const leftoverAgeMs = 60_000;

/** Where a new tunnel is to answer, and the nonce it answers to. */
export interface TunnelSeat {
  readonly nonce: string;
  readonly socket: string;
}

/** The name that a new tunnel gets: the one wanted, or one made of its destination that no running tunnel has. */
export async function nameForTunnel(
  runDir: string,
  wanted: string | undefined,
  destination: string,
  runtime: Runtime,
): Promise<string> {
  if (wanted !== undefined) return checkTunnelName(wanted);
  const running = await runningTunnels(runDir, runtime);
  return defaultTunnelName(destination, new Set(running.map(({ name }) => name)));
}

/**
 * A seat in the run directory, which is made, and closed to other users. Where its path is too long for a socket, the socket gets a
 * short private directory of its own under the system's temporary one.
 */
export async function prepareSeat(runDir: string, runtime: Runtime): Promise<TunnelSeat> {
  const nonce = Buffer.from(runtime.random(16)).toString("hex");
  try {
    await makePrivateDirectory(runDir);
    await closeToOthers(runDir);
    return { nonce, socket: await socketPath(runDir, nonce) };
  } catch (error) {
    throw writeFailure(runDir, error);
  }
}

/** Removes what `prepareSeat` and a server made. */
export async function leaveSeat(runDir: string, { socket }: TunnelSeat): Promise<void> {
  if (process.platform === "win32" || !isOurPath(runDir, socket)) return;
  if ((await lstat(socket).catch(() => undefined))?.isSocket() === true) await rm(socket, { force: true });
  // Only an empty one goes.
  if (dirname(socket) !== runDir) await rmdir(dirname(socket)).catch(() => {});
}

/**
 * Writes the record of a tunnel whose control socket answers already. Throws `conflict` when a tunnel of this name runs, with its pid
 * and how to close it.
 */
export async function publishTunnel(
  runDir: string,
  facts: Pick<TunnelRecord, "name" | "destination"> & TunnelSeat,
  runtime: Runtime,
): Promise<TunnelRecord> {
  const { name, destination, nonce, socket } = facts;
  const mark = await ownMark();
  const record: TunnelRecord = { version: 1, name, destination, ...mark, startedAtMs: runtime.now(), nonce, socket };
  const path = recordPath(runDir, name);
  for (let attempt = 0; attempt < 3; attempt++) {
    if (await makeFile(path, record)) return record;
    const other = await readRecord(path);
    if (other === undefined) continue; // it went away meanwhile
    if (other === "foreign") throw unreadable(path, "it is not the record of a tunnel", "move it away");
    if (await isLive(other)) throw taken(other);
    await removeDead(runDir, other);
  }
  throw new OpenClawError("conflict", `others are opening tunnels with the name ${name} too`, { hint: "try again" });
}

/** Takes this process's own record away. */
export async function withdrawTunnel(runDir: string, { name, nonce }: TunnelRecord): Promise<void> {
  const path = recordPath(runDir, name);
  const found = await readRecord(path).catch(() => undefined);
  if (typeof found === "object" && found.nonce === nonce) await rm(path, { force: true });
}

/** The records whose owners live, by name. What dead ones left behind is removed on the way; what is not ours is not touched. */
export async function runningTunnels(runDir: string, runtime: Runtime): Promise<readonly TunnelRecord[]> {
  const names = await namesIn(runDir);
  const live: TunnelRecord[] = [];
  for (const record of await recordsIn(runDir)) {
    if (await isLive(record)) live.push(record);
    else await removeDead(runDir, record);
  }
  await removeLeftovers(runDir, names, live, runtime);
  return live.toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

/** Every file that is a record, and named as its tunnel is. */
async function recordsIn(runDir: string): Promise<readonly TunnelRecord[]> {
  const records: TunnelRecord[] = [];
  for (const fileName of await namesIn(runDir)) {
    const name = /^tunnel-(.+)\.json$/u.exec(fileName)?.[1];
    if (name === undefined || tunnelNameIn(name) === undefined) continue;
    const record = await readRecord(join(runDir, fileName)).catch(() => undefined);
    if (typeof record === "object" && record.name === tunnelNameIn(name)) records.push(record);
  }
  return records;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw readFailure(directory, error);
  }
}

/**
 * Removes the record and socket of an owner that is dead. Several may find it at once, and a new tunnel may take the name meanwhile:
 * only who holds the marker for this very nonce removes, so a record that is there is never one that came later.
 */
export async function removeDead(runDir: string, dead: TunnelRecord): Promise<void> {
  const path = recordPath(runDir, dead.name);
  const marker = `${path}.${dead.nonce}.dead`;
  if (!(await makeMarker(marker))) return;
  try {
    const found = await readRecord(path);
    if (typeof found !== "object" || found.nonce !== dead.nonce) return;
    if (!(await isServed(runDir, dead))) await leaveSeat(runDir, dead);
    await rm(path, { force: true });
  } finally {
    await rm(marker, { force: true });
  }
}

/** Whether the socket that a dead record names is one that a living tunnel's record names too. */
async function isServed(runDir: string, dead: TunnelRecord): Promise<boolean> {
  const others = (await recordsIn(runDir)).filter(({ name, socket }) => name !== dead.name && socket === dead.socket);
  for (const other of others) if (await isLive(other)) return true;
  return false;
}

async function makeMarker(path: string): Promise<boolean> {
  try {
    await writeFile(path, "", { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw writeFailure(path, error);
  }
}

/** What owners left that were killed between two steps. Young files may be of one that is about to take the next step. */
async function removeLeftovers(
  runDir: string,
  names: readonly string[],
  live: readonly TunnelRecord[],
  runtime: Runtime,
): Promise<void> {
  const inUse = new Set(live.map(({ socket }) => socket));
  for (const name of names.filter((one) => socketName.test(one) || stepName.test(one))) {
    const path = join(runDir, name);
    const found = await lstat(path).catch(() => undefined);
    if (found === undefined || inUse.has(path) || runtime.now() - found.mtimeMs < leftoverAgeMs) continue;
    if (socketName.test(name) ? found.isSocket() && !(await answers(path)) : found.isFile()) {
      await rm(path, { force: true });
    }
  }
}

/** Where the system tells no start times, a pid that is in use says little; a socket that takes connections says more. */
async function isLive(record: TunnelRecord): Promise<boolean> {
  return (await isAlive(record)) && (record.processStart !== "" || (await answers(record.socket)));
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket
      .once("error", () => resolve(false))
      .once("connect", () => {
        socket.destroy();
        resolve(true);
      });
  });
}

/** Makes a record's file with all of its text at once, unless there is one; says whether it did. */
async function makeFile(path: string, record: TunnelRecord): Promise<boolean> {
  const temporary = `${path}.${record.nonce}.tmp`;
  try {
    await writeFile(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600 });
    await link(temporary, path);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw writeFailure(path, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function readRecord(path: string): Promise<TunnelRecord | "foreign" | undefined> {
  const text = await readTextFile(path, { maxBytes: 64 * 1024 });
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : "foreign";
  } catch {
    return "foreign";
  }
}

/** By hand: a process that holds a tunnel for weeks should not hold a validator too. */
function isRecord(value: unknown): value is TunnelRecord {
  if (typeof value !== "object" || value === null) return false;
  const facts: Partial<Record<keyof TunnelRecord, unknown>> = value;
  const texts = [facts.name, facts.destination, facts.processStart, facts.socket];
  return (
    facts.version === 1 &&
    texts.every((text) => typeof text === "string") &&
    typeof facts.nonce === "string" &&
    /^[0-9a-f]{32}$/u.test(facts.nonce) &&
    Number.isSafeInteger(facts.pid) &&
    Number(facts.pid) > 0 &&
    typeof facts.startedAtMs === "number"
  );
}

function recordPath(runDir: string, name: string): string {
  return join(runDir, `tunnel-${fileNameOf(name)}.json`);
}

async function socketPath(runDir: string, nonce: string): Promise<string> {
  if (process.platform === "win32") return `\\\\.\\pipe\\openclaw-tunnel-${nonce}`;
  const name = `t-${nonce.slice(0, 12)}.sock`;
  const path = join(runDir, name);
  if (Buffer.byteLength(path) <= maxSocketPathBytes) return path;
  // mkdtemp(3) makes it 0700, and only if nobody else has.
  return join(await mkdtemp(join(tmpdir(), socketDirectoryPrefix)), name);
}

/** Whether a record's socket is where we put sockets: a record that says otherwise does not make us remove anything. */
function isOurPath(runDir: string, path: string): boolean {
  if (!socketName.test(basename(path))) return false;
  const directory = dirname(path);
  return directory === runDir || socketDirectory.test(basename(directory));
}

async function closeToOthers(directory: string): Promise<void> {
  if (process.platform === "win32") return;
  const { mode } = await stat(directory);
  if ((mode & 0o077) !== 0) await chmod(directory, 0o700);
}

function taken({ name, pid }: TunnelRecord): OpenClawError {
  return new OpenClawError("conflict", `a tunnel with the name ${name} runs already, in process ${pid}`, {
    hint: "close that one first, or give this one another --name",
    fix: `openclaw tunnel close ${name}`,
    details: { name, pid },
  });
}
