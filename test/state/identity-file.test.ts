import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { createIdentityFile, openIdentity, readIdentityFile } from "../../src/state/identity-file.ts";
import { openNodeId } from "../../src/state/node-file.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "state-"));
  path = join(directory, "deep", "identity", "device.json");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("reading makes nothing", async () => {
  expect(await readIdentityFile(path)).toBeUndefined();
  expect(() => statSync(dirname(path))).toThrow("ENOENT");
});

test("the first one to ask makes it, 0600 in a 0700 directory; everybody after gets the same", async () => {
  const made = await openIdentity(path, systemRuntime);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
  expect((await openIdentity(path, systemRuntime)).deviceId).toBe(made.deviceId);
  expect((await readIdentityFile(path))?.identity.deviceId).toBe(made.deviceId);
});

test("all who ask at the same time get the same one", async () => {
  const opened = await Promise.all(Array.from({ length: 12 }, () => openIdentity(path, systemRuntime)));
  expect(new Set(opened.map(({ deviceId }) => deviceId)).size).toBe(1);
  const ids = await Promise.all(
    Array.from({ length: 12 }, () => openNodeId(join(directory, "node.json"), systemRuntime)),
  );
  expect(new Set(ids).size).toBe(1);
});

test("creating where there is one is a conflict, and the file stays", async () => {
  const { deviceId } = await createIdentityFile(path, systemRuntime);
  const before = readFileSync(path);
  await expect(createIdentityFile(path, systemRuntime)).rejects.toMatchObject({
    code: "conflict",
    details: { deviceId },
  });
  expect(readFileSync(path)).toEqual(before);
});

test("a file that is no identity is never replaced", async () => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "{}");
  for (const attempt of [
    () => readIdentityFile(path),
    () => openIdentity(path, systemRuntime),
    () => createIdentityFile(path, systemRuntime),
  ]) {
    await expect(attempt()).rejects.toMatchObject({ code: "state-unreadable" });
  }
  expect(readFileSync(path, "utf8")).toBe("{}");
});
