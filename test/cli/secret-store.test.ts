import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Keyring } from "../support/keyring.ts";
import { at, textAt } from "../support/raw-client.ts";
import { CliHome, type CliOptions } from "../support/run-cli.ts";
import { startGatewayHome, succeed } from "./world.ts";

let keyring: Keyring;
beforeAll(async () => {
  keyring = await Keyring.start();
});
afterAll(() => keyring[Symbol.asyncDispose]());

/** A machine whose user has a session with a keychain. */
class DesktopHome extends CliHome {
  override env(more: CliOptions["env"] = {}) {
    return { ...super.env(more), ...keyring.env };
  }

  /** Everything that is in the files about the identity. */
  identityText(): string {
    const directory = join(this.toolkitDir, "identity");
    if (!existsSync(directory)) return "";
    const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
    return files.map((name) => readFileSync(join(directory, name), "utf8")).join("");
  }
}

test("auto is the keychain where one works, and show says where the key is and why", async () => {
  using home = new DesktopHome();
  const created = await home.run("identity create --json");
  expect(created).toMatchObject({ code: 0, json: { secretStore: { store: "keychain", why: "the keychain works" } } });
  expect(home.identityText()).not.toContain("PRIVATE");
  expect(await home.run("identity show --json")).toMatchObject({
    json: {
      deviceId: textAt(created.json, "deviceId"),
      secretStore: { store: "keychain", why: expect.stringContaining("auto"), tokens: { file: 0, keychain: 0 } },
    },
  });
  expect((await home.run("identity show")).stdout).toMatch(/^secrets {6}keychain \(/mu);
  expect((await home.run("node status")).stdout).toMatch(/^secrets {6}keychain \(/mu);
  expect(at((await home.run("identity list --json")).json, "identities")).toMatchObject([{ store: "keychain" }]);
  const shown = await home.run("identity show --show --json");
  expect(shown.json).toMatchObject({ identity: { privateKeyPem: expect.stringContaining("PRIVATE KEY") } });
});

test.each([
  ["the flag", "identity create --secret-store file", {}],
  ["the environment", "identity create", { OPENCLAW_SECRET_STORE: "file" }],
])("%s chooses files", async (_name, line, env) => {
  using home = new DesktopHome();
  await succeed(home.run(line, { env }));
  expect(home.identityText()).toContain("PRIVATE KEY");
});

test("the configuration chooses too, and says so", async () => {
  using home = new DesktopHome();
  await succeed(home.run("config set secretStore file"));
  const { json } = await home.run("identity create --json");
  expect(at(json, "secretStore")).toMatchObject({ store: "file", why: expect.stringContaining("config.json5") });
});

test("what exists stays where it is, whatever is chosen later", async () => {
  using home = new DesktopHome();
  const { json } = await home.run("identity create --secret-store file --json");
  const text = home.identityText();
  const shown = await home.run("identity show --secret-store keychain --json");
  expect(shown.json).toMatchObject({
    deviceId: textAt(json, "deviceId"),
    secretStore: { store: "file", why: expect.stringContaining("identity move --to keychain") },
  });
  expect(home.identityText()).toBe(text);
});

test("a keychain that is insisted on and not there is an error, and no key is made", async () => {
  using home = new CliHome();
  const { code, json } = await home.run("identity create --secret-store keychain --json");
  expect({ code, json }).toMatchObject({
    code: 1,
    json: { error: { code: "state-unwritable", message: expect.stringContaining("D-Bus"), hint: expect.any(String) } },
  });
  expect(await home.run("identity list --json")).toMatchObject({ json: { identities: [] } });
});

test("there are three stores and no fourth", async () => {
  using home = new CliHome();
  expect((await home.run("identity create --secret-store vault --json")).code).toBe(2);
  expect((await home.run("identity move --to vault --json")).code).toBe(2);
  expect((await home.run("identity move --json")).code).toBe(2);
});

test("a file whose key is in a keychain that is away is an error with what to do", async () => {
  using home = new DesktopHome();
  await home.run("identity create");
  const text = home.identityText();
  // The same files in a process without the session, as over ssh.
  using elsewhere = new CliHome();
  const away = (line: string) => elsewhere.run(line, { env: { HOME: home.directory } });
  const { code, json } = await away("identity show --show --json");
  expect({ code, json }).toMatchObject({
    code: 1,
    json: { error: { code: "state-unreadable", hint: expect.stringContaining("nothing was changed") } },
  });
  expect((await away("identity show --json")).code).toBe(0);
  // A gateway only names the device: it starts on a machine where nobody has unlocked anything yet.
  await using gateway = elsewhere.start("gateway run --port 0 --json", { env: { HOME: home.directory } });
  expect(await gateway.event("ready")).toMatchObject({ deviceId: JSON.parse(text).deviceId });
  expect(home.identityText()).toBe(text);
});

test("a node works from the keychain, through a rotation of its key and a move to files and back", async () => {
  await using world = await startGatewayHome();
  using home = new DesktopHome();
  const tokenFile = home.path("token");
  writeFileSync(tokenFile, world.token);
  await using running = home.start(
    `node run --json --port ${world.port} --token-file ${tokenFile} --display-name desk`,
  );
  const { requestId } = await running.event("pairing-required");
  await succeed(world.ask(`pair approve ${String(requestId)} --surface`));
  await running.event("ready");
  expect((await home.run("node status --json")).json).toMatchObject({
    secretStore: { store: "keychain", tokens: { file: 0, keychain: 1 } },
    gateways: [{ gateway: world.url }],
  });
  expect(home.identityText()).not.toContain("PRIVATE");

  const seen = running.events.items.length;
  const rotated = await home.run("identity rotate --json");
  expect(rotated).toMatchObject({ code: 0, json: { complete: true, gateways: [{ state: "moved" }] } });
  await running.event("ready", seen, { deviceId: textAt(rotated.json, "deviceId") });
  expect(home.identityText()).not.toContain("PRIVATE");

  expect(await home.run("identity move --to file --json")).toMatchObject({
    code: 0,
    json: { ok: true, from: "keychain", to: "file", tokens: 1 },
  });
  expect(home.identityText()).toContain("PRIVATE KEY");
  expect(home.identityText()).not.toContain("keychain");
  expect(await home.run("identity move --to keychain --json")).toMatchObject({ code: 0, json: { tokens: 1 } });
  expect(home.identityText()).not.toContain("PRIVATE");
  expect(await world.ask('nodes invoke desk system.which --params \'{"bins":["sh"]}\' --json')).toMatchObject({
    code: 0,
  });
});
