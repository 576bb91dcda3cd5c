import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isFailure } from "../../src/errors.ts";
import { decodeFrame, encodeFrame, type FieldPolicy, type Frame, isNestedTooDeep } from "../../src/protocol/frame.ts";
import { maxNesting } from "../../src/protocol/limits.ts";

const text = fc.string({ minLength: 1 });
const count = fc.maxSafeNat();
const anything = fc.jsonValue();

const wireError = fc.record(
  { code: text, message: text, details: anything, retryable: fc.boolean(), retryAfterMs: count },
  { requiredKeys: ["code", "message"] },
);
const anyFrame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record(
    { type: fc.constant("req" as const), id: text, method: text, params: anything },
    { requiredKeys: ["type", "id", "method"] },
  ),
  fc.record(
    { type: fc.constant("res" as const), id: text, ok: fc.boolean(), payload: anything, error: wireError },
    { requiredKeys: ["type", "id", "ok"] },
  ),
  fc.record(
    {
      type: fc.constant("event" as const),
      event: text,
      payload: anything,
      seq: count,
      stateVersion: fc.record({ presence: count, health: count }),
    },
    { requiredKeys: ["type", "event"] },
  ),
);

/** Texts that come near to being frames, besides those that do not. */
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.json(),
  fc
    .dictionary(
      fc.constantFrom(
        "type",
        "id",
        "method",
        "ok",
        "error",
        "event",
        "seq",
        "stateVersion",
        "__proto__",
        "constructor",
      ),
      fc.oneof(fc.constantFrom("req", "res", "event", "", "connect"), anything),
    )
    .map((value) => JSON.stringify(value)),
  fc.tuple(anyFrame, fc.nat(), fc.string({ maxLength: 3 })).map(([frame, at, noise]) => {
    const whole = encodeFrame(frame);
    const cut = at % whole.length;
    return whole.slice(0, cut) + noise + whole.slice(cut + 1);
  }),
);

const policies = fc.constantFrom<FieldPolicy>("open", "closed");

function complaint(message: string, policy: FieldPolicy = "open"): string {
  try {
    decodeFrame(message, policy);
    return "none";
  } catch (error) {
    return isFailure(error, "protocol") ? error.message : `not ours: ${String(error)}`;
  }
}

/** A request whose params nest so that the whole message has `levels` levels. */
function nested(levels: number): string {
  const inside = levels - 1; // the frame itself is one level
  return `{"type":"req","id":"1","method":"m","params":${"[".repeat(inside)}${"]".repeat(inside)}}`;
}

describe("reading", () => {
  test("whatever the text, the outcome is a frame or a protocol failure", () => {
    fc.assert(
      fc.property(anyText, policies, (message, policy) => {
        expect(complaint(message, policy)).not.toMatch(/^not ours/u);
      }),
      { numRuns: 2000 },
    );
  });

  test("a frame that was written is read back the same, by both policies", () => {
    fc.assert(
      fc.property(anyFrame, policies, (frame, policy) => {
        const written = encodeFrame(frame);
        const read = decodeFrame(written, policy);
        expect(read).toEqual(JSON.parse(written));
        expect(encodeFrame(read)).toBe(written);
      }),
    );
  });

  test.each<[message: string, says: string | RegExp]>([
    ["", "message is not JSON"],
    ["{", "message is not JSON"],
    ["null", "invalid frame: a frame is a JSON object"],
    ["[]", "invalid frame: a frame is a JSON object"],
    ['"req"', "invalid frame: a frame is a JSON object"],
    ["{}", /type must be/u],
    ['{"type":"request","id":"1"}', /type must be/u],
    ['{"type":"req","id":"","method":"m"}', /id must be a non-empty string/u],
    ['{"type":"req","id":7,"method":"m"}', /id must be a non-empty string/u],
    ['{"type":"req","id":"1"}', /method must be a non-empty string/u],
    ['{"type":"res","id":"1"}', /a response needs a boolean ok/u],
    ['{"type":"res","id":"1","ok":"true"}', /a response needs a boolean ok/u],
    ['{"type":"res","id":"1","ok":false,"error":"no"}', /error must be an object/u],
    ['{"type":"res","id":"1","ok":false,"error":null}', /error must be an object/u],
    ['{"type":"res","id":"1","ok":false,"error":{"code":"X"}}', /message must be a non-empty string/u],
    ['{"type":"res","id":"1","ok":false,"error":{"code":"X","message":"m","retryable":1}}', /error.retryable/u],
    ['{"type":"res","id":"1","ok":false,"error":{"code":"X","message":"m","retryAfterMs":-1}}', /error.retryAfterMs/u],
    ['{"type":"event"}', /event must be a non-empty string/u],
    ['{"type":"event","event":"e","seq":-1}', /seq must be an integer from 0/u],
    ['{"type":"event","event":"e","seq":1.5}', /seq must be an integer from 0/u],
    ['{"type":"event","event":"e","seq":9007199254740992}', /seq must be an integer from 0/u],
    ['{"type":"event","event":"e","stateVersion":3}', /stateVersion must hold/u],
    ['{"type":"event","event":"e","stateVersion":{"presence":1}}', /stateVersion must hold/u],
  ])("%s is refused", (message, says) => {
    expect(complaint(message)).toMatch(says);
  });

  test.each<[what: string, message: string, field: string]>([
    ["a request", '{"type":"req","id":"1","method":"m","parms":{}}', "parms"],
    ["a response", '{"type":"res","id":"1","ok":true,"result":{}}', "result"],
    ["an event", '{"type":"event","event":"e","data":1}', "data"],
    ["an error", '{"type":"res","id":"1","ok":false,"error":{"code":"X","message":"m","hint":"h"}}', "hint"],
    ["a state version", '{"type":"event","event":"e","stateVersion":{"presence":1,"health":1,"x":1}}', "x"],
    ["any frame, even as a prototype,", '{"type":"req","id":"1","method":"m","__proto__":{}}', "__proto__"],
  ])(
    "an unknown field of %s is left in place by the open policy and refused by the closed one",
    (_what, message, field) => {
      expect(encodeFrame(decodeFrame(message))).toBe(message);
      expect(complaint(message, "closed")).toBe(`invalid frame: unknown field "${field}"`);
    },
  );

  test("a refusal tells the id where one can be read, so that it can be answered", () => {
    const failing = () => decodeFrame('{"type":"req","id":"17","extra":1}', "closed");
    expect(failing).toThrow(expect.objectContaining({ code: "protocol", details: { id: "17" } }));
  });

  test("text that is not JSON is told apart, because it is ignored and not answered", () => {
    expect(() => decodeFrame("hello")).toThrow(expect.objectContaining({ details: { notJson: true } }));
  });
});

describe("limits", () => {
  test.each([
    [maxNesting - 1, false],
    [maxNesting, false],
    [maxNesting + 1, true],
  ])("%i levels of nesting: too deep is %s", (levels, tooDeep) => {
    expect(isNestedTooDeep(nested(levels))).toBe(tooDeep);
    expect(complaint(nested(levels))).toBe(tooDeep ? "invalid frame: message nested deeper than 128 levels" : "none");
  });

  test("brackets inside strings are not nesting, however the quotes around them are escaped", () => {
    const frame: Frame = {
      type: "req",
      id: "1",
      method: "m",
      params: [String.raw`\"[`, "[".repeat(1000), '"', "\\", "{".repeat(1000)],
    };
    expect(decodeFrame(encodeFrame(frame))).toEqual(frame);
  });

  test("brackets behind a string that ends in backslashes are nesting", () => {
    const deep = `{"type":"req","id":"\\\\","method":"m","params":${"[".repeat(200)}${"]".repeat(200)}}`;
    expect(isNestedTooDeep(deep)).toBe(true);
  });

  test("siblings do not add up", () => {
    const wide: Frame = { type: "req", id: "1", method: "m", params: Array.from({ length: 1000 }, () => [[]]) };
    expect(decodeFrame(encodeFrame(wide))).toEqual(wide);
  });

  test("depth is measured as JSON.parse would find it", () => {
    const depthOf = (value: unknown): number =>
      typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
    // Pairs of a deep spine and generated leaves: values on both sides of the limit.
    const deepValue = fc
      .tuple(fc.integer({ min: 118, max: 130 }), fc.jsonValue({ maxDepth: 8 }))
      .map(([levels, leaf]) => {
        let value: unknown = leaf;
        for (let level = 0; level < levels; level++) value = level % 2 === 0 ? [value] : { '"[{\\': value };
        return value;
      });
    fc.assert(
      fc.property(deepValue, (value) => {
        expect(isNestedTooDeep(JSON.stringify(value))).toBe(depthOf(value) > maxNesting);
      }),
    );
  });

  const fitting = '{"type":"req","id":"1","method":"m"}';
  const wide = '{"type":"req","id":"é€😀","method":"m"}';
  test.each<[what: string, message: string, maxBytes: number]>([
    ["one byte below the limit", fitting, fitting.length + 1],
    ["exactly at the limit", fitting, fitting.length],
    ["of wide characters, at the limit in bytes", wide, Buffer.byteLength(wide)],
  ])("a message %s is read", (_what, message, maxBytes) => {
    expect(decodeFrame(message, "open", maxBytes)).toEqual(JSON.parse(message));
  });

  test.each<[what: string, message: string, maxBytes: number]>([
    ["one byte over the limit", fitting, fitting.length - 1],
    ["of wide characters, one byte over, though fewer characters", wide, Buffer.byteLength(wide) - 1],
  ])("a message %s is refused", (_what, message, maxBytes) => {
    expect(() => decodeFrame(message, "open", maxBytes)).toThrow(
      expect.objectContaining({ code: "protocol", message: `invalid frame: message of more than ${maxBytes} bytes` }),
    );
  });
});
