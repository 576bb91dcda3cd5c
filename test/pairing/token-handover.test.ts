import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DeviceRecord, TokenRecord } from "../../src/pairing/records.ts";
import {
  atTime,
  beginHandover,
  liveHashes,
  noteDelivered,
  noteUsed,
  outlivesRotation,
  rotationState,
  withoutExpired,
} from "../../src/pairing/token-handover.ts";
import { issueToken, revokeToken } from "../../src/pairing/tokens.ts";

const gatewayKey = Buffer.alloc(32, 1);
const overlap = { overlapMs: 1000, isCritical: false };
const paired: DeviceRecord = {
  deviceId: "d",
  publicKey: "k",
  clientId: "node-host",
  clientMode: "node",
  roles: ["node"],
  scopes: [],
  tokens: {},
  createdAtMs: 1,
  approvedAtMs: 1,
  approvedVia: "owner",
};

/** The device after a first token and one rotation for each time. */
function rotated(
  times: readonly number[],
  how = overlap,
): { readonly device: DeviceRecord; readonly hashes: string[] } {
  let device = issue(paired, "0", 0);
  const hashes = [tokenOf(device).hash];
  for (const [at, nowMs] of times.entries()) {
    device = issue(device, String(at + 1), nowMs, how);
    hashes.push(tokenOf(device).hash);
  }
  return { device, hashes };
}

function issue(device: DeviceRecord, salt: string, nowMs: number, how?: typeof overlap): DeviceRecord {
  return issueToken(device, { gatewayKey, role: "node", scopes: [], salt, nowMs, overlap: how }).device;
}

function tokenOf(device: DeviceRecord): TokenRecord {
  const token = device.tokens["node"];
  if (token === undefined) throw new Error("there is a token");
  return token;
}

describe("a rotation", () => {
  test("without an overlap keeps nothing of the old token, and nobody counts how far it comes", () => {
    const device = issue(issue(paired, "a", 0), "b", 10);
    expect(liveHashes(tokenOf(device))).toEqual([tokenOf(device).hash]);
    expect(rotationState(tokenOf(device))).toBeUndefined();
  });

  test("with an overlap lets both open sessions, for that long", () => {
    const { device, hashes } = rotated([10]);
    const token = tokenOf(device);
    expect(liveHashes(token)).toEqual(hashes);
    expect(token.handover).toEqual({ previous: [hashes[0]], validUntilMs: 1010, isCritical: false });
    expect(withoutExpired(token, 1009)).toBe(token);
    expect(liveHashes(withoutExpired(token, 1010))).toEqual([hashes[1]]);
    expect(atTime(device, 1009)).toBe(device);
    expect(liveHashes(tokenOf(atTime(device, 1010)))).toEqual([hashes[1]]);
  });

  test("of a critical device has no end but the use of the new token", () => {
    const { device, hashes } = rotated([10], { overlapMs: 1, isCritical: true });
    expect(atTime(device, 1e12)).toBe(device);
    expect(noteUsed(tokenOf(device), hashes[1] ?? "", 20)?.handover?.previous).toEqual([]);
  });

  test("with an overlap of nothing counts how far it comes, and keeps nothing", () => {
    const { device, hashes } = rotated([10], { overlapMs: 0, isCritical: true });
    expect(tokenOf(device).handover).toEqual({ previous: [], validUntilMs: 10, isCritical: false });
    expect(liveHashes(tokenOf(device))).toEqual([hashes[1]]);
  });

  test("after a revocation brings nothing back", () => {
    const { device } = rotated([10]);
    const gone = revokeToken(device, "node", 20);
    expect(tokenOf(gone).handover).toBeUndefined();
    expect(beginHandover(tokenOf(gone), overlap, 30).previous).toEqual([]);
  });

  test("that follows on others keeps what may be in the device's hands, and no more than eight of them", () => {
    const { device, hashes } = rotated(Array.from({ length: 20 }, (_, at) => at));
    expect(tokenOf(device).handover?.previous).toEqual([hashes[0], ...hashes.slice(13, 20)]);
  });

  test("keeps nothing of those before it whose time was over", () => {
    const { device, hashes } = rotated([0, 5000]);
    expect(liveHashes(tokenOf(device))).toEqual(hashes.slice(1));
  });
});

describe("how far it has come", () => {
  const { device, hashes } = rotated([10, 20]);
  const token = tokenOf(device);
  const [first = "", second = "", third = ""] = hashes;

  test("pending, delivered, confirmed; and then only the new token is left", () => {
    expect(rotationState(token)).toBe("pending");
    const delivered = noteDelivered(token, third, 30) ?? token;
    expect([rotationState(delivered), liveHashes(delivered)]).toEqual(["delivered", hashes]);
    const confirmed = noteUsed(delivered, third, 40) ?? token;
    expect([rotationState(confirmed), liveHashes(confirmed)]).toEqual(["confirmed", [third]]);
    expect(confirmed.handover).toMatchObject({ deliveredAtMs: 30, confirmedAtMs: 40 });
    expect(noteUsed(confirmed, third, 50)).toBeUndefined();
  });

  test("the use of a token says that it was delivered", () => {
    expect(noteUsed(token, third, 40)?.handover).toMatchObject({ deliveredAtMs: 40, confirmedAtMs: 40, previous: [] });
  });

  test.each<[what: string, hash: string, left: readonly string[] | undefined]>([
    ["the first one", first, undefined],
    ["the second one", second, [second, third]],
    ["one that nobody knows", "no", undefined],
  ])("the use of %s leaves those from it on", (_what, hash, left) => {
    const used = noteUsed(token, hash, 40);
    expect(used === undefined ? undefined : liveHashes(used)).toEqual(left);
    expect(noteDelivered(token, hash, 40)).toBeUndefined();
  });

  test.each<[session: string | undefined, outlives: boolean]>([
    [undefined, true],
    [first, true],
    [third, true],
    ["gone", false],
  ])("a session that hangs on %s outlives the rotation: %s", (session, outlives) => {
    expect(outlivesRotation(token, session)).toBe(outlives);
  });

  test("a session of another credential does not outlive a rotation without an overlap", () => {
    expect(outlivesRotation(tokenOf(issue(device, "x", 30)), undefined)).toBe(false);
    expect(outlivesRotation(tokenOf(issue(device, "x", 30, { overlapMs: 0, isCritical: false })), undefined)).toBe(
      false,
    );
  });
});

/** What a device may do with what it holds while the gateway rotates. */
const step = fc.constantFrom("rotate", "hear", "use", "wait");

test("a device that comes often enough always holds a token that works, in whatever order things happen", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let device = issue(paired, "0", 0);
      let held = tokenOf(device).hash;
      let nowMs = 0;
      for (const [at, what] of steps.entries()) {
        const token = tokenOf(device);
        if (what === "rotate") device = issue(device, `s${at}`, nowMs, overlap);
        if (what === "hear") held = token.hash;
        if (what === "wait") nowMs += 100;
        if (what === "use") {
          const used = noteUsed(token, held, nowMs);
          if (used !== undefined) device = { ...device, tokens: { node: used } };
        }
        // It is told within the window: at hello-ok, which every connection has.
        if (nowMs >= (tokenOf(device).handover?.validUntilMs ?? Infinity) - 100) held = tokenOf(device).hash;
        fc.pre((tokenOf(device).handover?.previous.length ?? 0) < 8);
        expect(liveHashes(tokenOf(atTime(device, nowMs)))).toContain(held);
      }
    }),
  );
});
