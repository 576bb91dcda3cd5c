/**
 * One owner across processes. The lock is SQLite's lock on an empty database file: the kernel keeps it, and the kernel drops it
 * when its owner ends in whatever way (fcntl(2)). So there is no stale lock to take over, and no race about who may.
 * A note beside it says who the owner is. It is for people only: nothing is decided by it.
 */
import { closeSync, openSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { OpenClawError, systemCode } from "../errors.ts";
import { type Runtime, systemRuntime } from "../runtime.ts";
import { readTextFile, writeTextFile } from "./atomic-file.ts";
import { makePrivateDirectory } from "./private-directory.ts";
import { isAlive, ownMark } from "./process-life.ts";
import { retryWhileBusy } from "./retry-busy.ts";
import { creationFailure, databaseFailure, isBusy } from "./sqlite-failure.ts";

export interface LockOptions {
  /** How long to wait for another owner to let go; 5 s unless told otherwise. */
  readonly timeoutMs?: number;
  readonly runtime?: Runtime;
}

export interface Lock extends AsyncDisposable {
  readonly path: string;
  /** Lets the next one in. */
  release(): Promise<void>;
}

/** Runs `action` while no other process, and nobody else in this one, holds the lock at `path`. */
export async function withLock<Result>(
  path: string,
  action: () => Promise<Result> | Result,
  options: LockOptions = {},
): Promise<Result> {
  await using _lock = await acquireLock(path, options);
  return await action();
}

/**
 * Takes the lock at `path`. Fails with `locked`, which names the owner's pid where it is known (`details.pid`), when it is not
 * free in time. The lock ends with `release`, or with the process.
 */
export async function acquireLock(
  path: string,
  { timeoutMs = 5000, runtime = systemRuntime }: LockOptions = {},
): Promise<Lock> {
  const database = await openLockFile(path);
  try {
    await retryWhileBusy(() => database.exec("BEGIN EXCLUSIVE"), { timeoutMs, runtime });
    await writeTextFile(notePath(path), await ownNote());
  } catch (error) {
    database.close();
    throw isBusy(error) ? await held(path, error) : databaseFailure(path, error);
  }
  return new HeldLock(path, database);
}

class HeldLock implements Lock {
  readonly path: string;
  readonly #database: DatabaseSync;

  constructor(path: string, database: DatabaseSync) {
    this.path = path;
    this.#database = database;
  }

  async release(): Promise<void> {
    if (!this.#database.isOpen) return;
    try {
      await rm(notePath(this.path), { force: true });
    } finally {
      if (this.#database.isOpen) this.#database.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}

/** The lock file stays: to remove it would let one process lock the old file and another one a new file of the same name. */
async function openLockFile(path: string): Promise<DatabaseSync> {
  try {
    await makePrivateDirectory(dirname(path));
    createFile(path);
    return new DatabaseSync(path);
  } catch (error) {
    throw creationFailure(path, error);
  }
}

/**
 * Makes the file 0600 if it is missing. In one go, without an await: if this process held the lock already, closing a
 * descriptor of the same file would drop it, so nobody may take it between these two calls.
 */
function createFile(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
}

function notePath(path: string): string {
  return `${path}.owner`;
}

async function ownNote(): Promise<string> {
  const { pid, processStart } = await ownMark();
  return `${pid} ${processStart}\n`;
}

async function held(path: string, cause: unknown): Promise<OpenClawError> {
  const pid = await ownerPid(path);
  return new OpenClawError("locked", `${path} is held by ${pid === undefined ? "another process" : `process ${pid}`}`, {
    hint: "wait until it is done, or stop it",
    details: { path, ...(pid === undefined ? {} : { pid }) },
    cause,
  });
}

/** Who the note says the owner is, if that very process still runs. */
async function ownerPid(path: string): Promise<number | undefined> {
  const note = await readTextFile(notePath(path)).catch(() => undefined);
  const [, pid, processStart = ""] = /^(\d+) (\d*)\n$/.exec(note ?? "") ?? [];
  if (pid === undefined) return undefined;
  return (await isAlive({ pid: Number(pid), processStart })) ? Number(pid) : undefined;
}
