import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  endOf,
  findInvite,
  type InviteBearer,
  invitedSurface,
  type InviteRecord,
  type InviteRefusal,
  isForgettableInvite,
  judgeInvite,
} from "../../src/pairing/invites.ts";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { issueToken, revokeToken } from "../../src/pairing/tokens.ts";
import { credentialDigest, hashSecret } from "../../src/secret.ts";

const minuteMs = 60_000;
const madeAtMs = Date.UTC(2026, 10, 21, 12, 0, 0);
const kitchen = "a".repeat(64);
const cellar = "b".repeat(64);

const invite: InviteRecord = {
  inviteId: "invite",
  secretHash: hashSecret("secret"),
  role: "node",
  createdAtMs: madeAtMs,
  expiresAtMs: madeAtMs + 10 * minuteMs,
  url: "ws://127.0.0.1:18789",
};
const used: InviteRecord = { ...invite, usedAtMs: madeAtMs + minuteMs, usedBy: kitchen, usedByName: "kitchen" };
const known: DeviceRecord = {
  deviceId: kitchen,
  publicKey: "key",
  clientId: "node-host",
  clientMode: "node",
  roles: ["node"],
  scopes: [],
  tokens: {},
  createdAtMs: madeAtMs,
  approvedAtMs: madeAtMs,
  approvedVia: "bootstrap",
};
const { device } = issueToken(known, {
  gatewayKey: Buffer.alloc(32),
  role: "node",
  scopes: [],
  salt: "s",
  nowMs: madeAtMs,
});
const aNode: InviteBearer = { deviceId: kitchen, role: "node", scopes: [] };

interface Case {
  readonly invite?: InviteRecord | undefined;
  readonly bearer?: Partial<InviteBearer>;
  readonly device?: DeviceRecord | undefined;
  readonly minute?: number;
}

function judge(seen: Case) {
  const record = "invite" in seen ? seen.invite : invite;
  return judgeInvite(record, { ...aNode, ...seen.bearer }, seen.device, madeAtMs + (seen.minute ?? 2) * minuteMs);
}

test.each<[name: string, seen: Case, use: "first" | "again" | "look"]>([
  ["a device that nobody knows", {}, "first"],
  ["in its last moment", { minute: 10 - 1e-5 }, "first"],
  ["a device that is known already", { device }, "first"],
  ["for this very device", { invite: { ...invite, forDeviceId: kitchen } }, "first"],
  ["the device that it is bound to, whose answer was lost", { invite: used, device }, "again"],
  ["the same after the invite's own time, which is not over for it", { invite: used, device, minute: 10.5 }, "again"],
  ["somebody without a device, who only asks", { bearer: { deviceId: undefined, role: "operator" } }, "look"],
  [
    "the same about one for a certain device",
    { invite: { ...invite, forDeviceId: cellar }, bearer: { deviceId: undefined, role: "operator" } },
    "look",
  ],
])("good for %s", (_name, seen, use) => {
  expect(judge(seen)).toMatchObject({ ok: true, use });
});

test.each<[name: string, seen: Case, refusal: InviteRefusal, says: string]>([
  ["unknown", { invite: undefined }, "unknown", "knows no such invite"],
  ["at its end", { minute: 10 }, "expired", "the invite expired at 2026-11-21T12:10:00Z"],
  ["withdrawn", { invite: { ...invite, withdrawnAtMs: madeAtMs } }, "withdrawn", "withdrawn at 2026-11-21T12:00:00Z"],
  [
    "used by another",
    { invite: used, bearer: { deviceId: cellar } },
    "used",
    "the invite was used at 2026-11-21T12:01:00Z by kitchen (device aaaaaaaa)",
  ],
  [
    "used by another without a name, also when its time is over",
    { invite: { ...used, usedByName: undefined as never }, bearer: { deviceId: cellar }, minute: 60 },
    "used",
    "by device aaaaaaaa",
  ],
  [
    "used, and only asked about",
    { invite: used, bearer: { deviceId: undefined, role: "operator" } },
    "used",
    "by kitchen",
  ],
  ["used by this device long ago", { invite: used, device, minute: 11 }, "used", "has a token of its own now"],
  ["used by this device, which was removed", { invite: used }, "used", "which was removed since then"],
  [
    "used by this device, whose role was taken away",
    { invite: used, device: revokeToken(device, "node", madeAtMs) },
    "used",
    "which was removed since then",
  ],
  [
    "for another key",
    { invite: { ...invite, forDeviceId: cellar } },
    "other_device",
    "for another key (device bbbbbbbb)",
  ],
  ["as operator", { bearer: { role: "operator" } }, "other_role", "for a node"],
  [
    "as operator, by the device that it is bound to",
    { invite: used, device, bearer: { role: "operator" } },
    "other_role",
    "for a node",
  ],
  ["with scopes", { bearer: { scopes: ["operator.read"] } }, "other_role", "without scopes"],
  ["without a device", { bearer: { deviceId: undefined } }, "device_missing", "bound to the device"],
  [
    "without a device, and with scopes",
    { bearer: { deviceId: undefined, role: "operator", scopes: ["operator.admin"] } },
    "device_missing",
    "bound to the device",
  ],
])("refused: %s", (_name, seen, refusal, says) => {
  expect(judge(seen)).toMatchObject({ ok: false, refusal, message: expect.stringContaining(says) });
});

const anyDeviceId = fc.constantFrom(undefined, kitchen, cellar);
const anyInvite: fc.Arbitrary<InviteRecord> = fc
  .record({
    usedAtMs: fc.option(fc.nat({ max: 20 * minuteMs }), { nil: undefined }),
    usedBy: fc.constantFrom(kitchen, cellar),
    withdrawnAtMs: fc.option(fc.nat({ max: 20 * minuteMs }), { nil: undefined }),
    forDeviceId: anyDeviceId,
  })
  .map(({ usedAtMs, usedBy, withdrawnAtMs, forDeviceId }) => ({
    ...invite,
    ...(usedAtMs === undefined ? {} : { usedAtMs: madeAtMs + usedAtMs, usedBy }),
    ...(withdrawnAtMs === undefined ? {} : { withdrawnAtMs: madeAtMs + withdrawnAtMs }),
    ...(forDeviceId === undefined ? {} : { forDeviceId }),
  }));
const anyBearer: fc.Arbitrary<InviteBearer> = fc.record({
  deviceId: anyDeviceId,
  role: fc.constantFrom("node", "operator"),
  scopes: fc.subarray(["operator.read", "operator.admin"]),
});

describe("whatever comes:", () => {
  const anyCase = [anyInvite, anyBearer, fc.constantFrom(undefined, device), fc.nat({ max: 60 })] as const;

  test("who gets in for the first time is a node with a key, without scopes, in time, and the one that is meant", () => {
    fc.assert(
      fc.property(...anyCase, (record, bearer, known, minute) => {
        const nowMs = madeAtMs + minute * minuteMs;
        const verdict = judgeInvite(record, bearer, known, nowMs);
        if (!verdict.ok || verdict.use !== "first") return;
        expect(bearer).toMatchObject({ role: "node", scopes: [], deviceId: expect.any(String) });
        expect(endOf(record, nowMs)).toBeUndefined();
        expect([undefined, bearer.deviceId]).toContain(record.forDeviceId);
      }),
    );
  });

  test("a used one opens to nobody but the device that used it, and only while that is enrolled", () => {
    fc.assert(
      fc.property(...anyCase, (record, bearer, known, minute) => {
        if (record.usedAtMs === undefined) return;
        const verdict = judgeInvite(record, bearer, known, madeAtMs + minute * minuteMs);
        if (!verdict.ok) return;
        expect(verdict.use).toBe("again");
        expect({ bearer: bearer.deviceId, known }).toEqual({ bearer: record.usedBy, known: device });
      }),
    );
  });

  test("no hash is in what is told", () => {
    fc.assert(
      fc.property(...anyCase, (record, bearer, known, minute) => {
        const verdict = judgeInvite(record, bearer, known, madeAtMs + minute * minuteMs);
        expect(verdict.ok ? "" : verdict.message).not.toContain(record.secretHash);
      }),
    );
  });
});

test("it is found by its secret and nothing else", () => {
  const others = [used, { ...invite, inviteId: "other", secretHash: hashSecret("another secret") }];
  expect(findInvite(others, credentialDigest("another secret"))).toBe(others[1]);
  expect(findInvite(others, credentialDigest(hashSecret("secret")))).toBeUndefined();
  expect(findInvite([], credentialDigest("secret"))).toBeUndefined();
});

test("the list that it approves is what the node offers, cut to what the invite names", () => {
  const declared = { caps: ["system"], commands: ["system.run", "system.which"] };
  expect(invitedSurface(declared, {})).toEqual(declared);
  expect(invitedSurface(declared, { commands: ["system.which", "camera.snap"] })).toEqual({
    caps: ["system"],
    commands: ["system.which"],
  });
  expect(invitedSurface(declared, { commands: [] }).commands).toEqual([]);
});

test.each<[name: string, record: InviteRecord]>([
  ["used", used],
  ["expired", { ...invite, expiresAtMs: madeAtMs + minuteMs }],
  ["withdrawn", { ...invite, withdrawnAtMs: madeAtMs + minuteMs }],
])("one that was %s is remembered for a week", (_name, record) => {
  const endMs = madeAtMs + minuteMs;
  const weekMs = 7 * 24 * 60 * minuteMs;
  expect([endMs + weekMs, endMs + weekMs + 1].map((nowMs) => isForgettableInvite(record, nowMs))).toEqual([
    false,
    true,
  ]);
});
