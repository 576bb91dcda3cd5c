/** Every way in, on and off, alone and together, in every mode: the decision against a model that is too plain to be wrong (auth.md § 1). */
import { describe, expect, test } from "vitest";
import { type AuthMode, type AuthPolicy, decideAuth, type Presented } from "../../src/pairing/decide-auth.ts";
import type { InviteVerdict } from "../../src/pairing/invites.ts";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { issueToken } from "../../src/pairing/tokens.ts";
import type { TailscaleMode } from "../../src/pairing/vouched.ts";
import { refusals } from "../../src/protocol/refusals.ts";
import { hashSecret, Secret } from "../../src/secret.ts";
import { type Caller, type Shown, whoLetsIn } from "./naive-model.ts";

const bare: DeviceRecord = {
  deviceId: "d".repeat(64),
  publicKey: "key",
  clientId: "openclaw-macos",
  clientMode: "ui",
  roles: ["operator"],
  scopes: ["operator.read"],
  tokens: {},
  createdAtMs: 1,
  approvedAtMs: 1,
  approvedVia: "owner",
};
const { device, token: deviceToken } = issueToken(bare, {
  gatewayKey: Buffer.alloc(32, 7),
  role: "operator",
  scopes: ["operator.read"],
  salt: "1",
  nowMs: 1,
});
const living: InviteVerdict = {
  ok: true,
  use: "first",
  invite: {
    inviteId: "i",
    secretHash: hashSecret("the-invite"),
    role: "node",
    createdAtMs: 1,
    expiresAtMs: 2,
    url: "ws://127.0.0.1:1",
  },
};

interface Credentials {
  readonly what: string;
  readonly shows: readonly Shown[];
  readonly fields: Partial<Presented>;
  readonly contradictsItself?: boolean;
}

const credentials: readonly Credentials[] = [
  { what: "nothing", shows: [], fields: {} },
  { what: "empty fields", shows: [], fields: { token: "", password: "", deviceToken: "", header: "" } },
  { what: "the token", shows: ["the token"], fields: { token: "the-token" } },
  { what: "the token in the header", shows: ["the token"], fields: { header: "the-token" } },
  { what: "the password", shows: ["the password"], fields: { password: "the-password" } },
  { what: "the password as bearer", shows: ["the password"], fields: { header: "the-password" } },
  { what: "its device token", shows: ["its device token"], fields: { deviceToken } },
  { what: "its device token in the token's field", shows: ["its device token"], fields: { token: deviceToken } },
  { what: "an invite", shows: ["a living invite"], fields: { bootstrapToken: "the-invite" } },
  { what: "the internal secret", shows: ["the internal secret"], fields: { token: "the-internal-secret" } },
  { what: "a wrong token", shows: ["something wrong"], fields: { token: "no" } },
  { what: "a wrong password", shows: ["something wrong"], fields: { password: "no" } },
  { what: "a wrong device token", shows: ["something wrong"], fields: { deviceToken: "no" } },
  {
    what: "a wrong token and its device token",
    shows: ["something wrong", "its device token"],
    fields: { token: "no", deviceToken },
  },
  {
    what: "the token and a wrong password",
    shows: ["the token", "something wrong"],
    fields: { token: "the-token", password: "no" },
  },
  {
    what: "the token and its device token",
    shows: ["the token", "its device token"],
    fields: { token: "the-token", deviceToken },
  },
  {
    what: "the token in the header and a wrong one in the frame",
    shows: ["the token", "something wrong"],
    fields: { header: "the-token", token: "no" },
    contradictsItself: true,
  },
];

const modes = ["token", "password", "trusted-proxy", "none", "unset"] as const;
const asMode = (mode: Caller["mode"]): AuthMode | undefined => (mode === "unset" ? undefined : mode);
const yesNo = [true, false] as const;

interface Way {
  readonly what: string;
  readonly tailscaleMode: TailscaleMode;
  readonly comesFromTailnet: boolean;
  readonly tailnetConfirmsUser: boolean;
  readonly proxyNamesAllowedUser: boolean;
}

/** Where the connection comes from, and who vouches for it. */
const ways: readonly Way[] = [
  {
    what: "straight",
    tailscaleMode: "disabled",
    comesFromTailnet: false,
    tailnetConfirmsUser: false,
    proxyNamesAllowedUser: false,
  },
  {
    what: "through a proxy that names a user",
    tailscaleMode: "disabled",
    comesFromTailnet: false,
    tailnetConfirmsUser: false,
    proxyNamesAllowedUser: true,
  },
  {
    what: "straight, past Tailscale",
    tailscaleMode: "require",
    comesFromTailnet: false,
    tailnetConfirmsUser: false,
    proxyNamesAllowedUser: false,
  },
  {
    what: "from the tailnet, confirmed",
    tailscaleMode: "enabled",
    comesFromTailnet: true,
    tailnetConfirmsUser: true,
    proxyNamesAllowedUser: false,
  },
  {
    what: "from the tailnet, unconfirmed",
    tailscaleMode: "enabled",
    comesFromTailnet: true,
    tailnetConfirmsUser: false,
    proxyNamesAllowedUser: false,
  },
  {
    what: "from a tailnet that is required, confirmed",
    tailscaleMode: "require",
    comesFromTailnet: true,
    tailnetConfirmsUser: true,
    proxyNamesAllowedUser: false,
  },
  {
    what: "from a tailnet that is required, unconfirmed",
    tailscaleMode: "require",
    comesFromTailnet: true,
    tailnetConfirmsUser: false,
    proxyNamesAllowedUser: false,
  },
  {
    what: "from the tailnet with Tailscale off",
    tailscaleMode: "disabled",
    comesFromTailnet: true,
    tailnetConfirmsUser: true,
    proxyNamesAllowedUser: false,
  },
];

interface Row {
  readonly what: string;
  readonly caller: Caller;
  readonly fields: Partial<Presented>;
  readonly invite: InviteVerdict | undefined;
}

const rows: readonly Row[] = modes.flatMap((mode) =>
  credentials.flatMap(({ what, shows, fields, contradictsItself = false }) =>
    ways.flatMap((way) =>
      yesNo.flatMap((isProvenLocal) =>
        yesNo.flatMap((loopbackIsOn) =>
          yesNo.map((isOwnClientOnLoopback) => ({
            what: `mode ${mode}: ${what}, ${way.what}, ${isProvenLocal ? "proven local" : "not local"}, loopback ${loopbackIsOn ? "on" : "off"}${isOwnClientOnLoopback ? ", the gateway's own client" : ""}`,
            caller: { ...way, mode, shows, contradictsItself, isProvenLocal, loopbackIsOn, isOwnClientOnLoopback },
            fields,
            invite: shows.includes("a living invite") ? living : undefined,
          })),
        ),
      ),
    ),
  ),
);

function decide({ caller, fields, invite }: Row) {
  const policy: AuthPolicy = {
    mode: asMode(caller.mode),
    token: new Secret("the-token"),
    password: new Secret("the-password"),
    internalSecret: new Secret("the-internal-secret"),
    loopback: caller.loopbackIsOn,
    tailscale: caller.tailscaleMode,
  };
  const own = caller.isOwnClientOnLoopback;
  const presented: Presented = {
    ...fields,
    role: "operator",
    scopes: ["operator.read"],
    clientId: own ? "gateway-client" : "openclaw-macos",
    clientMode: own ? "backend" : "ui",
    isDirect: own,
    hasDevice: true,
    local: caller.isProvenLocal ? { isProven: true } : { isProven: false, reason: "peer-may-relay" },
    isFromTailnet: caller.comesFromTailnet,
    tailscale:
      caller.tailnetConfirmsUser && caller.tailscaleMode !== "disabled"
        ? { ok: true, user: "me@example.com" }
        : { ok: false, reason: caller.comesFromTailnet ? "tailscale_whois_failed" : "not from the tailnet" },
    proxy: caller.proxyNamesAllowedUser
      ? { ok: true, user: "me@example.com" }
      : { ok: false, reason: "trusted_proxy_untrusted_source" },
  };
  return decideAuth(policy, presented, device, invite);
}

test("there are at least three hundred rows", () => {
  expect(rows.length).toBeGreaterThan(300);
  expect(new Set(rows.map(({ what }) => what)).size).toBe(rows.length);
});

describe.each(modes)("in mode %s", (mode) => {
  const mine = rows.filter(({ caller }) => caller.mode === mode);
  test.each(mine.map((row) => [row.what, row] as const))("%s", (_what, row) => {
    const decision = decide(row);
    expect(decision.ok ? decision.by : "nobody").toBe(whoLetsIn(row.caller));
    // Every method says something, the one that accepted is the one that decides, and a refusal has a code that clients know.
    const accepting = decision.trace.find(({ outcome }) => outcome === "accepted");
    const said = decision.ok ? accepting?.method === decision.by : Object.keys(refusals).includes(decision.code);
    expect(said).toBe(true);
    expect(decision.trace).toHaveLength(9);
    expect(decision.trace.every(({ reason }) => reason !== "")).toBe(true);
  });
});
