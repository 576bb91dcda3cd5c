/** A keychain for real: gnome-keyring on a session bus of its own. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { Secret } from "../../src/secret.ts";
import { openIdentity, readIdentityFile } from "../../src/state/identity-file.ts";
import { OsKeychain } from "../../src/state/keychain.ts";
import { type StoreChoice } from "../../src/state/secret-store.ts";
import { TokenFile } from "../../src/state/token-memory.ts";
import { Keyring } from "../support/keyring.ts";

let keyring: Keyring;
let directory: string;
beforeAll(async () => {
  keyring = await Keyring.start();
  directory = mkdtempSync(join(tmpdir(), "keychain-"));
});
afterAll(async () => {
  await keyring[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

test("an entry is what was written last, until it is removed, which may happen twice", async () => {
  const keychain = keyring.keychain();
  expect(await keychain.read("an entry")).toBeUndefined();
  for (const text of ["first", "second 🔑\n"]) await keychain.write("an entry", new Secret(text));
  expect((await keychain.read("an entry"))?.reveal()).toBe("second 🔑\n");
  expect(await keychain.read("another")).toBeUndefined();
  for (let time = 0; time < 2; time++) await keychain.remove("an entry");
  expect(await keychain.read("an entry")).toBeUndefined();
});

test("a key and its tokens are read back from it, and no file holds them", async () => {
  const secrets = keyring.store("auto");
  const path = join(directory, "device.json");
  const tokenPath = join(directory, "device-tokens.json");
  const { deviceId } = await openIdentity(path, systemRuntime, secrets);
  expect((await readIdentityFile(path))?.store).toBe("keychain");
  const key = { gateway: "ws://127.0.0.1:1", deviceId, role: "node" };
  const places = { secrets: keyring.store(), storeForNew: async () => "keychain" as const };
  await new TokenFile(tokenPath, systemRuntime, places).remember(key, token("old-token"));
  await new TokenFile(tokenPath, systemRuntime, places).remember(key, token("new-token"));
  const fresh = new TokenFile(tokenPath, systemRuntime, { ...places, secrets: keyring.store() });
  expect((await fresh.recall(key))?.token.reveal()).toBe("new-token");
  expect((await openIdentity(path, systemRuntime, keyring.store())).deviceId).toBe(deviceId);
  const text = readFileSync(path, "utf8") + readFileSync(tokenPath, "utf8");
  expect(text).not.toMatch(/PRIVATE KEY|old-token|new-token/u);
  expect(text).not.toContain("discarded");
});

test("a locked keychain is an error that says so, and never a second key", async () => {
  const path = join(directory, "device.json");
  const before = readFileSync(path, "utf8");
  await keyring.lock();
  await expect(openIdentity(path, systemRuntime, keyring.store())).rejects.toMatchObject({
    code: "state-unreadable",
    message: expect.stringContaining("prompt was dismissed"),
    hint: expect.stringContaining("unlock"),
  });
  expect(readFileSync(path, "utf8")).toBe(before);
  await keyring.unlock();
  expect((await openIdentity(path, systemRuntime, keyring.store())).deviceId).toBe(JSON.parse(before).deviceId);
});

test("a keychain that never answers is given up at the deadline", async () => {
  keyring.freeze();
  try {
    await expect(keyring.keychain(300).read("anything")).rejects.toThrow("did not answer within 300 ms");
    const stop = new AbortController();
    const waiting = new OsKeychain({ env: keyring.env, deadlineMs: 60_000, signal: stop.signal }).read("anything");
    stop.abort();
    await expect(waiting).rejects.toThrow("without an answer");
    expect(await keyring.store("auto", 300).placement()).toMatchObject({
      store: "file",
      why: expect.stringContaining("did not answer"),
    });
  } finally {
    keyring.thaw();
  }
});

test("an entry that is gone is an error too, and nothing is made in its place", async () => {
  const path = join(directory, "lost", "device.json");
  await openIdentity(path, systemRuntime, keyring.store());
  const file = await readIdentityFile(path);
  await keyring.keychain().remove(file?.store === "keychain" ? file.entry : "");
  const before = readFileSync(path, "utf8");
  await expect(openIdentity(path, systemRuntime, keyring.store())).rejects.toMatchObject({
    code: "state-unreadable",
    message: expect.stringContaining("no entry"),
  });
  expect(readFileSync(path, "utf8")).toBe(before);
});

test.each<[choice: StoreChoice, store: string]>([
  ["auto", "keychain"],
  ["keychain", "keychain"],
  ["file", "file"],
])("where a keychain works, %s is %s", async (choice, store) => {
  expect(await keyring.store(choice).placement()).toMatchObject({ store });
});

test("where there is no session bus, nobody is asked", async () => {
  const keychain = new OsKeychain({ env: { PATH: process.env["PATH"] }, deadlineMs: 1 });
  await expect(keychain.read("anything")).rejects.toThrow("there is no D-Bus session");
});

test("a bus that is not there is a reason, not a crash", async () => {
  const env = { ...keyring.env, DBUS_SESSION_BUS_ADDRESS: `unix:path=${join(directory, "nowhere")}` };
  await expect(new OsKeychain({ env, deadlineMs: 5000 }).read("anything")).rejects.toThrow("DBus error");
});

function token(value: string) {
  return { token: new Secret(value), scopes: [], updatedAtMs: 1 };
}
