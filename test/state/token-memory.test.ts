import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { digest, Secret } from "../../src/secret.ts";
import { TokenFile } from "../../src/state/token-memory.ts";

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
