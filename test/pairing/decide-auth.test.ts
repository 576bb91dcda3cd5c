import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type AuthDecision,
  type AuthMethod,
  type AuthMode,
  type AuthPolicy,
  decideAuth,
  isInternalClient,
  isSharedSecret,
  type Presented,
} from "../../src/pairing/decide-auth.ts";
import { decidePairing } from "../../src/pairing/decide-pairing.ts";
import type { InviteRecord, InviteVerdict } from "../../src/pairing/invites.ts";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { issueToken, revokeToken } from "../../src/pairing/tokens.ts";
import { refusals } from "../../src/protocol/refusals.ts";
import { holdsScopes } from "../../src/protocol/vocabulary.ts";
import { credentialDigest, hashSecret, Secret } from "../../src/secret.ts";

const modes: readonly (AuthMode | undefined)[] = ["token", "password", "trusted-proxy", "none", undefined];

/** A gateway with every secret there is; the mode says which of them count. */
function gateway(mode: AuthMode | undefined, without: readonly ("token" | "password")[] = []): AuthPolicy {
  return {
    mode,
    token: without.includes("token") ? undefined : new Secret("the-token"),
    password: without.includes("password") ? undefined : new Secret("the-password"),
    internalSecret: new Secret("the-internal-secret"),
  };
}

const gatewayKey = Buffer.alloc(32, 7);
const paired: DeviceRecord = {
  deviceId: "d".repeat(64),
  publicKey: "key",
  clientId: "node-host",
  clientMode: "node",
  roles: ["operator", "node"],
  scopes: ["operator.read"],
  tokens: {},
  createdAtMs: 1,
  approvedAtMs: 1,
  approvedVia: "owner",
};
const first = issueToken(paired, { gatewayKey, role: "operator", scopes: ["operator.read"], salt: "1", nowMs: 1 });
const both = issueToken(first.device, { gatewayKey, role: "node", scopes: [], salt: "2", nowMs: 1 });
const device = both.device;
const operatorToken = first.token;
const nodeToken = both.token;
const rotated = issueToken(device, {
  gatewayKey,
  role: "operator",
  scopes: ["operator.read"],
  salt: "3",
  nowMs: 2,
}).device;
const revoked = revokeToken(device, "operator", 2);
/** Approved for more than its token holds. */
const narrowed: DeviceRecord = { ...device, scopes: ["operator.admin"] };

/** An operator's connect from afar, with a device key and no credential. */
const nothing: Presented = {
  role: "operator",
  scopes: ["operator.read"],
  clientId: "openclaw-macos",
  clientMode: "ui",
  isDirect: false,
  hasDevice: true,
};

const invite: InviteRecord = {
  inviteId: "i",
  secretHash: hashSecret("the-invite"),
  role: "node",
  createdAtMs: 1,
  expiresAtMs: 2,
  url: "ws://127.0.0.1:1",
};
const invites = {
  first: { ok: true, use: "first", invite },
  again: { ok: true, use: "again", invite },
  used: { ok: false, refusal: "used", message: "used", invite },
  unknown: { ok: false, refusal: "unknown", message: "unknown", invite: undefined },
} as const satisfies Record<string, InviteVerdict>;
const shows = (verdict: InviteVerdict | undefined) => (verdict === undefined ? {} : { bootstrapToken: "the-invite" });

/** What a table needs of a decision: who let it in, or `code/reason`. */
function answer(decision: AuthDecision): string {
  return decision.ok ? `in by ${decision.by}` : `${decision.code} ${decision.reason}`;
}

function ask(
  policy: AuthPolicy,
  seen: Partial<Presented>,
  record: DeviceRecord | undefined,
  verdict?: InviteVerdict,
): string {
  return answer(decideAuth(policy, { ...nothing, ...shows(verdict), ...seen }, record, verdict));
}

describe("an invite", () => {
  const asNode = { role: "node", scopes: [], clientId: "node-host", clientMode: "node" } as const;

  test.each(modes)("in mode %s lets its bearer in", (mode) => {
    expect(ask(gateway(mode), asNode, undefined, invites.first)).toBe("in by bootstrap-token");
    expect(ask(gateway(mode), asNode, device, invites.again)).toBe("in by bootstrap-token");
  });

  test.each(modes)("that is dead does not in mode %s, also where no credential is asked for", (mode) => {
    expect(ask(gateway(mode), asNode, undefined, invites.used)).toBe(
      "AUTH_BOOTSTRAP_TOKEN_INVALID bootstrap_token_used",
    );
  });

  test.each<[name: string, seen: Partial<Presented>, verdict: InviteVerdict, want: string]>([
    ["shown in the header too, as our client does", { header: "the-invite" }, invites.first, "in by bootstrap-token"],
    [
      "dead, and shown in the header too",
      { header: "the-invite" },
      invites.unknown,
      "AUTH_BOOTSTRAP_TOKEN_INVALID bootstrap_token_unknown",
    ],
    ["beside the right token", { token: "the-token" }, invites.first, "in by token"],
    ["beside a wrong token", { token: "no" }, invites.first, "in by bootstrap-token"],
    ["dead beside a wrong token", { token: "no" }, invites.used, "AUTH_TOKEN_MISMATCH token_mismatch"],
    ["dead beside the right token", { token: "the-token" }, invites.used, "in by token"],
    ["dead beside the device's own token", { deviceToken: nodeToken }, invites.used, "in by device-token"],
  ])("%s", (_name, seen, verdict, want) => {
    expect(ask(gateway("token"), { ...asNode, ...seen }, device, verdict)).toBe(want);
  });
});

describe("a shared secret in each mode", () => {
  const wrongToken = "AUTH_TOKEN_MISMATCH token_mismatch";
  const wrongPassword = "AUTH_PASSWORD_MISMATCH password_mismatch";
  const untrusted = "AUTH_UNAUTHORIZED trusted_proxy_untrusted_source";
  const tokenMissing = "AUTH_TOKEN_MISSING token_missing";

  type Row = [
    what: string,
    seen: Partial<Presented>,
    ...answers: [token: string, password: string, proxy: string, none: string, unset: string],
  ];
  const rows: Row[] = [
    ["nothing", {}, tokenMissing, "AUTH_PASSWORD_MISSING password_missing", untrusted, "in by none", tokenMissing],
    [
      "empty strings, which are nothing",
      { header: "", token: "", password: "", deviceToken: "" },
      tokenMissing,
      "AUTH_PASSWORD_MISSING password_missing",
      untrusted,
      "in by none",
      tokenMissing,
    ],
    [
      "the token in the frame",
      { token: "the-token" },
      "in by token",
      wrongToken,
      wrongToken,
      wrongToken,
      "in by token",
    ],
    [
      "the token in the header",
      { header: "the-token" },
      "in by token",
      wrongToken,
      wrongToken,
      wrongToken,
      "in by token",
    ],
    [
      "the token as a password",
      { password: "the-token" },
      "in by token",
      wrongPassword,
      wrongPassword,
      wrongPassword,
      "in by token",
    ],
    [
      "the password in its field",
      { password: "the-password" },
      wrongPassword,
      "in by password",
      wrongPassword,
      wrongPassword,
      "in by password",
    ],
    [
      "the password in the header",
      { header: "the-password" },
      wrongToken,
      "in by password",
      wrongToken,
      wrongToken,
      "in by password",
    ],
    [
      "the password as a token",
      { token: "the-password" },
      wrongToken,
      "in by password",
      wrongToken,
      wrongToken,
      "in by password",
    ],
    [
      "the token and the password",
      { token: "the-token", password: "the-password" },
      "in by token",
      "in by password",
      wrongPassword,
      wrongPassword,
      "in by token",
    ],
    [
      "a wrong token and the password",
      { token: "no", password: "the-password" },
      wrongPassword,
      "in by password",
      wrongPassword,
      wrongPassword,
      "in by password",
    ],
    [
      "the token and a wrong password",
      { token: "the-token", password: "no" },
      "in by token",
      wrongPassword,
      wrongPassword,
      wrongPassword,
      "in by token",
    ],
    ["a wrong token", { token: "no" }, wrongToken, wrongToken, wrongToken, wrongToken, wrongToken],
    ["a wrong header", { header: "no" }, wrongToken, wrongToken, wrongToken, wrongToken, wrongToken],
    ["a wrong password", { password: "no" }, wrongPassword, wrongPassword, wrongPassword, wrongPassword, wrongPassword],
    ["the beginning of the token", { token: "the-toke" }, wrongToken, wrongToken, wrongToken, wrongToken, wrongToken],
    [
      "the secret of the gateway's own callers, from somebody else",
      { token: "the-internal-secret" },
      wrongToken,
      wrongToken,
      wrongToken,
      wrongToken,
      wrongToken,
    ],
  ];
  const cases = rows.flatMap(([what, seen, ...answers]) =>
    modes.map((mode, at) => [what, mode, seen, answers[at]] as const),
  );

  test.each(cases)("%s, mode %s", (_what, mode, seen, want) => {
    expect(ask(gateway(mode), seen, device)).toBe(want);
  });
});

describe("a gateway that lacks its secret", () => {
  test.each<[what: string, policy: AuthPolicy, want: string]>([
    ["mode token without a token", gateway("token", ["token"]), "AUTH_TOKEN_NOT_CONFIGURED token_not_configured"],
    [
      "mode password without a password",
      gateway("password", ["password"]),
      "AUTH_PASSWORD_NOT_CONFIGURED password_not_configured",
    ],
    ["no mode, only a password", gateway(undefined, ["token"]), "AUTH_PASSWORD_MISSING password_missing"],
    ["no mode, no secret", gateway(undefined, ["token", "password"]), "AUTH_TOKEN_MISSING token_missing"],
  ])("%s says so to whoever shows nothing", (_what, policy, want) => {
    expect(ask(policy, {}, device)).toBe(want);
  });

  test.each(modes)("mode %s: nothing that is shown can be right", (mode) => {
    expect(ask(gateway(mode, ["token", "password"]), { token: "the-token" }, device)).toBe(
      "AUTH_TOKEN_MISMATCH token_mismatch",
    );
  });
});

test.each(modes)("mode %s: without a device and a credential, it is the device that is asked for", (mode) => {
  const want = mode === "none" ? "in by none" : "DEVICE_IDENTITY_REQUIRED device_identity_missing";
  expect(ask(gateway(mode), { hasDevice: false }, undefined)).toBe(want);
});

describe("header and frame", () => {
  const differ = "AUTH_TOKEN_MISMATCH header_frame_token_differ";
  test.each<[what: string, seen: Partial<Presented>, want: string]>([
    ["both right", { header: "the-token", token: "the-token" }, "in by token"],
    ["the header right, the frame wrong", { header: "the-token", token: "no" }, differ],
    ["the header right, the frame empty", { header: "the-token", token: "" }, "in by token"],
    ["both wrong, the same", { header: "no", token: "no" }, "AUTH_TOKEN_MISMATCH token_mismatch"],
    ["both wrong, different", { header: "no", token: "neither" }, "AUTH_TOKEN_MISMATCH token_mismatch"],
    ["the shared token and the device's own", { header: "the-token", token: operatorToken }, "in by device-token"],
    ["the device's own token and the shared one", { header: operatorToken, token: "the-token" }, "in by device-token"],
    ["the device's own token and a wrong one", { header: operatorToken, token: "no" }, differ],
    ["the shared token and one of another role", { header: "the-token", token: nodeToken }, differ],
    [
      "the token in the header and the password in its field",
      { header: "the-token", password: "the-password" },
      "in by token",
    ],
  ])("%s", (_what, seen, want) => {
    expect(ask(gateway("token"), seen, device)).toBe(want);
  });

  test("a difference counts as a wrong credential", () => {
    const decision = decideAuth(gateway("token"), { ...nothing, header: "the-token", token: "no" }, undefined);
    expect(decision).toMatchObject({ ok: false, wasWrong: true });
  });
});

describe("a device token", () => {
  const unknown = "AUTH_DEVICE_TOKEN_MISMATCH device_token_mismatch";
  const wasRevoked = "AUTH_DEVICE_TOKEN_MISMATCH device_token_revoked";
  const tooWide = "AUTH_SCOPE_MISMATCH scope_mismatch";
  const wide = ["operator.read", "operator.admin"];
  const besideWrong = { token: "no", deviceToken: operatorToken, scopes: wide };

  test.each<[what: string, seen: Partial<Presented>, record: DeviceRecord | undefined, want: string]>([
    ["in its own field", { deviceToken: operatorToken }, device, "in by device-token"],
    ["in the field of the shared token", { token: operatorToken }, device, "in by device-token"],
    [
      "in both, as older clients send it",
      { token: operatorToken, deviceToken: operatorToken },
      device,
      "in by device-token",
    ],
    ["in the header", { header: operatorToken }, device, "in by device-token"],
    ["for a node", { role: "node", scopes: [], deviceToken: nodeToken }, device, "in by device-token"],
    ["for fewer scopes than it has", { deviceToken: operatorToken, scopes: [] }, device, "in by device-token"],
    [
      "for a node, whatever scopes it names",
      { role: "node", scopes: wide, deviceToken: nodeToken },
      device,
      "in by device-token",
    ],
    // The second gate asks a person (auth.md § 8); this one only says who it is.
    ["for more than its device may", { deviceToken: operatorToken, scopes: wide }, device, "in by device-token"],
    [
      "for more, in the field of the shared token",
      { token: operatorToken, scopes: wide },
      device,
      "in by device-token",
    ],
    ["for more, beside a wrong shared token", besideWrong, device, "in by device-token"],
    ["for what its device may and it was narrowed to", { deviceToken: operatorToken, scopes: wide }, narrowed, tooWide],
    ["the same in the field of the shared token", { token: operatorToken, scopes: wide }, narrowed, tooWide],
    [
      "for more scopes, beside the shared token",
      { token: "the-token", deviceToken: operatorToken, scopes: wide },
      device,
      "in by token",
    ],
    ["of the other role", { deviceToken: nodeToken }, device, unknown],
    [
      "of the other role, in the field of the shared token",
      { token: nodeToken },
      device,
      "AUTH_TOKEN_MISMATCH token_mismatch",
    ],
    ["that was rotated away", { deviceToken: operatorToken }, rotated, unknown],
    ["that was revoked", { deviceToken: operatorToken }, revoked, wasRevoked],
    ["that was revoked, in the field of the shared token", { token: operatorToken }, revoked, wasRevoked],
    ["that is wrong, of a device whose token was revoked", { deviceToken: "no" }, revoked, wasRevoked],
    [
      "that was revoked, beside the shared token",
      { token: "the-token", deviceToken: operatorToken },
      revoked,
      "in by token",
    ],
    ["of a device that was removed", { deviceToken: operatorToken }, undefined, unknown],
    ["without the device's key", { deviceToken: operatorToken, hasDevice: false }, undefined, unknown],
    ["that is wrong", { deviceToken: "no" }, device, unknown],
    [
      "that is right, beside a wrong shared token",
      { token: "no", deviceToken: operatorToken },
      device,
      "in by device-token",
    ],
    [
      "that is right, beside a wrong password",
      { password: "no", deviceToken: operatorToken },
      device,
      "in by device-token",
    ],
    ["that is wrong, beside the shared token", { token: "the-token", deviceToken: "no" }, device, "in by token"],
    ["that is wrong, beside a wrong shared token", { token: "no", deviceToken: "neither" }, device, unknown],
  ])("%s", (_what, seen, record, want) => {
    expect(ask(gateway("token"), seen, record)).toBe(want);
  });

  test.each(modes)("works in mode %s", (mode) => {
    expect(ask(gateway(mode, ["token", "password"]), { deviceToken: operatorToken }, device)).toBe(
      "in by device-token",
    );
  });
});

describe("the gateway's own callers", () => {
  const backend: Partial<Presented> = {
    clientId: "gateway-client",
    clientMode: "backend",
    hasDevice: false,
    isDirect: true,
  };
  const cli: Partial<Presented> = { ...backend, clientId: "cli", clientMode: "cli" };
  const callers = [
    ["backend", backend],
    ["cli", cli],
  ] as const;
  const secrets = ["the-token", "the-password", "the-internal-secret"];
  const matrix = callers.flatMap(([name, caller]) =>
    modes.flatMap((mode) => secrets.map((secret) => [name, mode, secret, caller] as const)),
  );

  test.each(matrix)("%s, direct, mode %s, with %s: in", (_name, mode, secret, caller) => {
    expect(ask(gateway(mode), { ...caller, token: secret }, undefined)).toMatch(/^in by (token|password|internal)$/u);
  });

  test.each(callers)("%s through a tunnel or a proxy: the internal path is closed", (_name, caller) => {
    const tunnelled = { ...caller, isDirect: false };
    expect(ask(gateway("trusted-proxy"), { ...tunnelled, token: "the-token" }, undefined)).toBe(
      "AUTH_TOKEN_MISMATCH token_mismatch",
    );
    expect(ask(gateway("token"), { ...tunnelled, token: "the-internal-secret" }, undefined)).toBe(
      "AUTH_TOKEN_MISMATCH token_mismatch",
    );
    expect(ask(gateway("token"), { ...tunnelled, token: "the-token" }, undefined)).toBe("in by token");
  });

  test.each(callers)("%s with a wrong secret is refused in every mode, none included", (_name, caller) => {
    for (const mode of modes)
      expect(ask(gateway(mode), { ...caller, token: "no" }, undefined)).toBe("AUTH_TOKEN_MISMATCH token_mismatch");
  });

  test.each(callers)("%s without a secret gets in only where no authentication is asked for", (_name, caller) => {
    for (const mode of modes) {
      const want = mode === "none" ? "in by none" : "DEVICE_IDENTITY_REQUIRED device_identity_missing";
      expect(ask(gateway(mode), caller, undefined)).toBe(want);
    }
  });

  test.each<[clientId: string, clientMode: string, isOne: boolean]>([
    ["gateway-client", "backend", true],
    ["cli", "cli", true],
    ["gateway-client", "cli", false],
    ["cli", "backend", false],
    ["openclaw-tui", "ui", false],
    ["node-host", "node", false],
    ["openclaw-probe", "probe", false],
  ])("%s in mode %s is one of them: %s", (clientId, clientMode, isOne) => {
    expect(isInternalClient(clientId, clientMode)).toBe(isOne);
  });

  test("any other client does not get in by their secret", () => {
    const other = { clientId: "openclaw-tui", clientMode: "ui", isDirect: true, token: "the-internal-secret" };
    expect(ask(gateway("token"), other, device)).toBe("AUTH_TOKEN_MISMATCH token_mismatch");
  });
});

test.each<[bearer: string, isOne: boolean]>([
  ["the-token", true],
  ["the-password", true],
  ["the-internal-secret", true],
  ["no", false],
  ["", false],
])("the bearer %j may be right before any frame: %s", (bearer, isOne) => {
  for (const mode of modes) expect(isSharedSecret(gateway(mode), credentialDigest(bearer))).toBe(isOne);
});

describe("of any policy and any connect", () => {
  const credential = fc.constantFrom(
    undefined,
    "",
    "the-token",
    "the-password",
    "the-internal-secret",
    "no",
    operatorToken,
    nodeToken,
  );
  const anyPolicy = fc.record({
    mode: fc.constantFrom(...modes),
    without: fc.subarray(["token", "password"] as const),
  });
  const anyPresented: fc.Arbitrary<Presented> = fc.record({
    header: credential,
    token: credential,
    password: credential,
    deviceToken: credential,
    role: fc.constantFrom("operator", "node"),
    scopes: fc.subarray(["operator.read", "operator.write", "operator.admin", "constructor"]),
    clientId: fc.constantFrom("cli", "gateway-client", "node-host"),
    clientMode: fc.constantFrom("cli", "backend", "node"),
    isDirect: fc.boolean(),
    hasDevice: fc.boolean(),
  });
  const anyDevice = fc.constantFrom(undefined, device, rotated, revoked, narrowed);
  const methods: AuthMethod[] = [
    "local",
    "device-token",
    "token",
    "password",
    "tailscale",
    "trusted-proxy",
    "bootstrap-token",
    "internal",
    "none",
  ];
  const anyInvite = fc.constantFrom(undefined, ...Object.values(invites));

  test("the answer names every method in order, and the first that accepted decides", () => {
    fc.assert(
      fc.property(anyPolicy, anyPresented, anyDevice, anyInvite, ({ mode, without }, presented, record, invite) => {
        const decision = decideAuth(gateway(mode, without), { ...presented, ...shows(invite) }, record, invite);
        expect(decision.trace.map(({ method }) => method)).toEqual(methods);
        const winner = decision.trace.find(({ outcome }) => outcome === "accepted")?.method;
        // One thing alone stands against a method that accepted: header and frame that contradict each other.
        const isOverruled = !decision.ok && decision.reason === "header_frame_token_differ";
        expect(decision.ok ? decision.by : undefined).toBe(isOverruled ? undefined : winner);
      }),
    );
  });

  test("a refusal has a code of the table, and counts as wrong when anything was shown", () => {
    fc.assert(
      fc.property(anyPolicy, anyPresented, anyDevice, anyInvite, ({ mode, without }, presented, record, invite) => {
        const decision = decideAuth(gateway(mode, without), { ...presented, ...shows(invite) }, record, invite);
        fc.pre(!decision.ok);
        const { header, token, password, deviceToken } = presented;
        const shown = [header, token, password, deviceToken, shows(invite).bootstrapToken];
        expect(decision.wasWrong).toBe(shown.some((value) => value !== undefined && value !== ""));
        expect(Object.keys(refusals)).toContain(decision.code);
      }),
    );
  });

  test("whoever shows something, and nothing right, is not let in by a method that asks for nothing", () => {
    const wrong = fc.subarray(["header", "token", "password", "deviceToken"] as const, { minLength: 1 });
    fc.assert(
      fc.property(anyPolicy, anyPresented, anyDevice, wrong, ({ mode, without }, presented, record, fields) => {
        const { header: _h, token: _t, password: _p, deviceToken: _d, ...bare } = presented;
        const seen = { ...bare, ...Object.fromEntries(fields.map((field) => [field, "no"])) };
        expect(decideAuth(gateway(mode, without), seen, record).ok).toBe(false);
      }),
    );
  });

  test("a device token alone never brings more scopes than it holds", () => {
    const policy = { autoApproveOperators: "loopback", trustedLocalServices: [] } as const;
    fc.assert(
      fc.property(anyPolicy, anyPresented, anyDevice, ({ mode, without }, anyone, record) => {
        const presented = { ...anyone, role: "operator", hasDevice: true } as const;
        const decision = decideAuth(gateway(mode, without), presented, record);
        fc.pre(decision.ok && decision.by === "device-token");
        const applicant = { ...presented, authenticatedBy: "device-token", isProvenLocal: true } as const;
        const { ok } = decidePairing(policy, applicant, record);
        expect(ok === "admit" && !holdsScopes(record?.tokens["operator"]?.scopes ?? [], presented.scopes)).toBe(false);
        expect(ok).not.toBe("enrol");
      }),
    );
  });

  test("a device token opens nothing without the device's key", () => {
    fc.assert(
      fc.property(anyPolicy, anyPresented, anyDevice, ({ mode, without }, presented, record) => {
        const decision = decideAuth(gateway(mode, without), { ...presented, hasDevice: false }, record);
        expect(decision.ok && decision.by).not.toBe("device-token");
      }),
    );
  });

  test("no secret and no token is in the trace, nor in the refusal", () => {
    fc.assert(
      fc.property(anyPolicy, anyPresented, anyDevice, ({ mode, without }, presented, record) => {
        const told = JSON.stringify(decideAuth(gateway(mode, without), presented, record));
        for (const secret of ["the-token", "the-password", "the-internal-secret", operatorToken, nodeToken]) {
          expect(told).not.toContain(secret);
        }
      }),
    );
  });
});
