/** Files that others can read are closed to them, with a line in the log; what cannot be closed is named with the command that does it. */
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keepPrivate } from "../../src/store/private-mode.ts";
import { Secret } from "../../src/secret.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { openIdentity } from "../../src/state/identity-file.ts";
import { openGatewayToken, openTokenKey } from "../../src/state/gateway-secrets.ts";
import { TokenFile } from "../../src/state/token-memory.ts";
import { testRuntime } from "../support/world.ts";

const isRoot = process.getuid?.() === 0;

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "private mode-"));
  path = join(directory, "secret");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const modeOf = (file: string) => statSync(file).mode & 0o777;

test.each(["0644", "0640", "0604", "0660", "0602", "0777"])(
  "a file of mode %s is made 0600, said once",
  async (mode) => {
    const runtime = testRuntime();
    writeFileSync(path, "secret");
    chmodSync(path, Number.parseInt(mode, 8));
    await keepPrivate(path, runtime);
    await keepPrivate(path, runtime);
    expect(modeOf(path)).toBe(0o600);
    expect(runtime.lines.items).toEqual([
      { level: "warn", message: expect.stringContaining("chmod 600"), fields: { file: path, mode } },
    ]);
  },
);

test.each(["0600", "0400"])("a file of mode %s is nothing to talk about", async (mode) => {
  const runtime = testRuntime();
  writeFileSync(path, "secret", { mode: Number.parseInt(mode, 8) });
  await keepPrivate(path, runtime);
  expect(modeOf(path)).toBe(Number.parseInt(mode, 8));
  expect(runtime.lines.items).toEqual([]);
});

test("what is behind a link is closed; a file that is missing, or is no file, is left to who reads it", async () => {
  const runtime = testRuntime();
  writeFileSync(path, "secret", { mode: 0o644 });
  symlinkSync(path, join(directory, "link"));
  await keepPrivate(join(directory, "link"), runtime);
  expect(modeOf(path)).toBe(0o600);
  await keepPrivate(join(directory, "missing"), runtime);
  await keepPrivate(directory, runtime);
  expect(runtime.lines.items).toHaveLength(1);
});

test.runIf(isRoot)("a file of another user stays as it is, and the line says what to type, once", async () => {
  const runtime = testRuntime();
  writeFileSync(path, "secret", { mode: 0o644 });
  chownSync(path, 65_534, 65_534);
  await keepPrivate(path, runtime);
  await keepPrivate(path, runtime);
  expect(modeOf(path)).toBe(0o644);
  expect(runtime.lines.items).toMatchObject([
    { level: "warn", fields: { file: path, why: "it belongs to another user", fix: `chmod 600 '${path}'` } },
  ]);
});

type Opened = (path: string, runtime: ReturnType<typeof testRuntime>) => Promise<unknown>;

test.each<[string, Opened]>([
  ["identity", openIdentity],
  ["gateway's token", openGatewayToken],
  ["key of the device tokens", openTokenKey],
  ["file of device tokens", openTokens],
  ["database", openDatabase],
])("a %s that others could read is closed when it is opened, and keeps what it holds", async (_what, open) => {
  const runtime = testRuntime();
  const before = await open(path, runtime);
  expect(runtime.lines.items).toEqual([]);
  chmodSync(path, 0o644);
  expect(await open(path, runtime)).toEqual(isNewMarked(before));
  expect(modeOf(path)).toBe(0o600);
  expect(runtime.lines.items).toMatchObject([{ level: "warn", fields: { file: path, mode: "0644" } }]);
});

/** What is opened a second time is no longer new. */
function isNewMarked(opened: unknown): unknown {
  return typeof opened === "object" && opened !== null && "isNew" in opened ? { ...opened, isNew: false } : opened;
}

async function openTokens(file: string, runtime: ReturnType<typeof testRuntime>): Promise<unknown> {
  const tokens = new TokenFile(file, runtime);
  const known = await tokens.list();
  if (known.length > 0) return known;
  const key = { gateway: "ws://127.0.0.1:1", deviceId: "d", role: "node" };
  await tokens.remember(key, { token: new Secret("token"), scopes: [], updatedAtMs: 1 });
  return tokens.list();
}

async function openDatabase(file: string, runtime: ReturnType<typeof testRuntime>): Promise<unknown> {
  const store = await openSqliteStore(file, { runtime });
  await store.update(async (transaction) => transaction.put("devices", "a", 1));
  const all = await store.all("devices");
  await store.close();
  return all;
}
