/** A running gateway follows its configuration file. */
import { rmSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { at, RawClient, type RawConnect, textAt } from "../support/raw-client.ts";
import { startGatewayHome, succeed, type GatewayHome } from "../cli/world.ts";

const backend = { role: "operator", clientId: "gateway-client", mode: "backend", scopes: ["operator.read"] } as const;

async function connect(home: GatewayHome, options: RawConnect) {
  const client = await RawClient.open(home.url);
  return { client, response: await client.connect({ device: undefined, ...options }) };
}

/** Changes a setting, and waits until the gateway has read it. */
async function change(home: GatewayHome, words: string): Promise<void> {
  const from = home.gateway.events.items.length;
  await succeed(home.run(words));
  await home.gateway.event("reloaded", from);
}

test("a new token holds at once: who came with the old one is sent away with the reason, and others stay", async () => {
  await using home = await startGatewayHome();
  await change(home, "config set gateway.auth.token first-token-of-this-test");
  const { client } = await connect(home, { ...backend, auth: { token: "first-token-of-this-test" } });
  const { response: outdated } = await connect(home, { ...backend, auth: { token: home.token } });
  expect(at(outdated.error?.details, "code")).toBe("AUTH_TOKEN_MISMATCH");
  await change(home, "config set gateway.auth.token second-token-of-this-test");
  expect(await client.closed).toEqual({ code: 4001, reason: "rules changed: the token was changed" });
  const { response: refused } = await connect(home, { ...backend, auth: { token: "first-token-of-this-test" } });
  expect(at(refused.error?.details, "code")).toBe("AUTH_TOKEN_MISMATCH");
  const { client: again, response } = await connect(home, { ...backend, auth: { token: "second-token-of-this-test" } });
  expect(response.ok).toBe(true);
  await change(home, "config set gateway.controlUi.allowedOrigins '[\"https://claw.example.com\"]'");
  expect(await again.call("health")).toMatchObject({ ok: true });
  await again[Symbol.asyncDispose]();
});

test("what only counts for a start is named, for as long as it waits for one", async () => {
  await using home = await startGatewayHome();
  const changed = async (words: string) => {
    const from = home.gateway.events.items.length;
    await succeed(home.run(words));
    return home.gateway.event("reloaded", from);
  };
  expect(await changed("config set gateway.bind lan")).toEqual({ event: "reloaded", needsRestart: ["gateway.bind"] });
  expect(await changed("config set gateway.port 24000")).toMatchObject({
    needsRestart: ["gateway.port", "gateway.bind"],
  });
  await changed("config unset gateway.port");
  expect(await changed("config unset gateway.bind")).toEqual({ event: "reloaded" });
});

test("a broken file changes nothing, and is told", async () => {
  await using home = await startGatewayHome();
  await change(home, "config set gateway.auth.token the-token-that-works-all-along");
  const from = home.gateway.events.items.length;
  writeFileSync(home.path(".openclaw", "toolkit", "config.json5"), "{ gateway: { auth: ");
  const failed = await home.gateway.event("reload-failed", from);
  expect(textAt(failed, "reason")).toContain("config.json5");
  const { client, response } = await connect(home, { ...backend, auth: { token: "the-token-that-works-all-along" } });
  expect(response.ok).toBe(true);
  await client[Symbol.asyncDispose]();
});

test("a file that is emptied or removed changes nothing, and is told", async () => {
  await using home = await startGatewayHome();
  await change(home, "config set gateway.auth.token the-token-that-works-all-along");
  const path = home.path(".openclaw", "toolkit", "config.json5");
  for (const spoil of [() => writeFileSync(path, ""), () => rmSync(path)]) {
    const from = home.gateway.events.items.length;
    spoil();
    expect(textAt(await home.gateway.event("reload-failed", from), "reason")).toContain("empty or gone");
  }
  const { client, response } = await connect(home, { ...backend, auth: { token: "the-token-that-works-all-along" } });
  expect(response.ok).toBe(true);
  await client[Symbol.asyncDispose]();
});

test("a local service is trusted from the moment that it is listed", async () => {
  await using home = await startGatewayHome();
  const service = { ...backend, clientId: "test", mode: "backend", auth: { token: home.token } };
  const before = await connect(home, service);
  expect(before.response).toMatchObject({
    ok: true,
    payload: { auth: { scopes: [], removedScopes: ["operator.read"], removedScopesReason: expect.any(String) } },
  });
  await change(home, `config set gateway.trustedLocalServices '[{"id":"test","scopes":["operator.read"]}]'`);
  const after = await connect(home, service);
  expect(after.response).toMatchObject({ ok: true, payload: { auth: { scopes: ["operator.read"] } } });
  await change(home, "config unset gateway.trustedLocalServices");
  expect(await after.client.closed).toMatchObject({ code: 4001, reason: expect.stringContaining("no longer trusted") });
  await before.client[Symbol.asyncDispose]();
});
