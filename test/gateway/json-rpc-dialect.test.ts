/** The dialect alone, without a gateway: every call is answered once, in the shape that it came in, whatever arrives and in whatever order. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { JsonRpcDialect } from "../../src/gateway/json-rpc/dialect.ts";
import type { RequestFrame } from "../../src/protocol/frame.ts";
import { FrameSocket, type WebSocketLike } from "../../src/transport/frame-socket.ts";
import { at } from "../support/raw-client.ts";

/** A dialect, and what it has written. */
function startDialect() {
  const sent: unknown[] = [];
  const web = {
    readyState: 1,
    OPEN: 1,
    CLOSED: 3,
    bufferedAmount: 0,
    on: () => web,
    once: () => web,
    removeAllListeners: () => web,
    send: (text) => void sent.push(JSON.parse(text)),
    ping: () => {},
    close: () => void (web.readyState = 3),
    terminate: () => {},
  } as { readyState: number } & WebSocketLike;
  const socket = new FrameSocket(web, { text: () => {}, closed: () => {} });
  const house = { furtherFor: () => new Map(), isDeviceRequest: () => false };
  return { dialect: new JsonRpcDialect(socket, house), sent };
}

const id = fc.oneof(fc.string(), fc.integer(), fc.constant(null));
const call = fc.record({ jsonrpc: fc.constant("2.0"), id, method: fc.constantFrom("health", "node.list", "other") });
const notification = fc.record({ jsonrpc: fc.constant("2.0"), method: fc.constantFrom("health", "other") });
const invalid = fc.oneof(
  fc.integer(),
  fc.constant(null),
  fc.record({ jsonrpc: fc.constant("2.0"), id, method: fc.integer() }),
);
const member = fc.oneof(call, notification, invalid);

/** What an answer has to carry; undefined for what is not answered. */
function answeredAs(message: unknown): unknown {
  if (typeof message !== "object" || message === null) return null;
  return Object.hasOwn(message, "id") ? at(message, "id") : undefined;
}

test("a batch is answered as one list that holds an answer for each call, in whatever order they end", () => {
  fc.assert(
    fc.property(fc.array(member, { minLength: 1, maxLength: 20 }), fc.infiniteStream(fc.nat()), (members, chance) => {
      const { dialect, sent } = startDialect();
      const open: RequestFrame[] = [];
      dialect.hear(JSON.stringify(members), (frame) => open.push(frame));
      while (open.length > 0) {
        const [frame] = open.splice(Number(chance.next().value) % open.length, 1);
        if (frame === undefined) break;
        if (frame.method === "other") dialect.refuse(frame.id, { code: "UNAVAILABLE", message: "no" });
        else dialect.respond(frame.id, { ok: true });
      }
      const sorted = (ids: readonly unknown[]) => ids.map((one) => JSON.stringify(one)).toSorted();
      const expected = members.map(answeredAs).filter((one) => one !== undefined);
      const lists = sent.map((answers) => sorted((answers as unknown[]).map((answer) => at(answer, "id"))));
      expect(lists).toEqual(expected.length === 0 ? [] : [sorted(expected)]);
    }),
    { numRuns: 300 },
  );
});

test("what a batch has when the connection ends is written before the end, and nothing after it", () => {
  const { dialect, sent } = startDialect();
  const open: RequestFrame[] = [];
  const batch = [1, 2].map((rpcId) => ({ jsonrpc: "2.0", id: rpcId, method: "health" }));
  dialect.hear(JSON.stringify(batch), (frame) => open.push(frame));
  const [first, second] = open.map((frame) => frame.id);
  dialect.respond(first ?? "", { ok: true });
  expect(sent).toEqual([]);
  dialect.close(4001, "device removed");
  expect(sent).toEqual([[{ jsonrpc: "2.0", id: 1, result: { ok: true } }]]);
  dialect.respond(second ?? "", { ok: true });
  dialect.hear(JSON.stringify(batch), (frame) => open.push(frame));
  expect([sent.length, open.length]).toEqual([1, 2]);
});

test("whatever comes first or later never throws, and is answered in JSON-RPC or not at all", () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    member.map((one) => JSON.stringify(one)),
    fc.array(member).map((all) => JSON.stringify(all)),
  );
  fc.assert(
    fc.property(text, fc.array(text, { maxLength: 5 }), (first, later) => {
      const { dialect, sent } = startDialect();
      const read = dialect.first(first);
      if (read.kind === "refused") {
        dialect.refuse(read.id, read.refusal.error);
        dialect.close(1008, read.refusal.closeReason);
      } else dialect.opened((frame) => dialect.respond(frame.id, {}));
      expect(sent).toHaveLength(read.kind === "refused" ? 1 : 0);
      for (const message of later) dialect.hear(message, (frame) => dialect.respond(frame.id, {}));
      const answers = sent.flatMap((one) => (Array.isArray(one) ? one : [one]));
      expect(answers.every((answer) => at(answer, "jsonrpc") === "2.0")).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
