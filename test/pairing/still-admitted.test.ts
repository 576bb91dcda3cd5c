import { expect, test } from "vitest";
import type { AuthPolicy } from "../../src/pairing/decide-auth.ts";
import type { PairingPolicy } from "../../src/pairing/decide-pairing.ts";
import { type Evidence, lostBecause, type Standing } from "../../src/pairing/still-admitted.ts";
import { credentialDigest, Secret } from "../../src/secret.ts";

const auth: AuthPolicy = {
  mode: undefined,
  token: new Secret("t"),
  password: new Secret("p"),
  internalSecret: new Secret("i"),
};
const pairing: PairingPolicy = { autoApproveOperators: "proven-local", trustedLocalServices: [] };
const standing: Standing = { isProxyTrusted: true, isOriginAllowed: true };
const evidence: Evidence = {
  by: "token",
  shown: [credentialDigest("t")],
  isFromTailnet: false,
  hasDevice: true,
  clientId: "openclaw-macos",
  clientMode: "ui",
  scopes: ["operator.read"],
};
const bare = { hasDevice: false, user: "me@example.com", shown: [] } as const;

interface Change {
  readonly auth?: Partial<AuthPolicy>;
  readonly pairing?: Partial<PairingPolicy>;
  readonly evidence?: Partial<Evidence>;
  readonly standing?: Partial<Standing>;
}

function ask({ auth: a, pairing: p, evidence: e, standing: s }: Change): string | undefined {
  return lostBecause({ ...auth, ...a }, { ...pairing, ...p }, { ...evidence, ...e }, { ...standing, ...s });
}

const service = { evidence: { hasDevice: false, clientId: "my-service", clientMode: "backend" } } as const;

test.each<[what: string, change: Change]>([
  ["nothing has changed", {}],
  ["the mode is its own", { auth: { mode: "token" } }],
  ["only the password has changed", { auth: { password: new Secret("q") } }],
  [
    "a device token is the store's business",
    { auth: { mode: "password" }, evidence: { by: "device-token", shown: [] } },
  ],
  ["local callers are believed", { evidence: { by: "local", shown: [] } }],
  [
    "the gateway's own secret is this start's",
    { auth: { token: new Secret("q") }, evidence: { by: "internal", shown: [credentialDigest("i")] } },
  ],
  ["its proxy is trusted", { auth: { mode: "trusted-proxy" }, evidence: { by: "trusted-proxy", ...bare } }],
  [
    "the tailnet is asked",
    { auth: { tailscale: "require" }, evidence: { by: "tailscale", isFromTailnet: true, ...bare } },
  ],
  ["no credential is asked for", { auth: { mode: "none" }, evidence: { by: "none", shown: [] } }],
  [
    "the service is listed",
    { ...service, pairing: { trustedLocalServices: [{ id: "my-service", scopes: ["operator.write"] }] } },
  ],
  [
    "the gateway's own client needs no list",
    { evidence: { hasDevice: false, clientId: "gateway-client", clientMode: "backend" } },
  ],
])("goes on: %s", (_what, change) => {
  expect(ask(change)).toBeUndefined();
});

test.each<[why: RegExp, change: Change]>([
  [/mode is password/u, { auth: { mode: "password" } }],
  [/token was changed/u, { auth: { token: new Secret("q") } }],
  [/token was changed/u, { auth: { token: undefined } }],
  [
    /password was changed/u,
    { auth: { password: new Secret("q") }, evidence: { by: "password", shown: [credentialDigest("p")] } },
  ],
  [/shared secret was changed/u, { auth: { token: new Secret("q") }, evidence: { by: "internal" } }],
  [/need a credential now/u, { auth: { loopback: false }, evidence: { by: "local", shown: [] } }],
  [/no longer trusted/u, { evidence: { by: "trusted-proxy", ...bare }, standing: { isProxyTrusted: false } }],
  [/mode is token/u, { auth: { mode: "token" }, evidence: { by: "trusted-proxy", ...bare } }],
  [
    /Tailscale's word/u,
    { auth: { tailscale: "disabled" }, evidence: { by: "tailscale", isFromTailnet: true, ...bare } },
  ],
  [/come in by name/u, { auth: { tailscale: "require" }, evidence: { isFromTailnet: true } }],
  [/a credential is needed/u, { auth: { mode: "token" }, evidence: { by: "none", shown: [] } }],
  [/origin is no longer allowed/u, { standing: { isOriginAllowed: false } }],
  [
    /fewer scopes/u,
    {
      evidence: { by: "trusted-proxy", ...bare, scopes: ["operator.write"] },
      pairing: { vouched: { scopesOf: { "me@example.com": ["operator.read"] }, cap: undefined, enrolDevices: false } },
    },
  ],
  [/no longer trusted with its scopes/u, service],
])("ends: %s", (why, change) => {
  expect(ask(change)).toMatch(why);
});
