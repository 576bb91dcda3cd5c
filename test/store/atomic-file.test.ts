import { execFile } from "node:child_process";
import {
  lstat,
  mkdir,
  mkdtempDisposable,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readTextFile, writeTextFile } from "../../src/store/atomic-file.ts";

const scratch = () => mkdtempDisposable(join(tmpdir(), "openclaw-file-"));

describe("reading", () => {
  test("a file that is not there is undefined", async () => {
    await using directory = await scratch();
    expect(await readTextFile(join(directory.path, "none"))).toBeUndefined();
    expect(await readTextFile(join(directory.path, "no-directory", "none"))).toBeUndefined();
  });

  test("any text comes back as it was written", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "file");
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme" }), async (text) => {
        await writeTextFile(path, text);
        expect(await readTextFile(path)).toBe(text);
      }),
      { numRuns: 30 },
    );
  });

  test("a byte order mark is part of the text", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "file");
    await writeFile(path, "\uFEFF{}");
    expect(await readTextFile(path)).toBe("\uFEFF{}");
  });

  test.each<[name: string, prepare: (path: string) => Promise<unknown>, says: string]>([
    ["a directory", (path) => mkdir(path), "regular file"],
    ["a named pipe, without waiting for its writer", (path) => promisify(execFile)("mkfifo", [path]), "regular file"],
    ["bytes that are not UTF-8", (path) => writeFile(path, Buffer.from([0x7b, 0xff, 0xfe])), "UTF-8"],
    ["a circle of links", (path) => symlink(path, path), "circle"],
  ])("%s is unreadable, and the error names the file", async (_name, prepare, says) => {
    await using directory = await scratch();
    const path = join(directory.path, "file");
    await prepare(path);
    await expect(readTextFile(path)).rejects.toMatchObject({
      code: "state-unreadable",
      message: expect.stringMatching(new RegExp(`${path}.*${says}`)),
      details: { path },
    });
  });

  test("a path through a file is unreadable, not absent", async () => {
    await using directory = await scratch();
    await writeFile(join(directory.path, "file"), "");
    const path = join(directory.path, "file", "below");
    await expect(readTextFile(path)).rejects.toMatchObject({ code: "state-unreadable", details: { path } });
  });

  test("a file may have its limit in bytes, and not one more", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "file");
    await writeFile(path, "x".repeat(10));
    expect(await readTextFile(path, { maxBytes: 11 })).toHaveLength(10);
    expect(await readTextFile(path, { maxBytes: 10 })).toHaveLength(10);
    await expect(readTextFile(path, { maxBytes: 9 })).rejects.toMatchObject({ code: "state-unreadable" });
  });
});

describe("writing", () => {
  test("makes a file 0600 in directories 0700, whatever the umask", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "a", "b", "file");
    await writeTextFile(path, "text");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(directory.path, "a"))).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory.path, "a", "b"))).mode & 0o777).toBe(0o700);
  });

  test("tightens a file that others could read", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "file");
    await writeFile(path, "old", { mode: 0o644 });
    await writeTextFile(path, "new");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test("takes another mode when told", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "script");
    await writeTextFile(path, "#!/bin/sh\n", { mode: 0o755 });
    expect((await stat(path)).mode & 0o777).toBe(0o755);
  });

  test("replaces what a symbolic link points to and leaves the link", async () => {
    await using directory = await scratch();
    await mkdir(join(directory.path, "real"));
    await writeFile(join(directory.path, "real", "file"), "old");
    await symlink(join("real", "file"), join(directory.path, "link"));
    await writeTextFile(join(directory.path, "link"), "new");
    expect(await readlink(join(directory.path, "link"))).toBe(join("real", "file"));
    expect(await readFile(join(directory.path, "real", "file"), "utf8")).toBe("new");
  });

  test("follows a link whose target is still missing", async () => {
    await using directory = await scratch();
    await symlink(join("later", "file"), join(directory.path, "link"));
    await writeTextFile(join(directory.path, "link"), "new");
    expect((await lstat(join(directory.path, "link"))).isSymbolicLink()).toBe(true);
    expect(await readFile(join(directory.path, "later", "file"), "utf8")).toBe("new");
  });

  test("readers see one whole text or another, never a part", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "file");
    const texts = ["a", "b"].map((letter) => letter.repeat(200_000));
    await writeTextFile(path, texts[0] ?? "");
    let writing = true;
    const writer = (async () => {
      for (let round = 0; round < 40; round++) await writeTextFile(path, texts[round % 2] ?? "");
      writing = false;
    })();
    while (writing) expect(texts).toContain(await readTextFile(path));
    await writer;
  });

  test.each<[name: string, prepare: (path: string) => Promise<unknown>]>([
    ["the target is a directory", (path) => mkdir(path)],
    ["the target is a circle of links", (path) => symlink(path, path)],
  ])("when %s it is unwritable and nothing is left behind", async (_name, prepare) => {
    await using directory = await scratch();
    const path = join(directory.path, "file");
    await prepare(path);
    await expect(writeTextFile(path, "text")).rejects.toMatchObject({ code: "state-unwritable", details: { path } });
    expect(await readdir(directory.path)).toEqual(["file"]);
  });

  test("a path through a file is unwritable, and that file stays", async () => {
    await using directory = await scratch();
    await writeFile(join(directory.path, "file"), "mine");
    await expect(writeTextFile(join(directory.path, "file", "below"), "text")).rejects.toMatchObject({
      code: "state-unwritable",
      message: expect.stringContaining("is not a directory"),
    });
    expect(await readFile(join(directory.path, "file"), "utf8")).toBe("mine");
  });
});
