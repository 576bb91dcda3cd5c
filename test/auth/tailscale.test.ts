/** Tailscale Serve, played by nginx, and a tailnet that is asked who has an address. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { whoisBy } from "../../src/gateway/arrival/tailscale-whois.ts";
import type { TailscaleMode } from "../../src/pairing/vouched.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { type Message, RawClient, type RawConnect } from "../support/raw-client.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";
import { type Front, session, startFront, startSso } from "./front.ts";

const login = "alice@example.com";
const origin = "https://box.tail0.ts.net";
const dashboard: RawConnect = {
  device: undefined,
  role: "operator",
  clientId: "openclaw-control-ui",
  mode: "ui",
  scopes: ["operator.read"],
};

const directory = mkdtempSync(join(tmpdir(), "whois-"));
const program = join(directory, "whois");
let sso: Front;
beforeAll(async () => {
  // What `tailscale whois --json` prints, and how it fails for an address that it does not know.
  const script = `#!/bin/sh\n[ "$1" = 100.64.1.2 ] && echo '{"UserProfile":{"LoginName":"${login}"}}' && exit 0\necho "peer not found" >&2\nexit 1\n`;
  writeFileSync(program, script);
  chmodSync(program, 0o755);
  sso = await startSso();
});
afterAll(async () => {
  await sso[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const whois = () => whoisBy([program], systemRuntime);

async function gatewayIn(mode: TailscaleMode, ask = whois()): Promise<World> {
  return startGateway({ auth: { token: sharedToken }, tailscale: { mode, whois: ask }, allowedOrigins: [origin] });
}

/** Through Serve, which names the user and the address in the tailnet. */
async function throughServe(
  world: World,
  headers: Readonly<Record<string, string>>,
  connect: RawConnect = dashboard,
): Promise<Message> {
  await using serve = await startFront("nginx", {
    gateway: { host: "127.0.0.1", port: world.gateway.port },
    userHeader: "X-Unused",
    ssoPort: sso.port,
    listen: "127.0.0.1",
    extra: { "X-Unused": "", ...headers },
  });
  await using client = await RawClient.open(`ws://127.0.0.1:${serve.port}`, { Cookie: session, Origin: origin });
  return await client.connect(connect);
}

const fromAlice = { "X-Forwarded-For": "100.64.1.2", "Tailscale-User-Login": login };

test.each(["enabled", "require"] as const)("%s: a user whom the tailnet confirms gets in", async (mode) => {
  await using world = await gatewayIn(mode);
  expect(await throughServe(world, fromAlice)).toMatchObject({
    ok: true,
    payload: { auth: { method: "tailscale", scopes: ["operator.read"] } },
  });
});

describe("refusals say what was wrong", () => {
  test.each<
    [what: string, mode: TailscaleMode, headers: Readonly<Record<string, string>>, code: string, reason: string]
  >([
    [
      "another name than the tailnet has",
      "enabled",
      { ...fromAlice, "Tailscale-User-Login": "mallory@example.com" },
      "AUTH_TAILSCALE_IDENTITY_MISMATCH",
      "tailscale_user_mismatch",
    ],
    [
      "an address that the tailnet does not know",
      "enabled",
      { ...fromAlice, "X-Forwarded-For": "100.64.9.9" },
      "AUTH_TAILSCALE_WHOIS_FAILED",
      "tailscale_whois_failed",
    ],
    [
      "no user, such as a tagged machine",
      "enabled",
      { "X-Forwarded-For": "100.64.1.2" },
      "AUTH_TAILSCALE_IDENTITY_MISSING",
      "tailscale_user_missing",
    ],
  ])("%s", async (_what, mode, headers, code, reason) => {
    await using world = await gatewayIn(mode);
    const { error } = await throughServe(world, headers);
    expect(error?.details).toMatchObject({ code, authReason: reason });
    expect(world.decisions.items.at(-1)?.trace).toContainEqual({ method: "tailscale", outcome: "passed", reason });
  });

  test("a tailnet that cannot be asked is no confirmation", async () => {
    await using world = await gatewayIn("enabled", whoisBy([join(directory, "missing")], systemRuntime));
    const { error } = await throughServe(world, fromAlice);
    expect(error?.details).toMatchObject({
      code: "AUTH_TAILSCALE_WHOIS_FAILED",
      authReason: "tailscale_whois_unavailable",
    });
  });
});

test("disabled: nobody's word counts", async () => {
  await using world = await gatewayIn("disabled");
  const { ok, error } = await throughServe(world, fromAlice);
  expect(ok).toBe(false);
  expect(JSON.stringify(error)).not.toContain("TAILSCALE");
});

test("require: from the tailnet not even the token is enough, and from elsewhere it is", async () => {
  await using world = await gatewayIn("require");
  const withToken = { ...dashboard, clientId: "openclaw-macos", auth: { token: sharedToken } };
  const { error } = await throughServe(world, { "X-Forwarded-For": "100.64.1.2" }, withToken);
  expect(error?.details).toMatchObject({ authReason: "tailscale_user_missing" });
  const operator = await world.operator();
  expect(await operator.call("health")).toMatchObject({ ok: true });
});

test("who shows a wrong token learns that it is wrong, whoever vouches", async () => {
  await using world = await gatewayIn("enabled");
  const { error } = await throughServe(world, fromAlice, { ...dashboard, auth: { token: "wrong" } });
  expect(error?.details).toMatchObject({ code: "AUTH_TOKEN_MISMATCH" });
});

test("an answer is kept for a moment, and what could not be asked is not", async () => {
  let asked = 0;
  const counting = join(directory, "counting");
  writeFileSync(counting, `#!/bin/sh\necho x >> ${directory}/count\necho '{"UserProfile":{"LoginName":"${login}"}}'\n`);
  chmodSync(counting, 0o755);
  const ask = whoisBy([counting], { ...systemRuntime, now: () => asked });
  expect([await ask("100.64.1.2"), await ask("100.64.1.2")]).toEqual([{ login }, { login }]);
  expect(readFileSync(join(directory, "count"), "utf8")).toBe("x\n");
  asked = 60_000;
  await ask("100.64.1.2");
  expect(readFileSync(join(directory, "count"), "utf8")).toBe("x\nx\n");
});
