import { expect, test } from "vitest";
import { type PathChoices, statePaths } from "../../src/config/paths.ts";

const home = "/home/ada";

test.each<[name: string, choices: PathChoices, stateDir: string]>([
  ["the home directory, when nothing is said", { env: {}, home }, "/home/ada/.openclaw"],
  ["OPENCLAW_HOME", { env: { OPENCLAW_HOME: "/srv" }, home }, "/srv/.openclaw"],
  [
    "OPENCLAW_STATE_DIR before OPENCLAW_HOME",
    { env: { OPENCLAW_STATE_DIR: "/var/s", OPENCLAW_HOME: "/srv" }, home },
    "/var/s",
  ],
  ["--state-dir before both", { env: { OPENCLAW_STATE_DIR: "/var/s" }, home, stateDir: "/flag" }, "/flag"],
  [
    "empty variables count as unset",
    { env: { OPENCLAW_STATE_DIR: "", OPENCLAW_HOME: "", OPENCLAW_PROFILE: "" }, home },
    "/home/ada/.openclaw",
  ],
  ["empty flags count as not given", { env: {}, home, stateDir: "", profile: "", config: "" }, "/home/ada/.openclaw"],
  ["a profile", { env: {}, home, profile: "dev" }, "/home/ada/.openclaw-dev"],
  ["OPENCLAW_PROFILE", { env: { OPENCLAW_PROFILE: "ci" }, home }, "/home/ada/.openclaw-ci"],
  [
    "--profile before OPENCLAW_PROFILE",
    { env: { OPENCLAW_PROFILE: "ci" }, home, profile: "dev" },
    "/home/ada/.openclaw-dev",
  ],
  ["a profile of a given directory", { env: { OPENCLAW_STATE_DIR: "/var/s/" }, home, profile: "dev" }, "/var/s-dev"],
  [
    "a directory that ends in its profile already",
    { env: { OPENCLAW_STATE_DIR: "/h/.openclaw-dev", OPENCLAW_PROFILE: "dev" } },
    "/h/.openclaw-dev",
  ],
  ["a relative directory", { env: {}, home, cwd: "/srv", stateDir: "state" }, "/srv/state"],
  ["a tilde that no shell has replaced", { env: { OPENCLAW_STATE_DIR: "~/s" }, home }, "/home/ada/s"],
  ["no home, but a directory", { env: { OPENCLAW_STATE_DIR: "/var/s" } }, "/var/s"],
])("%s", (_name, choices, stateDir) => {
  expect(statePaths(choices).stateDir).toBe(stateDir);
});

test("without a home or anything else it says what to set", () => {
  for (const none of [undefined, ""]) {
    expect(() => statePaths({ env: {}, home: none })).toThrow(
      expect.objectContaining({ code: "usage", hint: expect.stringMatching(/OPENCLAW_STATE_DIR.*--state-dir/) }),
    );
  }
});

test.each(["../up", "a/b", "a b", "-x", ".", "ü", "x".repeat(65)])("%j is no name for a profile", (profile) => {
  expect(() => statePaths({ env: {}, home, profile })).toThrow(expect.objectContaining({ code: "usage" }));
});

test("what we write is below toolkit/, what is the product's is not", () => {
  const { product, stateDir, toolkitDir, ...ours } = statePaths({ env: {}, home });
  expect(toolkitDir).toBe(`${stateDir}/toolkit`);
  expect(Object.values(ours).filter((path) => !path.startsWith(`${toolkitDir}/`))).toEqual([]);
  expect(ours).toEqual({
    config: `${toolkitDir}/config.json5`,
    identity: `${toolkitDir}/identity/device.json`,
    identityRotation: `${toolkitDir}/identity/rotation.json`,
    deviceTokens: `${toolkitDir}/identity/device-tokens.json`,
    database: `${toolkitDir}/gateway.db`,
    deviceTokenKey: `${toolkitDir}/device-token-key`,
    tlsPins: `${toolkitDir}/tls-pins.json`,
    tunnelKey: `${toolkitDir}/identity/tunnel_ed25519`,
    gatewayToken: `${toolkitDir}/gateway-token`,
    internalSecret: `${toolkitDir}/internal-secret`,
    node: `${toolkitDir}/node.json`,
    execApprovals: `${toolkitDir}/exec-approvals.json`,
    linkDir: `${toolkitDir}/links`,
    runDir: `${toolkitDir}/run`,
    logDir: `${toolkitDir}/logs`,
    serviceDir: `${toolkitDir}/services`,
  });
  expect(product).toEqual({
    config: `${stateDir}/openclaw.json`,
    database: `${stateDir}/state/openclaw.sqlite`,
    identity: `${stateDir}/identity/device.json`,
    deviceTokens: `${stateDir}/identity/device-auth.json`,
    node: `${stateDir}/node.json`,
  });
});

test("--config replaces our file, OPENCLAW_CONFIG_PATH the product's", () => {
  const paths = statePaths({ env: { OPENCLAW_CONFIG_PATH: "theirs.json" }, home, cwd: "/srv", config: "ours.json5" });
  expect(paths.config).toBe("/srv/ours.json5");
  expect(paths.product.config).toBe("/srv/theirs.json");
});
