import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DeviceRecord, DeviceRequestRecord } from "../../src/pairing/records.ts";
import {
  approveDevice,
  askForDevice,
  type DeviceAsk,
  isForgettable,
  isOpen,
  optional,
} from "../../src/pairing/requests.ts";
import { pairingRequestLifeMs } from "../../src/protocol/limits.ts";
import { holdsScopes, operatorScopes } from "../../src/protocol/vocabulary.ts";

const scopes = fc.subarray([...operatorScopes, "constructor"]);
const role = fc.constantFrom("operator", "node");
const family = fc.constantFrom(undefined, "Linux", "Mac");

const anyAsk: fc.Arbitrary<DeviceAsk> = fc
  .record({
    publicKey: fc.constantFrom("k1", "k2"),
    role,
    scopes,
    reason: fc.constantFrom("not-paired", "role-upgrade", "scope-upgrade", "metadata-upgrade"),
    platform: fc.constantFrom("linux", "macos"),
    family,
    name: fc.option(fc.constantFrom("kitchen", "cellar"), { nil: undefined }),
    isRepair: fc.boolean(),
  })
  .map(({ family: deviceFamily, name, ...ask }) => ({
    ...ask,
    deviceId: `id of ${ask.publicKey}`,
    clientId: "node-host",
    clientMode: "node",
    ...optional("deviceFamily", deviceFamily),
    ...optional("displayName", name),
  }));

const anyRequest: fc.Arbitrary<DeviceRequestRecord> = anyAsk.map((ask) => ({
  ...ask,
  requestId: "old",
  createdAtMs: 10,
  ts: 20,
}));

const tokenRecord = { role: "operator", scopes: [], hash: "h", salt: "s", createdAtMs: 1 };
const anyDevice: fc.Arbitrary<DeviceRecord> = fc
  .record({
    roles: fc.subarray(["operator", "node"]),
    scopes,
    family,
    tokens: fc.constantFrom({}, { operator: tokenRecord }),
    more: fc.constantFrom({}, { operatorLabel: "mine", lastSeenAtMs: 3, lastSeenReason: "connect" }),
    surface: fc.constantFrom(undefined, {
      caps: ["system"],
      commands: ["system.run"],
      createdAtMs: 1,
      approvedAtMs: 2,
    }),
  })
  .map(({ roles, scopes: held, family: deviceFamily, tokens, more, surface }) => ({
    deviceId: "id of k1",
    publicKey: "k1",
    clientId: "cli",
    clientMode: "cli",
    platform: "linux",
    displayName: "first",
    roles,
    scopes: held,
    tokens,
    ...more,
    ...optional("deviceFamily", deviceFamily),
    ...optional("surface", surface),
    createdAtMs: 1,
    approvedAtMs: 2,
    approvedVia: "owner",
  }));

describe("asking", () => {
  test("a first ask makes a request under the new id, which takes nothing's place", () => {
    fc.assert(
      fc.property(anyAsk, (ask) => {
        const request = { ...ask, requestId: "new", createdAtMs: 100, ts: 100 };
        expect(askForDevice(undefined, ask, "new", 100)).toEqual({ kind: "created", request });
      }),
    );
  });

  test("asking the same again renews the request under its id, with all it asks for", () => {
    fc.assert(
      fc.property(anyRequest, (open) => {
        const { requestId: _id, createdAtMs: _created, ts: _ts, ...ask } = open;
        expect(askForDevice(open, ask, "new", 100)).toEqual({ kind: "renewed", request: { ...open, ts: 100 } });
      }),
    );
  });

  test("asking for less renews the request without making it smaller", () => {
    fc.assert(
      fc.property(anyRequest, scopes, (open, fewer) => {
        const { requestId: _id, createdAtMs: _created, ts: _ts, ...ask } = open;
        const narrower = { ...ask, scopes: open.scopes.filter((scope) => fewer.includes(scope)) };
        expect(askForDevice(open, narrower, "new", 100)).toEqual({ kind: "renewed", request: { ...open, ts: 100 } });
      }),
    );
  });

  test("a renewed request says of the device what the device says now", () => {
    fc.assert(
      fc.property(anyRequest, fc.constantFrom("attic", undefined), (open, name) => {
        const { requestId: _id, createdAtMs: _created, ts: _ts, displayName: _name, ...asked } = open;
        const ask = { ...asked, clientId: "openclaw-linux", remoteIp: "192.0.2.7", ...optional("displayName", name) };
        const request = { ...ask, requestId: "old", createdAtMs: 10, ts: 100 };
        expect(askForDevice(open, ask, "new", 100)).toEqual({ kind: "renewed", request });
      }),
    );
  });

  test("a renewed request covers everything that was asked, and a new one unites nothing", () => {
    fc.assert(
      fc.property(anyRequest, anyAsk, (open, ask) => {
        const outcome = askForDevice(open, ask, "new", 100);
        expect(holdsScopes(outcome.request.scopes, ask.scopes)).toBe(true);
        expect(outcome.request).toMatchObject({ publicKey: ask.publicKey, role: ask.role, ts: 100 });
        const resolution = { decision: "superseded", atMs: 100, note: "new" };
        const asNew = { ...ask, requestId: "new", createdAtMs: 100, ts: 100 };
        expect(outcome).toBeOneOf([
          { kind: "renewed", request: { ...ask, requestId: "old", scopes: open.scopes, createdAtMs: 10, ts: 100 } },
          { kind: "created", request: asNew, superseded: { ...open, resolution } },
        ]);
      }),
    );
  });

  const open: DeviceRequestRecord = {
    requestId: "old",
    deviceId: "d",
    publicKey: "k",
    clientId: "cli",
    clientMode: "cli",
    platform: "linux",
    role: "operator",
    scopes: ["operator.write"],
    reason: "not-paired",
    isRepair: false,
    createdAtMs: 1,
    ts: 1,
  };
  test.each<[what: string, kind: "renewed" | "created", change: Partial<DeviceAsk>]>([
    ["a scope that is implied", "renewed", { scopes: ["operator.read"] }],
    ["a name of its own", "renewed", { displayName: "kitchen" }],
    ["another address", "renewed", { remoteIp: "192.0.2.1" }],
    ["a wider scope", "created", { scopes: ["operator.admin"] }],
    ["one scope more", "created", { scopes: ["operator.write", "operator.pairing"] }],
    ["another role", "created", { role: "node", scopes: [] }],
    ["another key", "created", { publicKey: "other" }],
    ["another platform", "created", { platform: "macos" }],
    ["a device family", "created", { deviceFamily: "Linux" }],
    ["another reason", "created", { reason: "scope-upgrade" }],
  ])("%s: the request is %s", (_what, kind, change) => {
    const { requestId: _id, createdAtMs: _created, ts: _ts, ...ask } = open;
    expect(askForDevice(open, { ...ask, ...change }, "new", 100).kind).toBe(kind);
  });
});

describe("an approval", () => {
  test("gives what was asked for, and takes nothing that the device had", () => {
    fc.assert(
      fc.property(fc.option(anyDevice, { nil: undefined }), anyRequest, (known, request) => {
        const device = approveDevice(known, request, "owner", 100);
        expect(device.roles).toEqual([...new Set([...(known?.roles ?? []), request.role])]);
        expect(device.scopes).toEqual(expect.arrayContaining([...(known?.scopes ?? [])]));
        const given = request.role === "operator" ? request.scopes : [];
        expect(device.scopes).toEqual(expect.arrayContaining([...given]));
        expect(device).toMatchObject({ tokens: known?.tokens ?? {}, createdAtMs: known?.createdAtMs ?? 100 });
        for (const field of ["surface", "operatorLabel", "lastSeenAtMs", "lastSeenReason"] as const) {
          expect(device[field]).toEqual(known?.[field]);
        }
      }),
    );
  });

  test("gives no scope that was neither asked for nor held, and none at all to a node", () => {
    fc.assert(
      fc.property(fc.option(anyDevice, { nil: undefined }), anyRequest, (known, request) => {
        const device = approveDevice(known, request, "owner", 100);
        const asked = request.role === "operator" ? request.scopes : [];
        expect(new Set(device.scopes)).toEqual(new Set([...(known?.scopes ?? []), ...asked]));
        expect(new Set(device.scopes).size).toBe(device.scopes.length);
      }),
    );
  });

  test("names the key that asked, who let it in, and when", () => {
    fc.assert(
      fc.property(fc.option(anyDevice, { nil: undefined }), anyRequest, (known, request) => {
        const { deviceId, publicKey } = request;
        expect(approveDevice(known, request, "local", 100)).toMatchObject({
          deviceId,
          publicKey,
          approvedVia: "local",
          approvedAtMs: 100,
        });
      }),
    );
  });

  test("pins the platform and the family as the request states them, and keeps the name when it states none", () => {
    fc.assert(
      fc.property(anyDevice, anyRequest, (known, request) => {
        const device = approveDevice(known, request, "owner", 100);
        expect([device.platform, device.deviceFamily]).toEqual([request.platform, request.deviceFamily]);
        expect(device.displayName).toBe(request.displayName ?? known.displayName);
      }),
    );
  });

  test("done twice is done once", () => {
    fc.assert(
      fc.property(fc.option(anyDevice, { nil: undefined }), anyRequest, (known, request) => {
        const once = approveDevice(known, request, "owner", 100);
        expect(approveDevice(once, request, "owner", 100)).toEqual(once);
      }),
    );
  });

  test("changes neither the device nor the request it is made from", () => {
    fc.assert(
      fc.property(anyDevice, anyRequest, (known, request) => {
        const before = structuredClone({ known, request });
        approveDevice(known, request, "owner", 100);
        expect({ known, request }).toEqual(before);
      }),
    );
  });
});

describe("the life of a request", () => {
  const dayMs = 24 * 60 * 60 * 1000;
  const request: DeviceRequestRecord = {
    requestId: "r",
    deviceId: "d",
    publicKey: "k",
    clientId: "cli",
    clientMode: "cli",
    role: "operator",
    scopes: [],
    reason: "not-paired",
    isRepair: false,
    createdAtMs: 0,
    ts: 1000,
  };
  const rejected: DeviceRequestRecord = { ...request, resolution: { decision: "rejected", atMs: 5000 } };

  test.each<[what: string, open: boolean, one: DeviceRequestRecord, nowMs: number]>([
    ["at once", true, request, 1000],
    ["in its last millisecond", true, request, 1000 + pairingRequestLifeMs - 1],
    ["after five minutes", false, request, 1000 + pairingRequestLifeMs],
    [
      "five minutes after it was made, but renewed since",
      true,
      { ...request, ts: 200_000 },
      pairingRequestLifeMs + 1000,
    ],
    ["when the clock was set back", true, request, 0],
    ["once decided", false, rejected, 5000],
  ])("%s it waits: %s", (_what, open, one, nowMs) => {
    expect(isOpen(one, nowMs)).toBe(open);
  });

  test.each<[what: string, forgettable: boolean, one: DeviceRequestRecord, nowMs: number]>([
    ["a day after its last refresh", false, request, 1000 + dayMs],
    ["more than a day after its last refresh", true, request, 1001 + dayMs],
    ["a day after the decision", false, rejected, 5000 + dayMs],
    ["more than a day after the decision", true, rejected, 5001 + dayMs],
  ])("%s it may be forgotten: %s", (_what, forgettable, one, nowMs) => {
    expect(isForgettable(one, nowMs)).toBe(forgettable);
  });
});
