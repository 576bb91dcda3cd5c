import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { formatIdentity } from "../../src/identity/device-identity.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { openIdentity, readIdentityFile } from "../../src/state/identity-file.ts";
import {
  beginRotation,
  endRotation,
  formerIds,
  identityAt,
  type MoveState,
  nextKeyPath,
  noteGateway,
  oldKeyPath,
  readRotation,
  rotationKey,
  type RotationParts,
  switchKeys,
} from "../../src/state/key-rotation.ts";
import { fileStore } from "../../src/state/secret-store.ts";
import { FileKeychain, keychainStore } from "../support/file-keychain.ts";
import { makeIdentity } from "../support/node-host.ts";

const url = "ws://127.0.0.1:1";
let directory: string;
let parts: RotationParts;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "rotation-"));
  parts = {
    place: { identity: join(directory, "device.json"), rotation: join(directory, "rotation.json") },
    secrets: fileStore(systemRuntime),
    runtime: systemRuntime,
  };
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** What is known of tokens: which device ids this gateway has issued some to. */
const tokensOf = (...deviceIds: readonly string[]) => ({
  list: async () =>
    deviceIds.map((deviceId) => ({ gateway: url, role: "node", deviceId, digest: "sha256:00", updatedAtMs: 1 })),
});

test("the new key stands beside the present one before anybody hears of it", async () => {
  const present = await openIdentity(parts.place.identity, systemRuntime);
  const rotation = await beginRotation(parts, [url]);
  expect(rotation).toMatchObject({ previousDeviceId: present.deviceId, gateways: [{ url, state: "pending" }] });
  expect(await readRotation(parts.place)).toEqual(rotation);
  expect((await readIdentityFile(parts.place.identity))?.identity.deviceId).toBe(present.deviceId);
  expect((await rotationKey(parts, rotation, "next")).deviceId).toBe(rotation.deviceId);
  expect((await rotationKey(parts, rotation, "previous")).deviceId).toBe(present.deviceId);
});

test("switching puts the old one beside the new one, and may be done twice; ending forgets it", async () => {
  await openIdentity(parts.place.identity, systemRuntime);
  const rotation = await beginRotation(parts, []);
  for (let time = 0; time < 2; time++) {
    await switchKeys(parts.place, rotation);
    expect((await rotationKey(parts, rotation, "next")).deviceId).toBe(rotation.deviceId);
    expect((await rotationKey(parts, rotation, "previous")).deviceId).toBe(rotation.previousDeviceId);
  }
  expect(oldKeyPath(parts.place, rotation)).toMatch(/device\.\d{4}-\d{2}-\d{2}T\d{6}Z\.json$/u);
  expect(existsSync(nextKeyPath(parts.place))).toBe(false);
  await endRotation(parts, rotation);
  expect(readdirSync(directory).filter((name) => name.endsWith(".json"))).toEqual(["device.json", "former-ids.json"]);
  expect(await formerIds(parts.place)).toEqual([rotation.previousDeviceId]);
  await expect(rotationKey(parts, rotation, "previous")).rejects.toMatchObject({ code: "state-unreadable" });
});

test("keys of the keychain stay there, and leave it with their file", async () => {
  const keychainDir = join(directory, "keychain");
  parts = { ...parts, secrets: keychainStore(new FileKeychain(keychainDir)) };
  await openIdentity(parts.place.identity, systemRuntime, parts.secrets);
  const rotation = await beginRotation(parts, []);
  expect(readdirSync(keychainDir)).toHaveLength(2);
  expect(readFileSync(nextKeyPath(parts.place), "utf8")).not.toContain("PRIVATE");
  await switchKeys(parts.place, rotation);
  await endRotation(parts, rotation);
  expect(readdirSync(keychainDir)).toHaveLength(1);
  expect((await rotationKey(parts, rotation, "next")).deviceId).toBe(rotation.deviceId);
});

test("an attempt that nobody heard of leaves no key behind", async () => {
  await openIdentity(parts.place.identity, systemRuntime);
  const first = await beginRotation(parts, []);
  rmSync(parts.place.rotation);
  const second = await beginRotation(parts, []);
  expect(second.deviceId).not.toBe(first.deviceId);
  expect((await readIdentityFile(nextKeyPath(parts.place)))?.identity.deviceId).toBe(second.deviceId);
});

test("a third key that came in between is nobody's to replace", async () => {
  await openIdentity(parts.place.identity, systemRuntime);
  const rotation = await beginRotation(parts, []);
  const third = formatIdentity(makeIdentity());
  writeFileSync(parts.place.identity, third);
  await expect(switchKeys(parts.place, rotation)).rejects.toMatchObject({ code: "conflict" });
  expect(readFileSync(parts.place.identity, "utf8")).toBe(third);
});

test.each<[state: MoveState, approved: boolean, key: "previousDeviceId" | "deviceId"]>([
  ["pending", false, "previousDeviceId"],
  ["sent", false, "deviceId"],
  ["moved", false, "deviceId"],
  ["unsupported", false, "previousDeviceId"],
  ["unsupported", true, "deviceId"],
  ["approved", true, "deviceId"],
])("a gateway that is %s (new key approved: %s) is met with the key that it knows", async (state, approved, key) => {
  await openIdentity(parts.place.identity, systemRuntime);
  const begun = await beginRotation(parts, [url]);
  const rotation = await noteGateway(parts.place, begun, url, state);
  const tokens = tokensOf(rotation.previousDeviceId, ...(approved ? [rotation.deviceId] : []));
  expect((await identityAt(parts, url, tokens))?.deviceId).toBe(rotation[key]);
  await switchKeys(parts.place, rotation);
  expect((await identityAt(parts, url, tokens))?.deviceId).toBe(rotation[key]);
  expect(await identityAt(parts, "ws://127.0.0.1:2", tokens)).toBeUndefined();
});

test("a record that is something else is named and left alone", async () => {
  writeFileSync(parts.place.rotation, "{}");
  await expect(readRotation(parts.place)).rejects.toMatchObject({
    code: "state-unreadable",
    details: { path: parts.place.rotation },
  });
});
