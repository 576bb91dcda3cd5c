import { describe, expect, test } from "vitest";
import { rangesMeet, rangeWidth, type RangeWidth } from "../../src/config/range-width.ts";
import { defaultSettings, mergeSettings, readSettings } from "../../src/config/read-settings.ts";
import { type AuditedState, auditSecurity, type FileFacts, type Severity } from "../../src/config/security-audit.ts";
import type { SettingKey } from "../../src/config/settings.ts";
import { weaknessOf } from "../../src/config/weak-secret.ts";
import { Secret } from "../../src/secret.ts";

const goodToken = "kT9vB2mQx7LpZr4Wc8Ys1NdH5";

function state(
  values: Partial<Record<SettingKey, unknown>> = {},
  facts: Partial<Omit<AuditedState, "settings">> = {},
): AuditedState {
  const { values: read, problems } = readSettings(
    Object.entries(values).map(([key, value]): [SettingKey, unknown] => [key as SettingKey, value]),
  );
  expect(problems).toEqual([]);
  return {
    settings: mergeSettings([read, defaultSettings()]),
    ownToken: new Secret(goodToken),
    files: [],
    hasTailscale: true,
    ...facts,
  };
}

const proxied = {
  "gateway.auth.mode": "trusted-proxy",
  "gateway.auth.trustedProxy.userHeader": "x-user",
  "gateway.trustedProxies": ["192.0.2.10"],
  "gateway.auth.trustedProxy.allowUsers": ["me@example.com"],
  "gateway.auth.identityScopes": { "me@example.com": ["operator.read"] },
  "gateway.controlUi.allowedOrigins": ["https://gateway.example"],
} as const;
const services = { "gateway.trustedLocalServices": [{ id: "backup", scopes: ["operator.read"] }] };
const file = (facts: Partial<FileFacts>): FileFacts => ({
  path: "/state/x",
  kind: "records",
  mode: 0o600,
  isOwn: true,
  secrets: [],
  ...facts,
});

type Row = readonly [what: string, AuditedState, id: string, severity: Severity];
const rows: readonly Row[] = [
  [
    "no authentication on the network",
    state({ "gateway.auth.mode": "none", "gateway.bind": "lan" }),
    "auth.none-on-network",
    "critical",
  ],
  ["no authentication on loopback", state({ "gateway.auth.mode": "none" }), "auth.none-on-loopback", "warn"],
  [
    "no authentication on a custom address",
    state({ "gateway.auth.mode": "none", "gateway.bind": "custom", "gateway.customBindHost": "192.0.2.1" }),
    "auth.none-on-network",
    "critical",
  ],
  ["no TLS on the network", state({ "gateway.bind": "lan" }), "tls.off-on-network", "warn"],
  [
    "loopback as proof of local",
    state({ "gateway.pairing.autoApproveOperators": "loopback" }),
    "pairing.loopback-is-local",
    "warn",
  ],
  ["no way in for headless services", state(), "services.loopback-is-not-enough", "info"],
  [
    "a local service with admin",
    state({ "gateway.trustedLocalServices": [{ id: "x", scopes: ["operator.admin"] }] }),
    "services.admin",
    "warn",
  ],
  [
    "the product's insecure dashboard",
    state({ "gateway.controlUi.allowInsecureAuth": true }),
    "control-ui.insecure-auth",
    "critical",
  ],
  [
    "every origin behind a proxy",
    state({ ...proxied, "gateway.controlUi.allowedOrigins": ["*"] }),
    "origins.any",
    "critical",
  ],
  ["every origin without a proxy", state({ "gateway.controlUi.allowedOrigins": ["*"] }), "origins.any", "warn"],
  [
    "an origin without TLS",
    state({ "gateway.controlUi.allowedOrigins": ["http://gw.example"] }),
    "origins.plain-http",
    "warn",
  ],
  [
    "no origin behind a proxy",
    state({ ...proxied, "gateway.controlUi.allowedOrigins": [] }),
    "origins.none-behind-proxy",
    "warn",
  ],
  ["a token that is guessed", state({ "gateway.auth.token": "changeme123" }), "secret.weak-token", "critical"],
  ["a short token", state({ "gateway.auth.token": "kT9vB2mQx7LpZr" }), "secret.weak-token", "warn"],
  [
    "a token file that is guessed",
    state({}, { ownToken: new Secret("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") }),
    "secret.weak-token",
    "critical",
  ],
  ["a password that is guessed", state({ "gateway.auth.password": "openclaw" }), "secret.weak-password", "critical"],
  [
    "one secret for both",
    state({ "gateway.auth.token": goodToken, "gateway.auth.password": goodToken }),
    "secret.token-is-password",
    "warn",
  ],
  [
    "a key that others read",
    state({}, { files: [file({ kind: "key", mode: 0o644 })] }),
    "files.secret-readable",
    "critical",
  ],
  [
    "a key that a group reads",
    state({}, { files: [file({ kind: "key", mode: 0o640 })] }),
    "files.secret-readable",
    "critical",
  ],
  [
    "a configuration with a secret that others read",
    state({}, { files: [file({ kind: "config", mode: 0o644, secrets: ["gateway.auth.token"] })] }),
    "files.secret-readable",
    "critical",
  ],
  [
    "a directory that others write",
    state({}, { files: [file({ kind: "directory", mode: 0o777 })] }),
    "files.writable",
    "critical",
  ],
  ["records that others read", state({}, { files: [file({ mode: 0o644 })] }), "files.readable", "warn"],
  ["a file of another user", state({}, { files: [file({ isOwn: false })] }), "files.foreign", "warn"],
  [
    "a secret in the product's file",
    state({}, { files: [file({ kind: "product", secrets: ["gateway.auth.token"] })] }),
    "secret.in-product-file",
    "info",
  ],
  ["everybody as proxy", state({ "gateway.trustedProxies": ["0.0.0.0/0"] }), "proxy.wide", "critical"],
  ["everybody of IPv6 as proxy", state({ "gateway.trustedProxies": ["::/0"] }), "proxy.wide", "critical"],
  ["a public network as proxy", state({ "gateway.trustedProxies": ["8.0.0.0/8"] }), "proxy.wide", "critical"],
  ["a private network as proxy", state({ "gateway.trustedProxies": ["10.0.0.0/8"] }), "proxy.wide", "warn"],
  ["loopback as a range of proxies", state({ "gateway.trustedProxies": ["127.0.0.0/8"] }), "proxy.wide", "warn"],
  [
    "a loopback proxy by its listing alone",
    state({ ...proxied, "gateway.trustedProxies": ["127.0.0.1"] }),
    "proxy.loopback-implied",
    "warn",
  ],
  [
    "a loopback proxy on purpose",
    state({ ...proxied, "gateway.trustedProxies": ["::1"], "gateway.auth.trustedProxy.allowLoopback": true }),
    "proxy.loopback",
    "info",
  ],
  ["a proxy that names no user", state({ "gateway.auth.mode": "trusted-proxy" }), "proxy.no-user-header", "critical"],
  [
    "a proxy for every user",
    state({ ...proxied, "gateway.auth.trustedProxy.allowUsers": [] }),
    "proxy.every-user",
    "info",
  ],
  [
    "a proxy whose users are all admins",
    state({ "gateway.auth.mode": "trusted-proxy", "gateway.auth.trustedProxy.userHeader": "x" }),
    "proxy.every-user-is-admin",
    "warn",
  ],
  [
    "nodes of a private network without approval",
    state({ "gateway.nodes.pairing.autoApproveCidrs": ["10.0.0.0/8"] }),
    "nodes.auto-approve-wide",
    "warn",
  ],
  [
    "nodes from anywhere without approval",
    state({ "gateway.nodes.pairing.autoApproveCidrs": ["0.0.0.0/0"] }),
    "nodes.auto-approve-wide",
    "critical",
  ],
  [
    "a proxy's range whose nodes need no approval",
    state({
      "gateway.trustedProxies": ["10.233.64.0/18"],
      "gateway.nodes.pairing.autoApproveCidrs": ["10.233.64.7/32"],
    }),
    "nodes.auto-approve-proxy",
    "warn",
  ],
  [
    "a tailnet that nobody confirms",
    state({ "gateway.tailscale.mode": "require" }, { hasTailscale: false }),
    "tailscale.no-whois",
    "warn",
  ],
  ["a node that runs anything", state({ "node.execPolicy": "full" }), "node.exec-full", "warn"],
  ["a limit that limits nothing", state({ "gateway.auth.rateLimit.maxAttempts": 100_000 }), "rate-limit.high", "warn"],
];

test.each(rows)("%s", (_what, audited, id, severity) => {
  const finding = auditSecurity(audited).find((one) => one.id === id);
  expect(finding).toMatchObject({ id, severity });
  for (const text of [finding?.what, finding?.why, finding?.fix]) expect(text).toMatch(/^\S.*[^.]$/su);
});

const safe: readonly (readonly [string, AuditedState])[] = [
  ["the defaults, with a service", state(services)],
  ["a proxy with users, scopes and an origin", state({ ...services, ...proxied })],
  ["a cluster's network as proxies", state({ ...services, "gateway.trustedProxies": ["10.233.64.0/18"] })],
  ["TLS on the network", state({ ...services, "gateway.bind": "lan", "gateway.tls.enabled": true })],
  [
    "a loopback proxy that is forbidden",
    state({
      ...services,
      ...proxied,
      "gateway.trustedProxies": ["127.0.0.1"],
      "gateway.auth.trustedProxy.allowLoopback": false,
    }),
  ],
  ["a readable configuration without secrets", state(services, { files: [file({ kind: "config", mode: 0o644 })] })],
  ["a tailnet with its program", state({ ...services, "gateway.tailscale.mode": "enabled" })],
  ["a plain origin on loopback", state({ ...services, "gateway.controlUi.allowedOrigins": ["http://localhost:5173"] })],
];

test.each(safe)("nothing is found in %s", (_what, audited) => {
  expect(auditSecurity(audited)).toEqual([]);
});

test.each([
  [{}, "whoever has the shared secret and an address there adds a machine"],
  [proxied, "whoever the proxy lets through with an address there adds a machine"],
  [{ "gateway.auth.mode": "none" }, "whoever has an address there adds a machine"],
] as const)("a wide range of nodes says who may add one: %j", (mode, why) => {
  const found = auditSecurity(state({ ...mode, "gateway.nodes.pairing.autoApproveCidrs": ["10.0.0.0/8"] }));
  expect(found.find(({ id }) => id === "nodes.auto-approve-wide")?.why).toBe(why);
});

test("a range that is a proxy's too names both, and the fix leaves the others", () => {
  const found = auditSecurity(
    state({
      "gateway.trustedProxies": ["192.0.2.10", "127.0.0.1"],
      "gateway.nodes.pairing.autoApproveCidrs": ["192.0.2.0/24", "198.51.100.0/24", "127.0.0.0/8"],
    }),
  ).filter(({ id }) => id === "nodes.auto-approve-proxy");
  expect(found).toMatchObject([
    {
      what: "new nodes from 192.0.2.0/24 need no approval, and proxies are trusted there (192.0.2.10)",
      fix: `openclaw config set gateway.nodes.pairing.autoApproveCidrs '["198.51.100.0/24","127.0.0.0/8"]'`,
    },
  ]);
});

test.each([
  ["10.0.0.0/8", "10.1.2.3", true],
  ["10.1.2.3", "10.0.0.0/8", true],
  ["10.1.0.0/16", "10.2.0.0/16", false],
  ["::ffff:10.0.0.0/104", "10.9.9.9", true],
  ["0.0.0.0/0", "2001:db8::/32", false],
  ["::/0", "2001:db8::/32", true],
  ["192.0.2.1", "192.0.2.1", true],
])("%s and %s have an address in common: %s", (one, other, isSo) => {
  expect(rangesMeet(one, other)).toBe(isSo);
});

test("every fix about origins names the same list, without what is wrong in it", () => {
  const origins = ["*", "http://gw.example", "http://localhost:5173", "https://gw.example"];
  const found = auditSecurity(state({ ...services, "gateway.controlUi.allowedOrigins": origins }));
  expect(found.map(({ id, fix }) => [id, fix])).toEqual(
    ["origins.any", "origins.plain-http"].map((id) => [
      id,
      `openclaw config set gateway.controlUi.allowedOrigins '["https://gw.example","http://localhost:5173"]'`,
    ]),
  );
});

test("every check has a row, and the worst come first", () => {
  const found = new Set(rows.flatMap(([, audited]) => auditSecurity(audited).map(({ id }) => id)));
  expect([...found].toSorted()).toEqual([...new Set(rows.map(([, , id]) => id))].toSorted());
  const severities = rows.map(([, audited]) => auditSecurity(audited).map(({ severity }) => severity));
  const order = ["critical", "warn", "info"];
  for (const one of severities) expect(one).toEqual(one.toSorted((a, b) => order.indexOf(a) - order.indexOf(b)));
});

test("that loopback alone is not enough is said with the way that is", () => {
  const [finding] = auditSecurity(state());
  expect(finding?.why).toContain("loopback alone is not enough");
  expect(finding?.fix).toBe("openclaw devices service-account create my-service --scope operator.write");
});

describe("secrets", () => {
  test.each([
    ["short1", "guessed"],
    ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "guessed"],
    ["abcdeabcdeabcdeabcdeabcde", "guessed"],
    ["abcdefghijklmnop", "guessed"],
    ["87654321", "guessed"],
    ["my-secret-token-123", "guessed"],
    ["Passw0rd", "short"],
    ["kT9vB2mQx7Lp", "short"],
    [goodToken, undefined],
    ["correct horse battery staple", undefined],
  ] as const)("%s is judged as a token", (secret, kind) => {
    expect(weaknessOf(secret, "token")?.kind).toBe(kind);
  });

  test("a password may be shorter than a token, and nothing of it is in the answer", () => {
    expect(weaknessOf("kT9vB2mQx7Lp", "password")).toBeUndefined();
    expect(JSON.stringify(weaknessOf("openclaw-openclaw", "password"))).not.toContain("openclaw");
  });
});

test.each<[range: string, width: RangeWidth]>([
  ["192.0.2.1", "narrow"],
  ["0.0.0.0/0", "everybody"],
  ["::ffff:0.0.0.0/96", "everybody"],
  ["203.0.113.0/24", "narrow"],
  ["203.0.0.0/16", "public-wide"],
  ["172.16.0.0/12", "private-wide"],
  ["192.168.0.0/16", "narrow"],
  ["10.233.64.0/18", "narrow"],
  ["127.0.0.0/8", "loopback"],
  ["127.0.0.1/32", "narrow"],
  ["2001:db8::/16", "public-wide"],
  ["fd00::/8", "private-wide"],
  ["fd00:1:2::/48", "narrow"],
])("%s is %s", (range, width) => {
  expect(rangeWidth(range)).toBe(width);
});
