import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { eventNames, findMethod, invokeRequest, methods } from "../../src/protocol/methods.ts";
import { decodeFrame } from "../../src/protocol/frame.ts";
import { operatorScopes } from "../../src/protocol/vocabulary.ts";
import { recordedFrames } from "../fixtures/transcripts.ts";

const recorded = recordedFrames.map(({ at, value }) => ({ at, frame: decodeFrame(JSON.stringify(value)) }));

describe("the method table", () => {
  test.each(Object.entries(methods))("%s asks for a scope that exists, or is open to its role", (_name, rule) => {
    const scope: string | undefined = "scope" in rule ? rule.scope : undefined;
    const isForOperators = "role" in rule && rule.role === "operator";
    expect(scope).toBeOneOf(isForOperators ? [undefined, ...operatorScopes] : [undefined]);
  });

  test.each(["", "connect", "constructor", "__proto__", "HEALTH"])("%j is no method of it", (name) => {
    expect(findMethod(name)).toBeUndefined();
  });

  test("its params take every request of these methods that the real programs made", () => {
    const seen = new Set<string>();
    for (const { at, frame } of recorded) {
      const rule = frame.type === "req" ? findMethod(frame.method) : undefined;
      if (frame.type !== "req" || rule === undefined) continue;
      seen.add(frame.method);
      const read = v.safeParse(rule.params, frame.params);
      expect({ at, problems: read.issues }).toEqual({ at, problems: undefined });
    }
    expect(seen.size).toBe(15);
  });
});

test("every invoke that a real gateway sent is read without loss", () => {
  const invokes = recorded.flatMap(({ at, frame }) =>
    frame.type === "event" && frame.event === "node.invoke.request" ? [{ at, payload: frame.payload }] : [],
  );
  expect(invokes.length).toBeGreaterThan(0);
  for (const { at, payload } of invokes) {
    const read = v.safeParse(invokeRequest, payload);
    expect({ at, read: read.output }).toEqual({ at, read: payload });
  }
});

test("no event is listed twice", () => {
  expect(new Set(eventNames).size).toBe(eventNames.length);
});
