import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { lacksToGrant, sortScopes, surfaceApprovalScopes } from "../../src/pairing/scopes.ts";
import { decodeFrame, isObject } from "../../src/protocol/frame.ts";
import { holdsScope, operatorScopes } from "../../src/protocol/vocabulary.ts";
import { recordedFrames } from "../fixtures/transcripts.ts";

describe("scopes that are asked for", () => {
  test.each<[asked: readonly string[], known: readonly string[], unknown: readonly string[]]>([
    [[], [], []],
    [["operator.read", "operator.admin"], ["operator.read", "operator.admin"], []],
    [["operator.bogus", "operator.read"], ["operator.read"], ["operator.bogus"]],
    [["constructor", "Operator.Read", ""], [], ["constructor", "Operator.Read", ""]],
  ])("of %j there are %j, and %j do not exist", (asked, known, unknown) => {
    expect(sortScopes(asked)).toEqual({ known, unknown });
  });
});

describe("approving a command list", () => {
  test.each<[commands: readonly string[], takes: readonly string[]]>([
    [[], ["operator.pairing"]],
    [["system.notify"], ["operator.pairing", "operator.write"]],
    [
      ["system.notify", "canvas.hide"],
      ["operator.pairing", "operator.write"],
    ],
    [
      ["system.notify", "system.run"],
      ["operator.pairing", "operator.admin"],
    ],
    [["system.which"], ["operator.pairing", "operator.admin"]],
    [["browser.proxy"], ["operator.pairing", "operator.admin"]],
    [["system.execApprovals.get"], ["operator.pairing", "operator.admin"]],
  ])("%j takes %j", (commands, takes) => {
    expect(surfaceApprovalScopes(commands)).toEqual(takes);
  });

  test("takes what the product's gateways said it takes", () => {
    const pending = recordedFrames.flatMap(({ at, value }) => {
      const frame = decodeFrame(JSON.stringify(value));
      const list = frame.type === "res" && isObject(frame.payload) ? frame.payload["pending"] : undefined;
      return (Array.isArray(list) ? list : [])
        .filter((entry) => "requiredApproveScopes" in entry)
        .map((entry) => ({ at, entry }));
    });
    expect(pending.length).toBeGreaterThan(0);
    for (const { at, entry } of pending) {
      expect({ at, takes: surfaceApprovalScopes(entry.commands) }).toEqual({ at, takes: entry.requiredApproveScopes });
    }
  });
});

describe("granting", () => {
  test.each<[held: readonly string[], role: string, scopes: readonly string[], lacks: string | undefined]>([
    [["operator.pairing"], "operator", [], undefined],
    [["operator.pairing", "operator.read"], "operator", ["operator.read"], undefined],
    [["operator.pairing", "operator.write"], "operator", ["operator.read"], undefined],
    [["operator.pairing", "operator.read"], "operator", ["operator.read", "operator.write"], "operator.write"],
    [["operator.pairing"], "operator", ["operator.admin"], "operator.admin"],
    [["operator.admin"], "operator", ["operator.talk.secrets"], undefined],
    [["operator.admin"], "node", [], undefined],
    [["operator.pairing", "operator.write"], "node", [], "operator.admin"],
    [[], "constructor", [], "operator.admin"],
  ])("who holds %j, to a %s with %j: lacks %s", (held, role, scopes, lacks) => {
    expect(lacksToGrant(held, role, scopes)).toBe(lacks);
  });

  test("nobody gives what nobody gave to them", () => {
    const scopes = fc.subarray([...operatorScopes]);
    fc.assert(
      fc.property(scopes, scopes, (held, given) => {
        const isFree = lacksToGrant(held, "operator", given) === undefined;
        expect(isFree).toBe(given.every((scope) => holdsScope(held, scope)));
      }),
    );
  });
});
