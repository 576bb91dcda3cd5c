import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemRuntime, withLog } from "../../src/runtime.ts";
import { followEntries, lastEntries, loggedTunnels, TunnelLog, tunnelLogPath } from "../../src/state/tunnel-log.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "logs-"));
  path = tunnelLogPath(join(directory, "logs"), "me@cloud:22");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Writes numbers, and waits until they are in the file. */
async function writeNumbers(from: number, to: number, maxBytes?: number): Promise<void> {
  for (let at = from; at <= to; at++) {
    await using log = new TunnelLog(path, systemRuntime, maxBytes === undefined ? {} : { maxBytes });
    log.write("number", { at });
  }
}

const numbersOf = (entries: readonly object[]) => entries.map((entry) => ("at" in entry ? entry.at : entry));

test("entries are lines of JSON in a private file, in order, each with its time", async () => {
  {
    await using log = new TunnelLog(path, systemRuntime);
    for (let at = 0; at < 100; at++) log.write("number", { at });
  }
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual(
    Array.from({ length: 100 }, (_, at) => ({ atMs: expect.any(Number), at, event: "number" })),
  );
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await loggedTunnels(join(directory, "logs"))).toEqual(["me@cloud:22"]);
});

test("at its limit the file is put aside once, and the last entries are still told in order", async () => {
  await writeNumbers(1, 200, 1000);
  expect(statSync(path).size).toBeLessThanOrEqual(1000);
  expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(1000);
  expect(existsSync(`${path}.2`)).toBe(false);
  expect(numbersOf(await lastEntries(path, 5))).toEqual([196, 197, 198, 199, 200]);
  expect(await lastEntries(path, 0)).toEqual([]);
});

test("following tells what comes, across a change of files, and nothing twice", async () => {
  await writeNumbers(1, 3, 400);
  const stop = new AbortController();
  const seen: unknown[] = [];
  const following = (async () => {
    for await (const entry of followEntries(path, 2, systemRuntime, stop.signal)) seen.push(...numbersOf([entry]));
  })();
  await expect.poll(() => seen, { timeout: 30_000 }).toEqual([2, 3]);
  for (let next = 4; next < 24; next++) {
    await writeNumbers(next, next, 400);
    await expect.poll(() => seen.at(-1), { timeout: 30_000 }).toBe(next);
  }
  expect(seen).toEqual(Array.from({ length: 22 }, (_, at) => at + 2));
  stop.abort(new Error("enough"));
  await expect(following).rejects.toThrow("enough");
});

test("a line that is none of ours is shown as what it is", async () => {
  mkdirSync(join(directory, "logs"));
  writeFileSync(path, 'Error: out of memory\n{"event":5}\n{"event":"x"}\n');
  expect(await lastEntries(path, 10)).toEqual([
    { atMs: 0, event: "output", text: "Error: out of memory" },
    { atMs: 0, event: "output", text: '{"event":5}' },
    { atMs: 0, event: "x" },
  ]);
});

test("a log that cannot be written is told once, and stops nothing", async () => {
  writeFileSync(join(directory, "logs"), "in the way");
  const told: string[] = [];
  const runtime = withLog(systemRuntime, (level, message) => told.push(`${level}: ${message}`));
  {
    await using log = new TunnelLog(path, runtime);
    for (let at = 0; at < 10; at++) {
      log.write("number", { at });
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  expect(told).toEqual(["warn: the tunnel's log cannot be written"]);
});

test("of more entries than can wait some are forgotten, and that is told", async () => {
  {
    await using log = new TunnelLog(path, systemRuntime);
    for (let at = 0; at < 1500; at++) log.write("number", { at });
  }
  expect(await lastEntries(path, 1)).toEqual([{ atMs: expect.any(Number), event: "forgotten", entries: 500 }]);
});
