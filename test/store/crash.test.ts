import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { killNow, linesOf, startScript } from "../support/run-script.ts";

/** Lanes side by side, each with a database that lives through all its kills. */
const lanes = 2;
const killsPerLane = 100;

test(
  `after ${lanes * killsPerLane} kills at random moments every acknowledged write is there`,
  { timeout: 300_000 },
  async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-crash-"));
    await Promise.all(
      Array.from({ length: lanes }, (_, lane) => killAgainAndAgain(join(directory.path, `lane${lane}.db`))),
    );
  },
);

async function killAgainAndAgain(path: string): Promise<void> {
  const acknowledged = new Set<string>();
  for (let kill = 0; kill < killsPerLane; kill++) {
    await writeUntilKilled(path, acknowledged, kill * 100_000);
    await using store = await openSqliteStore(path);
    const found = await store.all("written");
    expect([...acknowledged].filter((number) => !found.has(`n${number}`))).toEqual([]);
  }
  expect(acknowledged.size).toBeGreaterThan(killsPerLane);
}

/** Kills the writer somewhere in its first writes: while it waits, writes, syncs, commits or moves its log. */
async function writeUntilKilled(path: string, acknowledged: Set<string>, from: number): Promise<void> {
  const writer = startScript("store-writer.ts", path, String(from));
  let left = 1 + Math.floor(Math.random() * 40);
  // What was printed before the kill still arrives after it, and counts.
  for await (const line of linesOf(writer)) {
    acknowledged.add(line);
    if (left-- === 0) void killNow(writer);
  }
}
