import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { approveDevice } from "../../src/pairing/requests.ts";
import { deriveToken, issueToken, reissuableToken, revokeToken, widenToken } from "../../src/pairing/tokens.ts";
import { hashSecret } from "../../src/secret.ts";

const gatewayKey = Buffer.alloc(32, 1);
const paired: DeviceRecord = {
  deviceId: "d",
  publicKey: "k",
  clientId: "cli",
  clientMode: "cli",
  roles: ["operator", "node"],
  scopes: ["operator.admin"],
  tokens: {},
  createdAtMs: 1,
  approvedAtMs: 1,
  approvedVia: "owner",
};

const role = fc.constantFrom("operator", "node");
const salt = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString("base64url"));
const key = fc.uint8Array({ minLength: 32, maxLength: 32 });

function issue(device: DeviceRecord, forRole: string, withSalt: string, nowMs = 100) {
  return issueToken(device, { gatewayKey, role: forRole, scopes: ["operator.read"], salt: withSalt, nowMs });
}

describe("a token", () => {
  test("has 43 characters of base64url", () => {
    fc.assert(
      fc.property(key, role, salt, (secret, forRole, one) => {
        expect(deriveToken(secret, "d", forRole, one)).toMatch(/^[\w-]{43}$/u);
      }),
    );
  });

  test("is the same for the same key, device, role and salt, and another for any other", () => {
    const token = deriveToken(gatewayKey, "d", "node", "s");
    expect(deriveToken(Buffer.from(gatewayKey), "d", "node", "s")).toBe(token);
    const others = [
      deriveToken(Buffer.alloc(32, 2), "d", "node", "s"),
      deriveToken(gatewayKey, "e", "node", "s"),
      deriveToken(gatewayKey, "d", "operator", "s"),
      deriveToken(gatewayKey, "d", "node", "t"),
    ];
    expect(new Set([token, ...others]).size).toBe(5);
  });
});

describe("widening", () => {
  test("leaves the token as it is, and lets it hold what it is told", () => {
    const { device, token } = issue(paired, "operator", "s");
    const wider = widenToken(device, "operator", ["operator.admin"]);
    if (wider === undefined) throw new Error("there is a token");
    expect(wider.tokens["operator"]).toEqual({ ...device.tokens["operator"], scopes: ["operator.admin"] });
    expect(reissuableToken(gatewayKey, wider, "operator")).toBe(token);
  });

  test.each<[string, DeviceRecord, string]>([
    ["no token for the role", paired, "operator"],
    ["a token that was revoked", revokeToken(issue(paired, "operator", "s").device, "operator", 200), "operator"],
    ["a role by the name of something else", paired, "constructor"],
  ])("is not for %s", (_what, device, forRole) => {
    expect(widenToken(device, forRole, [])).toBeUndefined();
  });
});

describe("issuing", () => {
  test("stores a hash that the token has, and nothing the token could be read from", () => {
    fc.assert(
      fc.property(role, salt, (forRole, one) => {
        const { device, token, record } = issue(paired, forRole, one);
        expect(record).toEqual({
          role: forRole,
          scopes: ["operator.read"],
          hash: hashSecret(token),
          salt: one,
          createdAtMs: 100,
        });
        expect(device).toEqual({ ...paired, tokens: { [forRole]: record } });
        expect(JSON.stringify(device)).not.toContain(token);
      }),
    );
  });

  test("again replaces the token, keeps its first date and leaves the other role's alone", () => {
    fc.assert(
      fc.property(fc.uniqueArray(salt, { minLength: 3, maxLength: 3 }), ([a = "", b = "", c = ""]) => {
        const both = issue(issue(paired, "node", a, 10).device, "operator", b, 20).device;
        const { device, token, record } = issue(both, "operator", c, 30);
        expect(record).toMatchObject({ createdAtMs: 20, rotatedAtMs: 30, hash: hashSecret(token) });
        expect(record.hash).not.toBe(both.tokens["operator"]?.hash);
        expect(device.tokens["node"]).toEqual(both.tokens["node"]);
      }),
    );
  });
});

describe("giving it out again", () => {
  test("works while the record stands, and gives the very same token", () => {
    fc.assert(
      fc.property(role, salt, (forRole, one) => {
        const { device, token } = issue(paired, forRole, one);
        expect(reissuableToken(gatewayKey, device, forRole)).toBe(token);
      }),
    );
  });

  test("is impossible without a record, after a revocation, and with another gateway key", () => {
    fc.assert(
      fc.property(role, salt, key, (forRole, one, other) => {
        const { device } = issue(paired, forRole, one);
        expect(reissuableToken(gatewayKey, paired, forRole)).toBeUndefined();
        expect(reissuableToken(gatewayKey, revokeToken(device, forRole, 200), forRole)).toBeUndefined();
        fc.pre(!gatewayKey.equals(other));
        expect(reissuableToken(other, device, forRole)).toBeUndefined();
      }),
    );
  });
});

describe("revoking", () => {
  const both = issue(issue(paired, "node", "n", 10).device, "operator", "o", 20).device;

  test("ends the role and the use of its token, and leaves the other role as it is", () => {
    const device = revokeToken(both, "node", 200);
    expect(device).toEqual({
      ...both,
      roles: ["operator"],
      tokens: { ...both.tokens, node: { ...both.tokens["node"], revokedAtMs: 200 } },
    });
  });

  test("of the operator's takes its scopes along: an approval of less does not bring them back", () => {
    const device = revokeToken(both, "operator", 200);
    expect(device).toMatchObject({ roles: ["node"], scopes: [] });
    const request = {
      requestId: "r",
      deviceId: "d",
      publicKey: "k",
      clientId: "cli",
      clientMode: "cli",
      role: "operator",
      scopes: ["operator.read"],
      reason: "role-upgrade" as const,
      isRepair: true,
      createdAtMs: 300,
      ts: 300,
    };
    expect(approveDevice(device, request, "owner", 400).scopes).toEqual(["operator.read"]);
  });

  test("of a role that has no token still ends the role", () => {
    expect(revokeToken(paired, "node", 200)).toEqual({ ...paired, roles: ["operator"] });
  });

  test.each(["constructor", "__proto__", "toString"])("of %j, which is no role, changes nothing", (name) => {
    expect(revokeToken(both, name, 200)).toEqual(both);
  });

  test("is undone by a new token only, under the record's first date", () => {
    const again = issue(revokeToken(both, "operator", 200), "operator", "p", 300);
    expect(again.record).toEqual({
      role: "operator",
      scopes: ["operator.read"],
      hash: hashSecret(again.token),
      salt: "p",
      createdAtMs: 20,
      rotatedAtMs: 300,
    });
    expect(reissuableToken(gatewayKey, again.device, "operator")).toBe(again.token);
  });
});
