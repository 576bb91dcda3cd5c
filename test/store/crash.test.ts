import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { linesOf, startScript } from "../support/run-script.ts";

/** Lanes side by side, each with a database that lives through all its kills. */
const lanes = 2;
const killsPerLane = 100;

test(
  `after ${lanes * killsPerLane} kills at random moments every acknowledged write is there`,
  { timeout: 300_000 },
  async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-crash-"));
    const paths = Array.from({ length: lanes }, (_, lane) => join(directory.path, `lane${lane}.db`));
    const results = await Promise.all(paths.map((path) => killAgainAndAgain(path)));
    expect(results.flatMap(({ lost }) => lost)).toEqual([]);
    expect(Math.min(...results.map(({ acknowledged }) => acknowledged))).toBeGreaterThan(killsPerLane);
  },
);

async function killAgainAndAgain(path: string): Promise<{ acknowledged: number; lost: string[] }> {
  const acknowledged = new Set<string>();
  const lost = new Set<string>();
  for (let kill = 0; kill < killsPerLane; kill++) {
    await writeUntilKilled(path, acknowledged, kill * 100_000);
    await using store = await openSqliteStore(path);
    const found = await store.all("written");
    for (const number of acknowledged) if (!found.has(`n${number}`)) lost.add(`n${number} after kill ${kill}`);
  }
  return { acknowledged: acknowledged.size, lost: [...lost] };
}

/** Kills the writer somewhere in its first writes: while it waits, writes, syncs, commits or moves its log. */
async function writeUntilKilled(path: string, acknowledged: Set<string>, from: number): Promise<void> {
  const writer = startScript("store-writer.ts", path, String(from));
  let left = 1 + Math.floor(Math.random() * 40);
  // What was printed before the kill still arrives after it, and counts.
  for await (const line of linesOf(writer)) {
    acknowledged.add(line);
    if (--left === 0) writer.kill("SIGKILL");
  }
  if (left > 0) throw new Error("the writer ended before it was killed");
}
