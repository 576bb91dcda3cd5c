/** What happened to a tunnel, one JSON object a line, in a file that outlives it. Kept small: at its limit it becomes `.log.1`. */
import { chmod, open, readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Runtime } from "../runtime.ts";
import { makePrivateDirectory } from "../store/private-directory.ts";
import { writeFailure } from "../store/state-failure.ts";
import { fileNameOf, tunnelNameIn } from "./tunnel-name.ts";

/** An entry as it is written: a time, a word for what happened, and facts. Never a secret. */
export interface LogEntry {
  readonly atMs: number;
  readonly event: string;
  readonly [fact: string]: unknown;
}

export interface TunnelLogOptions {
  /** A file of this size is put aside and a new one begun; the one before that goes. */
  readonly maxBytes?: number;
}

const defaultMaxBytes = 1024 * 1024;
/** A disk that hangs makes us forget entries, and not remember them all. */
const maxWaiting = 1000;
const lookEveryMs = 200;

export function tunnelLogPath(logDir: string, name: string): string {
  return join(logDir, `tunnel-${fileNameOf(name)}.log`);
}

/** The names of tunnels that have a log, whether they run or not. */
export async function loggedTunnels(logDir: string): Promise<readonly string[]> {
  const files = await readdir(logDir).catch(() => []);
  return files.flatMap((file) => tunnelNameIn(/^tunnel-(.+)\.log$/u.exec(file)?.[1] ?? "") ?? []).toSorted();
}

/** Writes entries in order, without anybody waiting for it. A log that cannot be written stops nothing, and is told once. */
export class TunnelLog implements AsyncDisposable {
  readonly path: string;
  readonly #runtime: Runtime;
  readonly #maxBytes: number;
  #waiting: string[] = [];
  #forgotten = 0;
  #writing: Promise<void> | undefined;
  #hasFailed = false;

  constructor(path: string, runtime: Runtime, { maxBytes = defaultMaxBytes }: TunnelLogOptions = {}) {
    this.path = path;
    this.#runtime = runtime;
    this.#maxBytes = maxBytes;
  }

  write(event: string, facts: object = {}): void {
    if (this.#waiting.length >= maxWaiting) return void this.#forgotten++;
    this.#waiting.push(this.#line(event, facts));
    this.#writing ??= this.#drain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
  }

  async #drain(): Promise<void> {
    // Entries of one moment go together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      if (this.#forgotten > 0) lines.push(this.#line("forgotten", { entries: this.#forgotten }));
      this.#forgotten = 0;
      await this.#append(lines.join("")).catch((error: unknown) => this.#failed(error));
    }
    this.#writing = undefined;
  }

  #line(event: string, facts: object): string {
    return `${JSON.stringify({ atMs: this.#runtime.now(), ...facts, event })}\n`;
  }

  async #append(text: string): Promise<void> {
    await makePrivateDirectory(join(this.path, ".."));
    const bytes = (await stat(this.path).catch(() => undefined))?.size ?? 0;
    if (bytes > 0 && bytes + text.length > this.#maxBytes) await rename(this.path, `${this.path}.1`);
    await using file = await open(this.path, "a", 0o600);
    await file.appendFile(text);
  }

  #failed(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.#runtime.log("warn", "the tunnel's log cannot be written", { file: this.path, reason });
  }
}

/** Makes the log, private, before there is anything to write; opens it for a process whose own output goes there too. */
export async function openTunnelLog(path: string): Promise<{ readonly fd: number } & AsyncDisposable> {
  try {
    await makePrivateDirectory(join(path, ".."));
    const file = await open(path, "a", 0o600);
    if (process.platform !== "win32") await chmod(path, 0o600);
    return file;
  } catch (error) {
    throw writeFailure(path, error);
  }
}

/** The last `count` entries, from the current file and the one before. */
export async function lastEntries(path: string, count: number): Promise<readonly LogEntry[]> {
  return lastOf(path, count, await placeAt(path));
}

/** The last `count` entries and then what comes, also across a change of files; ends with the signal's reason. */
export async function* followEntries(
  path: string,
  count: number,
  runtime: Runtime,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  let place = await placeAt(path);
  yield* await lastOf(path, count, place);
  for (let rest = ""; ;) {
    await runtime.sleep(lookEveryMs, signal);
    const now = await placeAt(path);
    if (now.inode === 0) continue;
    if (now.inode !== place.inode || now.bytes < place.bytes) {
      // What was written last went aside with the old file.
      if (place.inode !== 0) rest += await readPart(`${path}.1`, place.bytes);
      place = { inode: now.inode, bytes: 0 };
    }
    rest += await readPart(path, place.bytes, now.bytes);
    place = now;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter((line) => line !== "").map(readEntry);
  }
}

interface Place {
  readonly inode: number;
  readonly bytes: number;
}

/** The file that is there now and how far it goes; inode 0 while there is none. */
async function placeAt(path: string): Promise<Place> {
  const found = await stat(path).catch(() => undefined);
  return { inode: found?.ino ?? 0, bytes: found?.size ?? 0 };
}

async function lastOf(path: string, count: number, { bytes }: Place): Promise<readonly LogEntry[]> {
  const text = (await readPart(`${path}.1`, 0)) + (await readPart(path, 0, bytes));
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.slice(Math.max(0, lines.length - count)).map(readEntry);
}

/** The text of a file between two bytes; no text where there is no file. Entries are written whole, so both stand between lines. */
async function readPart(path: string, from: number, to?: number): Promise<string> {
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return "";
  await using _closed = file;
  const end = to ?? (await file.stat()).size;
  const buffer = Buffer.alloc(Math.max(0, end - from));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
  return buffer.toString("utf8", 0, bytesRead);
}

/** A line of the log; what a crash left there is shown as what it is. */
function readEntry(line: string): LogEntry {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "object" && value !== null && "event" in value && typeof value.event === "string") {
      const { event } = value;
      return { ...value, event, atMs: "atMs" in value && typeof value.atMs === "number" ? value.atMs : 0 };
    }
  } catch {
    // Not one of ours.
  }
  return { atMs: 0, event: "output", text: line };
}
