import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { Secret } from "../../src/secret.ts";
import { openIdentity, readIdentity, readIdentityFile } from "../../src/state/identity-file.ts";
import { moveSecrets } from "../../src/state/move-secrets.ts";
import { fileStore, type SecretStore, type StoreName } from "../../src/state/secret-store.ts";
import { TokenFile } from "../../src/state/token-memory.ts";
import { FileKeychain, keychainStore } from "../support/file-keychain.ts";
import { startScript } from "../support/run-script.ts";

let directory: string;
let identityPath: string;
let tokenPath: string;
let keychainDir: string;
let secrets: SecretStore;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "move-"));
  identityPath = join(directory, "device.json");
  tokenPath = join(directory, "device-tokens.json");
  keychainDir = join(directory, "keychain");
  secrets = keychainStore(new FileKeychain(keychainDir));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const key = { gateway: "ws://127.0.0.1:18789", deviceId: "d", role: "node" };
const token = { token: new Secret("present"), previous: new Secret("before"), scopes: [], updatedAtMs: 1 };

function tokensIn(store: StoreName): TokenFile {
  return new TokenFile(tokenPath, systemRuntime, { secrets, storeForNew: async () => store });
}

/** A machine whose key and tokens are in this store; returns its device id. */
async function fill(store: StoreName): Promise<string> {
  const { deviceId } = await openIdentity(
    identityPath,
    systemRuntime,
    store === "file" ? fileStore(systemRuntime) : secrets,
  );
  await tokensIn(store).remember(key, token);
  return deviceId;
}

/** What must be there whatever happened. */
async function assertNothingLost(deviceId: string): Promise<void> {
  const fresh = keychainStore(new FileKeychain(keychainDir));
  expect((await readIdentity(identityPath, fresh))?.deviceId).toBe(deviceId);
  const tokens = new TokenFile(tokenPath, systemRuntime, { secrets: fresh, storeForNew: async () => "file" });
  const recalled = await tokens.recall(key);
  expect([recalled?.token.reveal(), recalled?.previous?.reveal()]).toEqual(["present", "before"]);
}

/** What the keychain holds of ours. A trial of it that was cut short is no secret. */
function entries(): readonly string[] {
  const names = existsSync(keychainDir) ? readdirSync(keychainDir) : [];
  return names.filter((name) => !name.startsWith("probe"));
}

test.each<[to: StoreName, from: StoreName]>([
  ["keychain", "file"],
  ["file", "keychain"],
])("to the %s: all of it, and nothing stays behind", async (to, from) => {
  const deviceId = await fill(from);
  const move = () => moveSecrets({ identityPath, tokens: tokensIn(from), secrets, to, runtime: systemRuntime });
  expect(await move()).toEqual({ deviceId, from, to, tokens: 1 });
  await assertNothingLost(deviceId);
  expect((await readIdentityFile(identityPath))?.store).toBe(to);
  expect(entries()).toHaveLength(to === "keychain" ? 3 : 0);
  const files = readFileSync(identityPath, "utf8") + readFileSync(tokenPath, "utf8");
  for (const secret of ["PRIVATE KEY", '"present"', '"before"']) expect(files.includes(secret)).toBe(to === "file");
  expect(files).not.toMatch(/copyIn|discarded/u);
  expect(await move()).toEqual({ deviceId, from: to, to, tokens: 0 });
});

test.each<[to: StoreName, from: StoreName]>([
  ["keychain", "file"],
  ["file", "keychain"],
])(
  "to the %s, killed at every moment: nothing is lost, and the next run does the rest",
  async (to, from) => {
    await fill(from);
    const moments = await moveAndDie(to, "never");
    expect(moments).toBeGreaterThan(8);
    for (let moment = 1; moment <= Number(moments); moment++) {
      for (const path of [identityPath, tokenPath, keychainDir]) rmSync(path, { recursive: true, force: true });
      const deviceId = await fill(from);
      expect(await moveAndDie(to, moment)).toBe("killed");
      await assertNothingLost(deviceId);
      await moveAndDie(to, "never");
      await assertNothingLost(deviceId);
      expect((await readIdentityFile(identityPath))?.store).toBe(to);
      expect(await tokensIn(to).count()).toEqual({ file: 0, keychain: 0, [to]: 1 });
      expect(entries(), `after moment ${moment}`).toHaveLength(to === "keychain" ? 3 : 0);
    }
  },
  60_000,
);

/** Moves, and is killed at this moment; otherwise resolves with how many there were. */
async function moveAndDie(to: StoreName, moment: number | "never"): Promise<number | "killed"> {
  const child = startScript("secret-mover.ts", identityPath, tokenPath, keychainDir, to, String(moment));
  const [printed, [code, signal]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  if (signal === "SIGKILL") return "killed";
  if (code !== 0) throw new Error(`ended with ${String(code)}`);
  return Number(printed);
}

test("whoever is stopped on the way to the keychain and stays with the file leaves no key behind", async () => {
  const deviceId = await fill("file");
  expect(await moveAndDie("keychain", 8)).toBe("killed");
  expect(entries()).toHaveLength(1);
  await moveAndDie("file", "never");
  await assertNothingLost(deviceId);
  expect(entries()).toEqual([]);
});

test("what cannot be moved stays where it is", async () => {
  const deviceId = await fill("file");
  const locked = keychainStore({
    read: () => Promise.reject(new Error("it is locked")),
    write: () => Promise.reject(new Error("it is locked")),
    remove: () => Promise.reject(new Error("it is locked")),
  });
  const tokens = new TokenFile(tokenPath, systemRuntime, { secrets: locked, storeForNew: async () => "file" });
  const before = readFileSync(identityPath, "utf8");
  await expect(
    moveSecrets({ identityPath, tokens, secrets: locked, to: "keychain", runtime: systemRuntime }),
  ).rejects.toMatchObject({ code: "state-unwritable", message: expect.stringContaining("it is locked") });
  expect(readFileSync(identityPath, "utf8")).toBe(before);
  await assertNothingLost(deviceId);
});

test("a keychain that gives back something else is not trusted with the only copy", async () => {
  const deviceId = await fill("file");
  const forgetful = keychainStore({
    read: async () => new Secret("something else"),
    write: async () => {},
    remove: async () => {},
  });
  await expect(
    moveSecrets({ identityPath, tokens: tokensIn("file"), secrets: forgetful, to: "keychain", runtime: systemRuntime }),
  ).rejects.toMatchObject({ code: "state-unwritable" });
  await assertNothingLost(deviceId);
});

test("without an identity there is nothing to move", async () => {
  await expect(
    moveSecrets({ identityPath, tokens: tokensIn("file"), secrets, to: "keychain", runtime: systemRuntime }),
  ).rejects.toMatchObject({ code: "not-found" });
});
