import { expect, test } from "vitest";
import type { DeviceRequestRecord } from "../../src/pairing/records.ts";
import { type Asked, differenceBetween, followRequest, matchesRequest } from "../../src/pairing/supersession.ts";

const asked: Asked = { publicKey: "k1", role: "operator", scopes: ["operator.pairing", "operator.write"] };

test.each<[change: Partial<Asked>, difference: readonly string[]]>([
  [{}, []],
  [{ scopes: ["operator.pairing"] }, []],
  [{ scopes: ["operator.read"] }, []],
  [{ scopes: [] }, []],
  [{ publicKey: "k2" }, ["another key"]],
  [{ role: "node" }, ["role node instead of operator"]],
  [{ scopes: ["operator.admin"] }, ["also operator.admin"]],
  [
    { publicKey: "k2", role: "node", scopes: ["operator.pairing", "operator.approvals"] },
    ["another key", "role node instead of operator", "also operator.approvals"],
  ],
])("what %j has that the request before did not", (change, difference) => {
  expect(differenceBetween(asked, { ...asked, ...change })).toEqual(difference);
});

const request = (requestId: string, next?: string) =>
  ({
    requestId,
    ...(next === undefined ? {} : { resolution: { decision: "superseded", atMs: 1, note: next } }),
  }) as DeviceRequestRecord;

test("requests are followed to the one that stands now", () => {
  const [first, second, third] = [request("a", "b"), request("b", "c"), request("c")];
  const all = new Map([first, second, third].map((one) => [one.requestId, one]));
  expect(followRequest(first, all)).toEqual([first, second, third]);
  expect(followRequest(third, all)).toEqual([third]);
  expect(followRequest(request("x", "gone"), all)).toEqual([request("x", "gone")]);
  const [one, other] = [request("one", "other"), request("other", "one")];
  expect(
    followRequest(
      one,
      new Map([
        ["one", one],
        ["other", other],
      ]),
    ),
  ).toEqual([one, other]);
});

test("a request is meant by its id, the beginning of it, or its code", () => {
  const known = { requestId: "3f2a91c4-0000" };
  const code = { digits: "482913", words: "acorn-album-amber-anchor" };
  for (const wanted of ["3f2a91c4-0000", "3f2a91", "3F2A91C4", "482 913", "acorn album amber anchor"]) {
    expect(matchesRequest(known, wanted, code)).toBe(true);
  }
  for (const wanted of ["3f2a", "3f2a92", "482914"]) expect(matchesRequest(known, wanted, code)).toBe(false);
  expect(matchesRequest(known, "482913", undefined)).toBe(false);
});
