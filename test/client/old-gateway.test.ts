/** What gateways of 2026.3.8 say differently, and what it is taken for. */
import { expect, test } from "vitest";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { openSession, originOf, type SessionOptions } from "../../src/client/open-session.ts";
import { Secret } from "../../src/secret.ts";
import { makeIdentity, Memory } from "../support/node-host.ts";
import { listAt } from "../support/raw-client.ts";
import { type Answer, hello, startScriptedGateway } from "./scripted-gateway.ts";

const client = { id: "cli", mode: "cli", version: "1", platform: "linux" };
const mismatch = {
  ok: false,
  error: { code: "INVALID_REQUEST", message: "unauthorized", details: { code: "AUTH_DEVICE_TOKEN_MISMATCH" } },
} as const;

/** A CLI that remembers a token with the right to read, and wants to pair. */
async function remembering(url: string): Promise<SessionOptions & { readonly memory: Memory }> {
  const memory = new Memory();
  const identity = makeIdentity();
  const key = { gateway: originOf(url), deviceId: identity.deviceId, role: "operator" };
  await memory.remember(key, { token: new Secret("t"), scopes: ["operator.read"], updatedAtMs: 0 });
  const scopes = ["operator.pairing"];
  return { gateway: { url }, client, role: "operator", scopes, identity, memory, timeoutMs: 20_000 };
}

test("a token that is only too narrow is called void there; it is kept, and the failure says what to ask for", async () => {
  await using gateway = await startScriptedGateway((_method, params) =>
    listAt(params, "scopes").includes("operator.pairing") ? mismatch : hello([]),
  );
  const options = await remembering(gateway.url);
  await expect(openSession(options)).rejects.toMatchObject({
    code: "scope-missing",
    message: `this device's token for ${gateway.url} does not hold operator.pairing`,
    fix: "openclaw pair request --role operator --scope operator.pairing",
  });
  expect(options.memory.tokens.size).toBe(1);
});

test("a token that is void for less too is void", async () => {
  await using gateway = await startScriptedGateway(() => mismatch);
  const options = await remembering(gateway.url);
  await expect(openSession(options)).rejects.toMatchObject({ code: "device-token-mismatch" });
  expect(options.memory.tokens.size).toBe(0);
});

test("a token that may be too narrow is kept when the gateway goes away before that is known", async () => {
  const answers: Answer[] = [mismatch, { ok: false, error: { code: "UNAVAILABLE", message: "gateway starting" } }];
  await using gateway = await startScriptedGateway(() => answers.shift() ?? mismatch);
  const options = await remembering(gateway.url);
  await expect(openSession(options)).rejects.toMatchObject({ code: "starting" });
  expect(options.memory.tokens.size).toBe(1);
});

test("the scopes of sessions that the same token opened add up", async () => {
  const auth = { role: "operator", scopes: ["operator.pairing"], deviceToken: "t" };
  await using gateway = await startScriptedGateway(() => hello([], auth));
  const options = await remembering(gateway.url);
  await (await openSession(options)).close();
  expect([...options.memory.tokens.values()]).toMatchObject([{ scopes: ["operator.read", "operator.pairing"] }]);
});

test.each(["missing scope: operator.admin", "unknown method: device.pair.rename"])(
  "a method that the gateway has not, refused with %j, asks for another version",
  async (message) => {
    await using gateway = await startScriptedGateway((method) =>
      method === "connect" ? hello(["health"]) : { ok: false, error: { code: "INVALID_REQUEST", message } },
    );
    const connect = { gateway: { url: gateway.url }, client, role: "operator", scopes: [], timeoutMs: 20_000 } as const;
    await using session = await connectGateway(connect);
    await expect(session.call("device.pair.rename", { deviceId: "d", label: "l" })).rejects.toMatchObject({
      code: "incompatible",
      message: "the gateway (version 2026.3.8) has no device.pair.rename",
    });
    await expect(session.call("health", {})).rejects.not.toMatchObject({ code: "incompatible" });
  },
);
