import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { acceptedTrust, acceptFirst, acceptInstead } from "../../src/state/tls-pins.ts";

const runtime = { ...systemRuntime, now: () => 1_700_000_000_000 };
const [one, two] = ["ab".repeat(32), "cd".repeat(32)];
const unknown = (fingerprint: string) => ({ fingerprint, isTrusted: false });
const gateway = "wss://gw.example.test:443";

async function withFile(action: (path: string) => Promise<void>): Promise<void> {
  await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-pins-"));
  await action(join(directory.path, "toolkit", "tls-pins.json"));
}

test("what is seen first at an origin holds there, and nowhere else", () =>
  withFile(async (path) => {
    expect(await acceptedTrust(path, gateway)).toBeUndefined();
    expect(await acceptFirst(path, gateway, unknown(one), runtime)).toBe(one);
    expect(await acceptFirst(path, gateway, unknown(two), runtime)).toBe(one);
    expect(await acceptFirst(path, "wss://gw.example.test:8443", unknown(two), runtime)).toBe(two);
    expect(await acceptedTrust(path, gateway)).toEqual({ fingerprint: one, acceptedAtMs: runtime.now() });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ version: 1, gateways: { [gateway]: {} } });
  }));

test("of several that come at once one holds", () =>
  withFile(async (path) => {
    const many = Array.from({ length: 8 }, (_, at) => at.toString(16).repeat(64));
    const held = await Promise.all(many.map((pin) => acceptFirst(path, gateway, unknown(pin), runtime)));
    expect(new Set(held).size).toBe(1);
  }));

test("where an authority vouched for the first one, authorities decide ever after", () =>
  withFile(async (path) => {
    expect(await acceptFirst(path, gateway, { fingerprint: one, isTrusted: true }, runtime)).toBeUndefined();
    expect(await acceptFirst(path, gateway, unknown(two), runtime)).toBeUndefined();
    expect(await acceptedTrust(path, gateway)).toEqual({ acceptedAtMs: runtime.now() });
  }));

test("what a person has named takes the place of what was there", () =>
  withFile(async (path) => {
    await acceptFirst(path, gateway, unknown(one), runtime);
    expect(await acceptInstead(path, gateway, unknown(two), runtime)).toBe(two);
    expect(await acceptInstead(path, gateway, { fingerprint: two, isTrusted: true }, runtime)).toBe(two);
    expect(await acceptedTrust(path, gateway)).toMatchObject({ fingerprint: two });
  }));

test.each([
  "",
  "{}",
  "null",
  '{"version":2,"gateways":{}}',
  '{"version":1,"gateways":{"wss://x:1":{"fingerprint":"ab","acceptedAtMs":1}}}',
  '{"version":1,"gateways":{"wss://x:1":{"fingerprint":""}}}',
])("a file with %j in it is an error, and stays", (text) =>
  withFile(async (path) => {
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, text);
    await expect(acceptedTrust(path, gateway)).rejects.toMatchObject({ code: "state-unreadable", details: { path } });
    await expect(acceptFirst(path, gateway, unknown(one), runtime)).rejects.toMatchObject({ code: "state-unreadable" });
    expect(readFileSync(path, "utf8")).toBe(text);
  }),
);
