import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { createIdentity, formatIdentity } from "../../src/identity/device-identity.ts";
import { fingerprint } from "../../src/identity/fingerprint.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { CliHome } from "../support/run-cli.ts";
import { textAt } from "../support/raw-client.ts";

const ownFile = ".openclaw/toolkit/identity/device.json";
const productFile = ".openclaw/identity/device.json";

test("create makes one, 0600, once, and show prints its public parts", async () => {
  using home = new CliHome();
  const created = await home.run("identity create --json");
  const deviceId = textAt(created.json, "deviceId");
  const path = home.path(ownFile);
  expect(created).toMatchObject({
    code: 0,
    json: {
      ok: true,
      deviceId,
      fingerprint: fingerprint(deviceId),
      publicKey: expect.any(String),
      createdAtMs: expect.any(Number),
      path,
      secretStore: { store: "file", why: expect.stringContaining("no keychain can be used") },
    },
  });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await home.run("identity show --json")).toMatchObject({
    code: 0,
    json: { ...Object(created.json), secretStore: { store: "file", why: expect.stringContaining("identity move") } },
  });
  const text = readFileSync(path, "utf8");
  expect(await home.run("identity create --json")).toMatchObject({
    code: 9,
    json: { error: { code: "conflict", details: { deviceId } } },
  });
  expect(readFileSync(path, "utf8")).toBe(text);
});

test("show keeps the private key to itself, unless it is asked for", async () => {
  using home = new CliHome();
  await home.run("identity create");
  for (const line of ["identity show", "identity show --json", "identity list --json", "identity list"]) {
    expect((await home.run(line)).stdout).not.toContain("PRIVATE");
  }
  const { json, stdout } = await home.run("identity show --show --json");
  expect(json).toMatchObject({ identity: { version: 1, privateKeyPem: expect.stringContaining("PRIVATE KEY") } });
  expect(stdout).toContain("PRIVATE KEY");
  expect((await home.run("identity show --show")).stdout).toContain("PRIVATE KEY");
});

test("people read the id in full", async () => {
  using home = new CliHome();
  const { stdout } = await home.run("identity create");
  expect(stdout).toMatch(/^Created device [0-9a-f]{64}\n$/u);
  expect((await home.run("identity show")).stdout).toMatch(/^device id {4}[0-9a-f]{64}\nfingerprint {2}/u);
});

test("looking makes none", async () => {
  using home = new CliHome();
  expect(await home.run("identity list --json")).toMatchObject({ code: 0, json: { ok: true, identities: [] } });
  expect(await home.run("identity list")).toMatchObject({
    code: 0,
    stdout: "No identity yet (openclaw identity create).\n",
  });
  expect(await home.run("identity show --json")).toMatchObject({ code: 9, json: { error: { code: "not-found" } } });
});

test("the product's identity is listed beside ours, and one that cannot be read is a row that says so", async () => {
  using home = new CliHome();
  const product = createIdentity(systemRuntime.random(32), 1);
  mkdirSync(dirname(home.path(productFile)), { recursive: true });
  writeFileSync(home.path(productFile), formatIdentity(product));
  await home.run("identity create");
  expect(await home.run("identity list --json")).toMatchObject({
    code: 0,
    json: {
      identities: [
        { source: "toolkit", inUse: true, path: home.path(ownFile) },
        { source: "openclaw", inUse: false, deviceId: product.deviceId, path: home.path(productFile) },
      ],
    },
  });
  writeFileSync(home.path(ownFile), "{");
  const { code, stdout } = await home.run("identity list");
  expect(code).toBe(0);
  expect(stdout).toContain(product.deviceId);
  expect(stdout).toContain(home.path(ownFile));
});
