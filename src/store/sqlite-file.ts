/**
 * Opening the database file: made whole or not at all, never mistaken for somebody else's, brought up to date in steps.
 *
 * We never open the file with `node:fs`: closing any descriptor of it would drop the locks that this process's other
 * connections hold (fcntl(2), "record locks"), and SQLite knows that only about its own descriptors.
 */
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { chmod, link, lstat, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { isFailure, systemCode } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { makePrivateDirectory, syncDirectory } from "./private-directory.ts";
import { keepPrivate } from "./private-mode.ts";
import { retryWhileBusy } from "./retry-busy.ts";
import { creationFailure, databaseFailure } from "./sqlite-failure.ts";
import { readFailure, unreadable, unwritable, writeFailure } from "./state-failure.ts";

/** "OCLW" in the header's application id (https://sqlite.org/fileformat.html § 1.3.17) says that a file is ours. */
export const applicationId = 0x4f434c57;

/** SQLite's smallest page; every database has at least one (https://sqlite.org/fileformat.html § 1.3.2). */
const minDatabaseBytes = 512;

export interface Migration {
  /** The schema version this step leads to; kept in the header's user version. */
  readonly version: number;
  readonly migrate: (database: DatabaseSync) => void;
}

/** Every step from an empty database to today's, in order. Steps that were released are never edited, only followed. */
export const migrations: readonly Migration[] = [
  {
    version: 1,
    migrate: (database) =>
      database.exec(`
        CREATE TABLE records (
          collection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (collection, key)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE entries (position INTEGER PRIMARY KEY, journal TEXT NOT NULL, value TEXT NOT NULL) STRICT;
        CREATE INDEX entries_by_journal ON entries (journal, position);
      `),
  },
];

export interface OpenOptions {
  readonly timeoutMs: number;
  readonly runtime: Runtime;
  readonly steps?: readonly Migration[];
}

/** A connection to a database that lives in memory and ends with it. */
export function openMemoryDatabase(steps: readonly Migration[] = migrations): DatabaseSync {
  const database = new DatabaseSync(":memory:");
  migrate(database, ":memory:", steps);
  return database;
}

/**
 * A connection to the database at `path`, which is made if it is missing. A file that is not a database, is damaged, belongs
 * to another program or to a newer version of this one is `state-unreadable` and stays as it is.
 */
export async function openDatabase(
  path: string,
  { timeoutMs, runtime, steps = migrations }: OpenOptions,
): Promise<DatabaseSync> {
  if (!(await exists(path))) await create(path, steps);
  try {
    checkOwner(path, steps);
    await keepPrivate(path, runtime);
    await restrict(path);
    const database = await retryWhileBusy(() => connect(path, steps), { timeoutMs, runtime });
    await restrict(path);
    return database;
  } catch (error) {
    throw databaseFailure(path, error);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw unreadable(path, "it is not a regular file", "move it away, or use another --state-dir");
    // SQLite takes an empty file for a new database. Ours never are empty, so this one has lost its contents.
    if (found.size < minDatabaseBytes) {
      throw unreadable(path, "the file is too short for a database", "restore it from a backup, or move it away");
    }
    return true;
  } catch (error) {
    if (isFailure(error)) throw error;
    if (systemCode(error) !== "ENOENT") throw readFailure(path, error);
    return false;
  }
}

/** Builds the database under another name and links it into place, so that no process ever sees half of one. */
async function create(path: string, steps: readonly Migration[]): Promise<void> {
  await refuseOrphans(path);
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.new`);
  try {
    await makePrivateDirectory(dirname(path));
    closeSync(openSync(temporary, "wx", 0o600));
    build(temporary, steps);
    await link(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    if (await lost(path, error)) return;
    throw creationFailure(path, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** True when another process linked its database into place first; then that one is as good as ours. */
async function lost(path: string, error: unknown): Promise<boolean> {
  return systemCode(error) === "EEXIST" && (await exists(path));
}

/** A log without its database would be replayed into the new one (https://sqlite.org/howtocorrupt.html § 1.4). */
async function refuseOrphans(path: string): Promise<void> {
  for (const orphan of [`${path}-wal`, `${path}-journal`]) {
    const found = await lstat(orphan).catch(() => undefined);
    // Another process may have made the database since we looked for it.
    if (found === undefined || (await exists(path))) continue;
    throw unreadable(
      path,
      `it is gone, but its log ${orphan} is not`,
      "restore both from a backup, or move the log away",
    );
  }
}

function build(path: string, steps: readonly Migration[]): void {
  using database = new DatabaseSync(path);
  database.exec("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON");
  migrate(database, path, steps);
  useWriteAheadLog(database, path);
}

/**
 * Refuses what is not ours. `immutable` reads the file's pages and nothing else: no lock, no log is replayed, no file made.
 * Our mark is written before the log is first used, so it is always in the file itself. A crash can leave the file shorter than
 * its header says and the rest in the log; `writable_schema` lets us read the header of such a file all the same.
 */
function checkOwner(path: string, steps: readonly Migration[]): void {
  using database = new DatabaseSync(fileUrl(path, "immutable=1"), { readOnly: true, defensive: false });
  database.exec("PRAGMA writable_schema = ON");
  if (pragma(database, "application_id") !== applicationId) {
    throw unreadable(path, "it belongs to another program", "move it away, or use another --state-dir");
  }
  refuseNewer(database, path, steps);
}

function refuseNewer(database: DatabaseSync, path: string, steps: readonly Migration[]): void {
  const found = pragma(database, "user_version");
  const known = steps.at(-1)?.version ?? 0;
  if (found <= known) return;
  const why = `a newer version of this program wrote it (schema ${found}; this one knows ${known})`;
  throw unreadable(path, why, "update openclaw, or use another --state-dir");
}

function connect(path: string, steps: readonly Migration[]): DatabaseSync {
  const database = new DatabaseSync(fileUrl(path, "mode=rw"));
  try {
    // fullfsync: on macOS a plain fsync leaves the data in the disk's cache.
    database.exec("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA trusted_schema = OFF");
    useWriteAheadLog(database, path);
    migrate(database, path, steps);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function useWriteAheadLog(database: DatabaseSync, path: string): void {
  const [row] = database.prepare("PRAGMA journal_mode = WAL").all();
  if (row?.["journal_mode"] === "wal") return;
  throw unwritable(path, "its file system does not share memory between processes", "keep the state on a local disk");
}

function migrate(database: DatabaseSync, path: string, steps: readonly Migration[]): void {
  refuseNewer(database, path, steps);
  if (pragma(database, "user_version") === (steps.at(-1)?.version ?? 0)) return;
  database.exec("BEGIN IMMEDIATE");
  try {
    // Read again under the lock: another process may have taken the steps meanwhile.
    const from = pragma(database, "user_version");
    for (const { version, migrate: step } of steps) {
      if (version <= from) continue;
      step(database);
      database.exec(`PRAGMA user_version = ${version}`);
    }
    database.exec(`PRAGMA application_id = ${applicationId}`);
    database.exec("COMMIT");
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

/** 0600 for the database and its two companions, whatever they were made with. */
async function restrict(path: string): Promise<void> {
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    try {
      await chmod(file, 0o600);
    } catch (error) {
      if (systemCode(error) !== "ENOENT" || file === path) throw writeFailure(path, error);
    }
  }
}

function pragma(database: DatabaseSync, name: "application_id" | "user_version"): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function fileUrl(path: string, query: string): URL {
  const url = pathToFileURL(path);
  url.search = query;
  return url;
}
