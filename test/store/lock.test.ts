import { mkdtempDisposable, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { acquireLock, withLock } from "../../src/store/lock.ts";
import { killNow, linesOf, runScript, startScript } from "../support/run-script.ts";

const scratch = () => mkdtempDisposable(join(tmpdir(), "openclaw-lock-"));

test("a lock is free again once its action has ended, also when it fails", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "run", "lock");
  expect(await withLock(path, () => "result")).toBe("result");
  await expect(withLock(path, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await withLock(path, () => "again", { timeoutMs: 0 })).toBe("again");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test("within one process only one holds it, and a refused second one does not loosen it", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "lock");
  await using lock = await acquireLock(path);
  for (let attempt = 0; attempt < 3; attempt++) {
    await expect(acquireLock(path, { timeoutMs: 0 })).rejects.toMatchObject({
      code: "locked",
      message: `${path} is held by process ${process.pid}`,
      details: { path, pid: process.pid },
    });
  }
  await lock.release();
  await lock.release();
  await using next = await acquireLock(path, { timeoutMs: 0 });
  expect(next.path).toBe(path);
});

test("who waits gets it when it is let go", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "lock");
  const first = await acquireLock(path);
  const second = acquireLock(path, { timeoutMs: 60_000 });
  await first.release();
  await using lock = await second;
  expect(lock.path).toBe(path);
});

test("another process's lock is honoured, its owner named, and ended by its death", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "lock");
  const holder = startScript("lock-holder.ts", path);
  try {
    for await (const line of linesOf(holder)) if (line === "held") break;
    await expect(acquireLock(path, { timeoutMs: 0 })).rejects.toMatchObject({
      code: "locked",
      details: { pid: holder.pid },
    });
  } finally {
    await killNow(holder);
  }
  await using lock = await acquireLock(path, { timeoutMs: 0 });
  expect(await readFile(`${path}.owner`, "utf8")).toMatch(new RegExp(`^${process.pid} `));
  await lock.release();
});

test("a note left by a process that is gone, or whose number has passed to another, names nobody", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "lock");
  await using _lock = await acquireLock(path);
  await writeFile(`${path}.owner`, `${process.pid} 1\n`);
  await expect(acquireLock(path, { timeoutMs: 0 })).rejects.toMatchObject({
    message: `${path} is held by another process`,
    details: { path },
  });
});

test("several processes that take turns lose no update", async () => {
  await using directory = await scratch();
  const [lock, file] = [join(directory.path, "lock"), join(directory.path, "count")];
  await writeFile(file, "0");
  await Promise.all([1, 2, 3].map(() => runScript("lock-counter.ts", lock, file, "20")));
  expect(await readFile(file, "utf8")).toBe("60");
});

test("a file of somebody else under the lock's name is left alone", async () => {
  await using directory = await scratch();
  const path = join(directory.path, "lock");
  await writeFile(path, "these are my notes, and they are long enough to be looked at\n".repeat(20));
  const before = await readFile(path);
  await expect(acquireLock(path, { timeoutMs: 0 })).rejects.toMatchObject({
    code: "state-unreadable",
    details: { path },
  });
  expect(await readFile(path)).toEqual(before);
});
