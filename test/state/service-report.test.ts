import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { readReport, ServiceReport } from "../../src/state/service-report.ts";

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), "report-"))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("a report says what was noted last, and when its process began", async () => {
  const path = join(directory, "services", "node.json");
  const report = await ServiceReport.begin(path, { ...systemRuntime, now: () => 17 });
  await report.written();
  expect(await readReport(path)).toMatchObject({ pid: process.pid, state: "starting", startedAtMs: 17 });
  report.note({ state: "ready", gateway: "ws://127.0.0.1:1/" });
  report.note({ state: "failed", failure: { exitCode: 4, code: "token-mismatch", message: "the token is not it" } });
  await report.written();
  expect(await readReport(path)).toMatchObject({
    state: "failed",
    gateway: "ws://127.0.0.1:1/",
    failure: { exitCode: 4, code: "token-mismatch" },
  });
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("a report that cannot be written stops nothing, and a file that is none is no news", async () => {
  const path = join(directory, "node.json");
  writeFileSync(path, "{}");
  const report = await ServiceReport.begin(join(path, "below-a-file.json"), systemRuntime);
  report.note({ state: "ready" });
  await report.written();
  for (const text of ["{}", "", "not json", '{"version":2}']) {
    writeFileSync(path, text);
    expect(await readReport(path)).toBeUndefined();
    expect(readFileSync(path, "utf8")).toBe(text);
  }
  expect(await readReport(join(directory, "missing.json"))).toBeUndefined();
});
