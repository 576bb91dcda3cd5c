import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import {
  openGatewayToken,
  openTokenKey,
  readGatewayToken,
  rotateGatewayToken,
  writeNewSecret,
} from "../../src/state/gateway-secrets.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "secrets-"));
  path = join(directory, "secret");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("a token is made once: 32 bytes of base64url, 0600", async () => {
  expect(await readGatewayToken(path)).toBeUndefined();
  const first = await openGatewayToken(path, systemRuntime);
  expect(first.isNew).toBe(true);
  expect(first.token.reveal()).toMatch(/^[\w-]{43}$/u);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const second = await openGatewayToken(path, systemRuntime);
  expect([second.isNew, second.token.reveal()]).toEqual([false, first.token.reveal()]);
});

test("whatever one line a person wrote there is the token", async () => {
  writeFileSync(path, "correct-horse\n");
  expect((await readGatewayToken(path))?.reveal()).toBe("correct-horse");
});

test("all who start at the same time get the same token and the same key", async () => {
  const tokens = await Promise.all(Array.from({ length: 8 }, () => openGatewayToken(path, systemRuntime)));
  expect(new Set(tokens.map(({ token }) => token.reveal())).size).toBe(1);
  expect(tokens.filter(({ isNew }) => isNew)).toHaveLength(1);
  const keys = await Promise.all(Array.from({ length: 8 }, () => openTokenKey(join(directory, "key"), systemRuntime)));
  expect(new Set(keys.map((key) => Buffer.from(key).toString("hex"))).size).toBe(1);
});

test("a rotated token is another one", async () => {
  const { token } = await openGatewayToken(path, systemRuntime);
  const rotated = await rotateGatewayToken(path, systemRuntime);
  expect(rotated.reveal()).not.toBe(token.reveal());
  expect((await readGatewayToken(path))?.reveal()).toBe(rotated.reveal());
});

test("the key of the device tokens is 32 bytes, and the same at every start", async () => {
  const key = await openTokenKey(path, systemRuntime);
  expect(key).toHaveLength(32);
  expect(Buffer.from(await openTokenKey(path, systemRuntime))).toEqual(Buffer.from(key));
});

test.each(["", "\n", "two words", "two\nlines\n"])("a token file with %j is left as it is", async (text) => {
  writeFileSync(path, text);
  await expect(openGatewayToken(path, systemRuntime)).rejects.toMatchObject({
    code: "state-unreadable",
    details: { path },
  });
  expect(readFileSync(path, "utf8")).toBe(text);
});

test.each(["", "short", "x".repeat(44), `${"x".repeat(42)}!`])("a key file with %j is left as it is", async (text) => {
  writeFileSync(path, text);
  await expect(openTokenKey(path, systemRuntime)).rejects.toMatchObject({
    code: "state-unreadable",
    details: { path },
  });
  expect(readFileSync(path, "utf8")).toBe(text);
});

test("a secret of this start is new at every start", async () => {
  const first = await writeNewSecret(path, systemRuntime);
  const second = await writeNewSecret(path, systemRuntime);
  expect(second.reveal()).not.toBe(first.reveal());
  expect(readFileSync(path, "utf8")).toBe(`${second.reveal()}\n`);
});
