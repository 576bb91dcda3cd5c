import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { liveRecords, RunRecord } from "../../src/state/run-record.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "run-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const facts = { gateway: "ws://127.0.0.1:1/", state: "connecting" };

test("a record lives as long as its scope", async () => {
  {
    await using _record = await RunRecord.write(directory, "node", facts, systemRuntime);
    expect(await liveRecords(directory, "node")).toMatchObject([
      { kind: "node", pid: process.pid, ...facts, startedAtMs: expect.any(Number) },
    ]);
    expect(await liveRecords(directory, "gateway")).toEqual([]);
  }
  expect(readdirSync(directory)).toEqual([]);
});

test("a new state is in it; the last of many is the one that stays", async () => {
  await using record = await RunRecord.write(directory, "node", facts, systemRuntime);
  for (const state of ["pairing-required", undefined, "ready", "disconnected", "ready"]) record.note(state);
  await expect.poll(() => liveRecords(directory, "node"), { timeout: 30_000 }).toMatchObject([{ state: "ready" }]);
});

test("notes that are still being written do not outlive the record", async () => {
  const record = await RunRecord.write(directory, "node", facts, systemRuntime);
  for (let at = 0; at < 20; at++) record.note(`state-${at}`);
  await record[Symbol.asyncDispose]();
  expect(readdirSync(directory)).toEqual([]);
});

test("a record of a process that is gone is removed; one that cannot be read is neither live nor touched", async () => {
  const gone = spawn(process.execPath, ["-e", ""]);
  await once(gone, "exit");
  const dead = { kind: "node", pid: gone.pid, processStart: "1", startedAtMs: 1, ...facts };
  writeFileSync(join(directory, `node-${gone.pid}.json`), JSON.stringify(dead));
  writeFileSync(join(directory, "node-1.json"), "{");
  expect(await liveRecords(directory, "node")).toEqual([]);
  expect(readdirSync(directory)).toEqual(["node-1.json"]);
});

test.runIf(process.platform === "linux")(
  "a process that has got the number of another one is not taken for it",
  async () => {
    const record = await RunRecord.write(directory, "node", facts, systemRuntime);
    const [name = ""] = readdirSync(directory);
    const text = readFileSync(join(directory, name), "utf8");
    writeFileSync(join(directory, name), text.replace(/"processStart":"\d+"/u, '"processStart":"1"'));
    expect(await liveRecords(directory, "node")).toEqual([]);
    await record[Symbol.asyncDispose]();
  },
);

test("where there is no directory nothing runs", async () => {
  expect(await liveRecords(join(directory, "nowhere"), "node")).toEqual([]);
});
