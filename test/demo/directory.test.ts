/** Directories of demos that were killed are removed by the next one; no other is touched, whatever it looks like. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeDemoDirectory } from "../../src/demo/directory.ts";
import { systemRuntime } from "../../src/runtime.ts";

const usual = process.env["TMPDIR"];
let temporary: string;
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), "openclaw-tmp-"));
  process.env["TMPDIR"] = temporary;
});
afterEach(() => {
  if (usual === undefined) delete process.env["TMPDIR"];
  else process.env["TMPDIR"] = usual;
  rmSync(temporary, { recursive: true, force: true });
});

test("a directory lives as long as its owner, and is nobody else's business", async () => {
  const first = await makeDemoDirectory(systemRuntime);
  writeFileSync(join(first.path, "state"), "x");
  {
    await using second = await makeDemoDirectory(systemRuntime);
    expect(readdirSync(temporary)).toHaveLength(2);
    expect(second.path).not.toBe(first.path);
  }
  expect(readdirSync(first.path)).toContain("state");
  await first[Symbol.asyncDispose]();
  expect(readdirSync(temporary)).toEqual([]);
});

test("what a killed owner left is removed, with all that is in it", async () => {
  await using owner = await startOwner();
  mkdirSync(join(owner.path, "laptop", "state"), { recursive: true });
  writeFileSync(join(owner.path, "laptop", "state", "secret"), "x");
  {
    await using _while = await makeDemoDirectory(systemRuntime);
    expect(existsSync(join(owner.path, "laptop", "state", "secret"))).toBe(true);
  }
  await owner.kill();
  expect(existsSync(owner.path)).toBe(true);
  await using next = await makeDemoDirectory(systemRuntime);
  expect([join(temporary, readdirSync(temporary)[0] ?? "")]).toEqual([next.path]);
});

test.each<[what: string, make: (dead: string, path: string) => void]>([
  ["a directory without the mark", (_dead, path) => mkdirSync(path)],
  [
    "one with another mark",
    (dead, path) => (cpSync(dead, path, { recursive: true }), write(path, "owner.txt", "mine")),
  ],
  ["a link to a dead demo's", (dead, path) => symlinkSync(dead, path)],
  ["a file", (_dead, path) => writeFileSync(path, "x")],
])("%s stays", async (_what, make) => {
  await using owner = await startOwner();
  await owner.kill();
  const kept = join(temporary, "kept");
  cpSync(owner.path, kept, { recursive: true });
  const path = join(temporary, "openclaw-demo-aaaaaa");
  make(kept, path);
  await using _next = await makeDemoDirectory(systemRuntime);
  expect(readdirSync(temporary)).toEqual(expect.arrayContaining(["kept", "openclaw-demo-aaaaaa"]));
  expect(readdirSync(kept)).toContain("owner.txt");
  expect(existsSync(owner.path)).toBe(false);
});

/** Another process that has made a directory. */
async function startOwner() {
  const source = (name: string) => JSON.stringify(join(import.meta.dirname, "../../src", name));
  const program = `
    const { makeDemoDirectory } = await import(${source("demo/directory.ts")});
    const { systemRuntime } = await import(${source("runtime.ts")});
    console.log((await makeDemoDirectory(systemRuntime)).path);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env },
  });
  const exited = once(child, "exit");
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  const { value: path } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  return { path: String(path), kill, [Symbol.asyncDispose]: kill };
}

function write(directory: string, name: string, text: string): void {
  writeFileSync(join(directory, name), text);
}
