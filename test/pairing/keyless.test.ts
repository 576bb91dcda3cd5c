/** Devices without a key, as plain data: who they are, what they may ask for, and which of them a token belongs to. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  findKeyless,
  hasUsedToken,
  isGranted,
  keylessDeviceId,
  keylessScopes,
  usedToken,
} from "../../src/pairing/keyless.ts";
import type { DeviceRecord, TokenRecord } from "../../src/pairing/records.ts";
import { approveDevice } from "../../src/pairing/requests.ts";
import { operatorScopes } from "../../src/protocol/vocabulary.ts";

const token = (role: string, hash: string): TokenRecord => ({ role, scopes: [], hash, salt: "s", createdAtMs: 1 });
const device = (more: Partial<DeviceRecord> = {}): DeviceRecord => ({
  deviceId: "keyless-1",
  publicKey: "",
  keyless: true,
  clientId: "json-rpc",
  clientMode: "backend",
  roles: ["operator"],
  scopes: ["operator.write"],
  tokens: { operator: token("operator", "a") },
  createdAtMs: 1,
  approvedAtMs: 1,
  approvedVia: "owner",
  ...more,
});

test("an id says that there is no key, does not give its claim away, and is another one for every claim", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (one, other) => {
      expect(keylessDeviceId(one)).toMatch(/^keyless-[0-9a-f]{32}$/u);
      expect(keylessDeviceId(one) === keylessDeviceId(other)).toBe(one === other);
    }),
  );
});

describe("scopes that may be asked for", () => {
  const webchat = ["operator.read", "operator.write"];
  test.each<[asked: readonly string[] | undefined, most: readonly string[] | undefined, want: unknown]>([
    [undefined, undefined, { scopes: ["operator.read", "operator.write"] }],
    [undefined, webchat, { scopes: ["operator.read", "operator.write"] }],
    [undefined, [], { scopes: [] }],
    [[], undefined, { scopes: [] }],
    [["operator.pairing"], undefined, { scopes: ["operator.pairing"] }],
    [["operator.read", "operator.read"], webchat, { scopes: ["operator.read"] }],
    [["operator.talk"], webchat, { scopes: ["operator.talk"] }],
    [["operator.admin"], undefined, { problem: "a token without a key cannot hold operator.admin" }],
    [["operator.pairing"], webchat, { problem: "this role cannot hold operator.pairing" }],
    [["operator.read"], [], { problem: "this role cannot hold operator.read" }],
    [["king"], undefined, { problem: "there is no scope king" }],
  ])("%j of at most %j", (asked, most, want) => {
    expect(keylessScopes(asked, most)).toEqual(want);
  });

  test("never hold operator.admin, whatever is asked", () => {
    fc.assert(
      fc.property(fc.option(fc.subarray([...operatorScopes]), { nil: undefined }), (asked) => {
        const read = keylessScopes(asked, undefined);
        expect("scopes" in read ? read.scopes : []).not.toContain("operator.admin");
      }),
    );
  });
});

describe("whose token it is", () => {
  const { keyless: _keyless, ...withKey } = device({ deviceId: "k", publicKey: "key" });
  test.each<[name: string, devices: readonly DeviceRecord[], hash: string, found: string | undefined]>([
    ["the device's", [device()], "a", "keyless-1"],
    ["nobody's", [device()], "x", undefined],
    ["a device's with a key, which proves nothing without it", [withKey], "a", undefined],
    [
      "a revoked one's, which is told so",
      [device({ tokens: { operator: { ...token("operator", "a"), revokedAtMs: 2 } } })],
      "a",
      "keyless-1",
    ],
    [
      "of the generation before, while it lives",
      [
        device({
          tokens: {
            node: { ...token("node", "b"), handover: { previous: ["a"], validUntilMs: 9, isCritical: false } },
          },
        }),
      ],
      "a",
      "keyless-1",
    ],
  ])("%s", (_name, devices, hash, found) => {
    expect(findKeyless(devices, hash)?.deviceId).toBe(found);
  });
});

test("what is granted is the role and what its scopes hold, of a keyless device only", () => {
  expect(isGranted(device(), "operator", ["operator.read"])).toBe(true);
  expect(isGranted(device(), "operator", ["operator.pairing"])).toBe(false);
  expect(isGranted(device(), "node", [])).toBe(false);
  const { keyless: _keyless, ...withKey } = device();
  expect(isGranted(withKey, "operator", [])).toBe(false);
});

test("a token that was used is told no more, until the role is approved anew", () => {
  const used = usedToken(usedToken(device(), "operator"), "node");
  expect([hasUsedToken(device(), "operator"), hasUsedToken(used, "operator"), hasUsedToken(used, "node")]).toEqual([
    false,
    true,
    true,
  ]);
  const request = {
    requestId: "r",
    deviceId: "keyless-1",
    publicKey: "",
    keyless: true,
    clientId: "json-rpc",
    clientMode: "backend",
    role: "operator",
    scopes: ["operator.read"],
    reason: "role-upgrade",
    isRepair: true,
    createdAtMs: 2,
    ts: 2,
  } as const;
  const approved = approveDevice(used, request, "owner", 3);
  expect([hasUsedToken(approved, "operator"), hasUsedToken(approved, "node")]).toEqual([false, true]);
  expect(approved.keyless).toBe(true);
});
