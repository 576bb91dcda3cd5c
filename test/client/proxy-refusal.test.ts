/** A gateway that trusts its proxy alone, and what is said to who comes past it. */
import { expect, test } from "vitest";
import { connectGateway, type Credential } from "../../src/client/connect-gateway.ts";
import { Secret } from "../../src/secret.ts";
import { startScriptedGateway } from "./scripted-gateway.ts";

const client = { id: "cli", mode: "cli", version: "1", platform: "linux" };
const credential = (kind: Credential["kind"]): Credential => ({ kind, secret: new Secret("s") });

test.each<[name: string, reason: string, credential: Credential | undefined, hint: unknown]>([
  ["without a credential", "trusted_proxy_user_missing", undefined, expect.stringContaining("--password-file")],
  ["with a token", "trusted_proxy_loopback_source", credential("token"), expect.stringContaining("--password-file")],
  [
    "with a password",
    "trusted_proxy_missing_header_x",
    credential("password"),
    expect.stringContaining("did not look"),
  ],
  ["for another reason", "unauthorized", credential("password"), undefined],
])("refused %s", async (_name, authReason, shown, hint) => {
  const details = { code: "AUTH_UNAUTHORIZED", authReason };
  await using gateway = await startScriptedGateway(() => ({
    ok: false,
    error: { code: "INVALID_REQUEST", message: "unauthorized", details },
  }));
  const { url } = gateway;
  const connecting = connectGateway({
    gateway: { url },
    client,
    role: "operator",
    scopes: [],
    credential: shown,
    timeoutMs: 20_000,
  });
  await expect(connecting).rejects.toMatchObject({ code: "unauthorized", hint, details: { authReason } });
});
