/**
 * Reading a database of another program, which may be running: from a copy in a private directory, because even a read-only connection
 * writes beside a database with a log, into its index or a new one (https://sqlite.org/wal.html § 5).
 */
import { copyFile, mkdtemp, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { isFailure, OpenClawError, systemCode } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { makePrivateDirectory } from "./private-directory.ts";
import { databaseFailure } from "./sqlite-failure.ts";
import { readFailure, writeFailure } from "./state-failure.ts";

/** Asks the database: the rows of a statement, none where a table of the statement does not exist. */
export type Ask = (
  table: string,
  where?: Readonly<Record<string, string>>,
) => readonly Readonly<Record<string, unknown>>[];

export interface CopyOptions {
  /** Where the copy lives while it is read; made 0700 when it is missing. */
  readonly scratchDir: string;
  readonly runtime: Runtime;
}

/** A database, its log, and the journal that older modes keep instead of a log. */
const suffixes = ["", "-wal", "-journal"];

/** A program that writes without a pause as long as the copying takes is busy with something that will end. */
const maxAttempts = 20;

/**
 * What `read` finds in the database at `path`; undefined when there is no such file. What is no database, or cannot be read, is
 * `state-unreadable`; one that changes faster than it can be copied is `locked`.
 */
export async function readDatabaseCopy<Result>(
  path: string,
  read: (ask: Ask) => Result,
  { scratchDir, runtime }: CopyOptions,
): Promise<Result | undefined> {
  if ((await signatureOf(path)) === undefined) return undefined;
  const scratch = await makeScratch(scratchDir);
  try {
    const copy = join(scratch, basename(path));
    await copyWhole(path, copy, runtime);
    using database = new DatabaseSync(copy);
    database.exec("PRAGMA trusted_schema = OFF");
    return read((table, where) => rowsOf(database, table, where));
  } catch (error) {
    throw isFailure(error) ? error : databaseFailure(path, error);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Copies until nothing changed meanwhile: the files belong together only as they were at one moment. */
async function copyWhole(path: string, copy: string, runtime: Runtime): Promise<void> {
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    const before = await signaturesOf(path);
    for (const suffix of suffixes) await copyIfThere(`${path}${suffix}`, `${copy}${suffix}`);
    if ((await signaturesOf(path)) === before) return;
    await runtime.sleep(attempt * 10);
  }
  throw new OpenClawError("locked", `${path} is being written all the time`, {
    hint: "wait until the program that writes it is done, or stop it",
    details: { path },
  });
}

async function copyIfThere(from: string, to: string): Promise<void> {
  await rm(to, { force: true });
  try {
    await copyFile(from, to);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw readFailure(from, error);
  }
}

async function signaturesOf(path: string): Promise<string> {
  const signatures = await Promise.all(suffixes.map((suffix) => signatureOf(`${path}${suffix}`)));
  return signatures.join();
}

/** What changes with every write to a file; undefined where there is no file. */
async function signatureOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true });
    return `${ino}:${size}:${mtimeNs}`;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw readFailure(path, error);
  }
}

async function makeScratch(scratchDir: string): Promise<string> {
  try {
    await makePrivateDirectory(scratchDir);
    return await mkdtemp(join(scratchDir, ".copy-")); // 0700, mkdtemp(3)
  } catch (error) {
    throw writeFailure(scratchDir, error);
  }
}

function rowsOf(
  database: DatabaseSync,
  table: string,
  where: Readonly<Record<string, string>> = {},
): readonly Readonly<Record<string, unknown>>[] {
  const isThere = database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(table);
  if (isThere === undefined) return [];
  const conditions = Object.keys(where).map((column) => ` AND ${quoted(column)} = ?`);
  return database
    .prepare(`SELECT * FROM ${quoted(table)} WHERE TRUE${conditions.join("")}`)
    .all(...Object.values(where));
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
