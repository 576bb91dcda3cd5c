import {
  chmod,
  copyFile,
  mkdir,
  mkdtempDisposable,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { applicationId, migrations, openDatabase } from "../../src/store/sqlite-file.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { runScript } from "../support/run-script.ts";

const scratch = () => mkdtempDisposable(join(tmpdir(), "openclaw-database-"));
const patience = { timeoutMs: 5000, runtime: systemRuntime };

test("the database and its companions are 0600 in a directory 0700, whatever they were before", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "state", "gateway.db");
  await (await openSqliteStore(path)).close();
  await chmod(path, 0o644);
  await using store = await openSqliteStore(path);
  await store.update((records) => records.put("c", "k", 1));
  expect((await stat(join(directory.path, "state"))).mode & 0o777).toBe(0o700);
  const modes = await Promise.all(
    [path, `${path}-wal`, `${path}-shm`].map(async (file) => (await stat(file)).mode & 0o777),
  );
  expect(modes).toEqual([0o600, 0o600, 0o600]);
  expect((await readdir(join(directory.path, "state"))).toSorted()).toEqual([
    "gateway.db",
    "gateway.db-shm",
    "gateway.db-wal",
  ]);
});

test("names with characters that mean something in a URL work", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "50% of a?state#1", "gateway.db");
  await (await openSqliteStore(path)).close();
  expect(await readdir(join(directory.path, "50% of a?state#1"))).toEqual(["gateway.db"]);
});

test("many that make the same new database at once all get the same one", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "state", "gateway.db");
  const stores = await Promise.all(Array.from({ length: 8 }, () => openSqliteStore(path)));
  await Promise.all(stores.map((store, index) => store.update((records) => records.put("c", `k${index}`, index))));
  for (const store of stores) expect((await store.all("c")).size).toBe(8);
  await Promise.all(stores.map((store) => store.close()));
  expect(await readdir(join(directory.path, "state"))).toEqual(["gateway.db"]);
});

async function foreignDatabase(path: string): Promise<void> {
  using database = new DatabaseSync(path);
  database.exec("CREATE TABLE accounts (name TEXT); INSERT INTO accounts VALUES ('theirs'); PRAGMA application_id = 7");
}

async function newerDatabase(path: string): Promise<void> {
  await (await openSqliteStore(path)).close();
  using database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 1000");
}

async function cutOffDatabase(path: string): Promise<void> {
  await using store = await openSqliteStore(path);
  await store.update((records) => records.put("c", "k", "x".repeat(20_000)));
  await store.close();
  await truncate(path, 8192);
}

async function crossedOutDatabase(path: string): Promise<void> {
  await (await openSqliteStore(path)).close();
  const bytes = await readFile(path);
  await writeFile(path, bytes.fill(0x58, 100, 4096));
}

test.each<[name: string, prepare: (path: string) => Promise<void>, says: string]>([
  ["an empty file", (path) => writeFile(path, ""), "too short"],
  ["a byte of something", (path) => writeFile(path, "x"), "too short"],
  ["a text", (path) => writeFile(path, "dear diary\n".repeat(500)), "not a database"],
  [
    "a text that begins like a database",
    (path) => writeFile(path, `SQLite format 3\0${"?".repeat(9000)}`),
    "not a database",
  ],
  ["the beginning of a database", (path) => writeFile(path, "SQLite format 3\0"), "too short"],
  ["a database of another program", foreignDatabase, "another program"],
  ["a database of a newer version of this one", newerDatabase, "newer version"],
  ["a database that was cut off", cutOffDatabase, "damaged"],
  ["a database with a page of nonsense", crossedOutDatabase, "damaged"],
])("%s is unreadable, is named, and stays as it is", async (_name, prepare, says) => {
  await using directory = await scratch();
  const path = join(directory.path, "gateway.db");
  await prepare(path);
  const before = await readFile(path);
  await expect(openSqliteStore(path)).rejects.toMatchObject({
    code: "state-unreadable",
    message: expect.stringContaining(says),
    hint: expect.any(String),
    details: { path },
  });
  expect(await readFile(path)).toEqual(before);
  expect(await readdir(directory.path)).toEqual(["gateway.db"]);
});

test("a directory under the database's name is unreadable", async () => {
  await using directory = await scratch();
  await expect(openSqliteStore(directory.path)).rejects.toMatchObject({ code: "state-unreadable" });
});

test("a log whose database is gone is not replayed into a new one", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "gateway.db");
  await using store = await openSqliteStore(path);
  await store.update((records) => records.put("c", "k", 1));
  await copyFile(`${path}-wal`, join(directory.path, "copy"));
  await store.close();
  await rm(path);
  await copyFile(join(directory.path, "copy"), `${path}-wal`);
  await expect(openSqliteStore(path)).rejects.toMatchObject({
    code: "state-unreadable",
    message: expect.stringContaining("gateway.db-wal"),
  });
});

test("a crash in the middle of moving the log into the file loses nothing", async () => {
  await using directory = await scratch();
  const [path, crashed] = [join(directory.path, "gateway.db"), join(directory.path, "crashed.db")];
  await using store = await openSqliteStore(path);
  for (let key = 0; key < 50; key++) await store.update((records) => records.put("c", `k${key}`, "x".repeat(1000)));
  await copyFile(`${path}-wal`, `${crashed}-wal`);
  await store.close();
  // The log is complete, the file holds its first pages in their new state and ends before the rest.
  await copyFile(path, crashed);
  await truncate(crashed, 3 * 4096);
  await using recovered = await openSqliteStore(crashed);
  expect((await recovered.all("c")).size).toBe(50);
});

test("an older database is brought up to date in its steps, and keeps its records", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "gateway.db");
  await using old = await openSqliteStore(path);
  await old.update((records) => records.put("c", "k", "kept"));
  await old.close();
  const steps = [
    ...migrations,
    {
      version: 2,
      migrate: (database: DatabaseSync) => database.exec("ALTER TABLE records ADD COLUMN changed INTEGER"),
    },
    { version: 3, migrate: (database: DatabaseSync) => database.exec("UPDATE records SET changed = 42") },
  ];
  const connections = await Promise.all([1, 2, 3].map(() => openDatabase(path, { ...patience, steps })));
  for (const connection of connections) {
    expect(connection.prepare("SELECT key, value, changed FROM records").all()).toEqual([
      { key: "k", value: '"kept"', changed: 42 },
    ]);
    expect(connection.prepare("PRAGMA user_version").get()).toEqual({ user_version: 3 });
    connection.close();
  }
  await expect(openSqliteStore(path)).rejects.toMatchObject({ message: expect.stringContaining("schema 3") });
});

test("a step that fails leaves the database at the version it had", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "gateway.db");
  await (await openSqliteStore(path)).close();
  const steps = [
    ...migrations,
    { version: 2, migrate: (database: DatabaseSync) => database.exec("DROP TABLE records; SELECT nonsense") },
  ];
  await expect(openDatabase(path, { ...patience, steps })).rejects.toThrow("nonsense");
  await using store = await openSqliteStore(path);
  expect(await store.all("c")).toEqual(new Map());
});

test("the released steps are in order and mark the file as ours", async () => {
  const versions = migrations.map((migration) => migration.version);
  expect(versions).toEqual(versions.map((_version, index) => index + 1));
  await using directory = await scratch();
  const path = join(directory.path, "gateway.db");
  const database = await openDatabase(path, patience);
  expect(database.prepare("PRAGMA application_id").get()).toEqual({ application_id: applicationId });
  expect(database.prepare("PRAGMA journal_mode").get()).toEqual({ journal_mode: "wal" });
  expect(database.prepare("PRAGMA synchronous").get()).toEqual({ synchronous: 2 });
  database.close();
});

test.runIf(process.getuid?.() === 0)("without rights every failure says so and names the file", async () => {
  await using directory = await scratch();
  const state = join(directory.path, "state");
  await mkdir(state);
  await (await openSqliteStore(join(state, "old.db"))).close();
  await writeFile(join(state, "secret"), "text", { mode: 0o600 });
  await chmod(directory.path, 0o755);
  await chmod(state, 0o755);
  expect(JSON.parse(await runScript("unprivileged.ts", state))).toEqual({
    newStore: "state-unwritable",
    oldStore: "state-unwritable",
    write: "state-unwritable",
    read: "state-unreadable",
    lock: "state-unwritable",
  });
});
