import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { digest, Secret } from "../../src/secret.ts";
import type { Keychain } from "../../src/state/keychain.ts";
import { TokenFile } from "../../src/state/token-memory.ts";
import { FileKeychain, keychainStore } from "../support/file-keychain.ts";

let directory: string;
let path: string;
let tokens: TokenFile;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "tokens-"));
  path = join(directory, "device-tokens.json");
  tokens = new TokenFile(path, systemRuntime);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const key = { gateway: "ws://127.0.0.1:18789", deviceId: "d", role: "node" };
const token = (value: string) => ({ token: new Secret(value), scopes: ["operator.read"], updatedAtMs: 1 });

test("nothing is remembered where nothing was told", async () => {
  expect(await tokens.recall(key)).toBeUndefined();
  expect(await tokens.list()).toEqual([]);
});

test("a token is for its gateway, device and role only", async () => {
  await tokens.remember(key, token("secret"));
  const { token: recalled, ...rest } = (await tokens.recall(key)) ?? { token: new Secret("") };
  expect([recalled.reveal(), rest]).toEqual(["secret", { scopes: ["operator.read"], updatedAtMs: 1 }]);
  for (const other of [
    { ...key, gateway: "ws://127.0.0.1:18790" },
    { ...key, deviceId: "e" },
    { ...key, role: "operator" },
  ]) {
    expect(await tokens.recall(other)).toBeUndefined();
  }
});

test("the file is for its owner alone, and the list has digests", async () => {
  await tokens.remember(key, token("secret"));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await tokens.list()).toEqual([{ ...key, digest: digest("secret"), updatedAtMs: 1 }]);
});

test("the token before an unproven one is kept beside it, and gone with the first word that does not name it", async () => {
  await tokens.remember(key, { ...token("new"), previous: new Secret("old") });
  expect((await tokens.recall(key))?.previous?.reveal()).toBe("old");
  expect(await tokens.list()).toEqual([{ ...key, digest: digest("new"), updatedAtMs: 1 }]);
  await tokens.remember(key, token("new"));
  expect(await tokens.recall(key)).not.toHaveProperty("previous");
  expect(readFileSync(path, "utf8")).not.toContain("old");
});

test("the last word counts, and forgetting is final", async () => {
  await tokens.remember(key, token("first"));
  await tokens.remember(key, token("second"));
  expect((await tokens.recall(key))?.token.reveal()).toBe("second");
  await tokens.forget(key);
  expect(await tokens.recall(key)).toBeUndefined();
  expect(readFileSync(path, "utf8")).not.toContain("second");
});

test("writers at the same time do not lose each other's tokens", async () => {
  const roles = Array.from({ length: 12 }, (_, at) => `role-${at}`);
  await Promise.all(roles.map((role) => new TokenFile(path, systemRuntime).remember({ ...key, role }, token(role))));
  const kept = await tokens.list();
  expect(kept.map(({ role }) => role).toSorted()).toEqual(roles.toSorted());
});

describe("in the keychain", () => {
  let keychainDir: string;
  let kept: TokenFile;
  beforeEach(() => {
    keychainDir = join(directory, "keychain");
    kept = inKeychain(new FileKeychain(keychainDir));
  });

  const inKeychain = (keychain: Keychain) =>
    new TokenFile(path, systemRuntime, { secrets: keychainStore(keychain), storeForNew: async () => "keychain" });

  test("a token is there and not in the file, which has its digest", async () => {
    await kept.remember(key, token("secret"));
    expect(readFileSync(path, "utf8")).not.toContain('"secret"');
    expect(await kept.list()).toEqual([{ ...key, digest: digest("secret"), updatedAtMs: 1 }]);
    expect((await inKeychain(new FileKeychain(keychainDir)).recall(key))?.token.reveal()).toBe("secret");
    expect(await kept.count()).toEqual({ keychain: 1, file: 0 });
  });

  test("of two generations both are there; of what was replaced or forgotten nothing stays", async () => {
    await kept.remember(key, token("first"));
    await kept.remember(key, { ...token("second"), previous: new Secret("first") });
    expect(readdirSync(keychainDir)).toHaveLength(2);
    expect((await kept.recall(key))?.previous?.reveal()).toBe("first");
    await kept.remember(key, token("second"));
    expect(readdirSync(keychainDir)).toHaveLength(1);
    await kept.forget(key);
    expect(readdirSync(keychainDir)).toEqual([]);
  });

  test("an old token that cannot be removed now is removed by a later change", async () => {
    await kept.remember(key, token("first"));
    const keychain = new FileKeychain(keychainDir);
    const stuck = inKeychain({
      read: (account) => keychain.read(account),
      write: (account, secret) => keychain.write(account, secret),
      remove: () => Promise.reject(new Error("not now")),
    });
    await stuck.remember(key, token("second"));
    expect(readdirSync(keychainDir)).toHaveLength(2);
    await kept.remember({ ...key, role: "operator" }, token("other"));
    expect(readdirSync(keychainDir)).toHaveLength(2);
    expect((await kept.recall(key))?.token.reveal()).toBe("second");
  });

  test("what is in the file already stays there and counts", async () => {
    await tokens.remember(key, token("secret"));
    await kept.remember({ ...key, role: "operator" }, token("other"));
    expect((await kept.recall(key))?.token.reveal()).toBe("secret");
    expect(await kept.count()).toEqual({ keychain: 1, file: 1 });
  });

  test("who cannot open the keychain is told, and nothing changes", async () => {
    await kept.remember(key, token("secret"));
    const before = readFileSync(path, "utf8");
    const locked = () => Promise.reject(new Error("it is locked"));
    const stranger = inKeychain({ read: locked, write: locked, remove: locked });
    await expect(stranger.recall(key)).rejects.toMatchObject({ code: "state-unreadable" });
    await expect(stranger.remember(key, token("new"))).rejects.toMatchObject({ code: "state-unwritable" });
    expect(readFileSync(path, "utf8")).toBe(before);
  });
});

test("a token that another process moves while it is being read is found where it went", async () => {
  const keychain = new FileKeychain(join(directory, "keychain"));
  const inKeychain = { secrets: keychainStore(keychain), storeForNew: async () => "keychain" as const };
  await new TokenFile(path, systemRuntime, inKeychain).remember(key, token("secret"));
  const mover = new TokenFile(path, systemRuntime, { ...inKeychain, secrets: keychainStore(keychain) });
  const reader = new TokenFile(path, systemRuntime, {
    ...inKeychain,
    secrets: keychainStore({
      read: async (account) => {
        await mover.move("file");
        return keychain.read(account);
      },
      write: (account, secret) => keychain.write(account, secret),
      remove: (account) => keychain.remove(account),
    }),
  });
  expect((await reader.recall(key))?.token.reveal()).toBe("secret");
});
