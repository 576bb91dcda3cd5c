/** Reading another program's database: whole, also while it is open, and without leaving anything behind. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { readDatabaseCopy } from "../../src/store/database-copy.ts";
import { digestsOf } from "../support/digests.ts";

class Place implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "openclaw-copy-"));
  readonly path = join(this.directory, "theirs.sqlite");
  readonly scratchDir = join(this.directory, "ours");

  read<Result>(read: Parameters<typeof readDatabaseCopy<Result>>[1]): Promise<Result | undefined> {
    return readDatabaseCopy(this.path, read, { scratchDir: this.scratchDir, runtime: systemRuntime });
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

test.each(["wal", "delete"])("a database in %s mode is read while its owner has it open", async (mode) => {
  using place = new Place();
  using owner = new DatabaseSync(place.path);
  owner.exec(`PRAGMA journal_mode = ${mode}; CREATE TABLE "odd ""name" (a TEXT, b INTEGER) STRICT`);
  owner.exec(`INSERT INTO "odd ""name" VALUES ('x', 1), ('y', 2)`);
  const before = digestsOf(place.directory);
  expect(await place.read((ask) => ask('odd "name', { a: "y" }))).toEqual([{ a: "y", b: 2 }]);
  expect(await place.read((ask) => ask("not there"))).toEqual([]);
  expect(digestsOf(place.directory)).toEqual(before);
});

test("what its owner has not committed is not read", async () => {
  using place = new Place();
  using owner = new DatabaseSync(place.path);
  owner.exec(
    "PRAGMA journal_mode = DELETE; PRAGMA cache_spill = 1; CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('old')",
  );
  owner.exec("BEGIN IMMEDIATE; UPDATE t SET a = 'new'");
  expect(await place.read((ask) => ask("t"))).toEqual([{ a: "old" }]);
});

test("no file is no answer, and makes no directory", async () => {
  using place = new Place();
  expect(await place.read(() => "asked")).toBeUndefined();
  expect(readdirSync(place.directory)).toEqual([]);
});

test("the copy is private, and gone whatever becomes of the reading", async () => {
  using place = new Place();
  new DatabaseSync(place.path).close();
  const failing = place.read(() => {
    const [scratch = ""] = readdirSync(place.scratchDir);
    expect(statSync(place.scratchDir).mode & 0o777).toBe(0o700);
    expect(statSync(join(place.scratchDir, scratch)).mode & 0o777).toBe(0o700);
    throw new Error("no use for it");
  });
  await expect(failing).rejects.toThrow("no use for it");
  expect(readdirSync(place.scratchDir)).toEqual([]);
});

test("what is no database is named, and stays", async () => {
  using place = new Place();
  writeFileSync(place.path, "x".repeat(4096));
  await expect(place.read((ask) => ask("t"))).rejects.toMatchObject({
    code: "state-unreadable",
    details: { path: place.path },
  });
  expect(statSync(place.path).size).toBe(4096);
});
