import { expect, test } from "vitest";
import { decodeFrame, encodeFrame, type Frame } from "../../src/protocol/frame.ts";
import { agreeOnProtocol, readChallenge, readConnectParams, readHelloOk } from "../../src/protocol/handshake.ts";
import { readTranscript, recordedFrames, transcriptFiles } from "../fixtures/transcripts.ts";

interface Heard {
  readonly at: string;
  readonly frame: Frame;
}

const heard: readonly Heard[] = recordedFrames.map(({ at, value }) => ({
  at,
  frame: decodeFrame(JSON.stringify(value)),
}));

test("the recordings are all here", () => {
  expect(transcriptFiles).toHaveLength(21);
  expect(recordedFrames).toHaveLength(771);
});

// The closed policy knows every field that any recorded version sends: there are no exceptions to list.
test.each(["open", "closed"] as const)(
  "every recorded frame passes the %s field policy and comes back without loss",
  (policy) => {
    for (const { at, value } of recordedFrames) {
      const written = encodeFrame(decodeFrame(JSON.stringify(value), policy));
      expect({ at, value: JSON.parse(written) }).toEqual({ at, value });
    }
  },
);

test.each(transcriptFiles)("%s opens every connection with a challenge that can be read", (file) => {
  const met = new Set<string>();
  for (const { at, connection, value } of readTranscript(file)) {
    if (met.has(connection)) continue;
    met.add(connection);
    const frame = decodeFrame(JSON.stringify(value));
    const challenge = frame.type === "event" ? readChallenge(frame.payload) : undefined;
    expect({ at, frame, challenge }).toMatchObject({
      at,
      frame: { type: "event", event: "connect.challenge" },
      challenge: { nonce: expect.any(String), ts: expect.any(Number) },
    });
  }
  expect(met.size).toBeGreaterThan(0);
});

test("every recorded connect is read without loss and agrees on a protocol with a gateway of ours", () => {
  const connects = heard.flatMap(({ at, frame }) =>
    frame.type === "req" && frame.method === "connect" ? [{ at, params: frame.params }] : [],
  );
  expect(connects).toHaveLength(169);
  for (const { at, params } of connects) {
    const read = readConnectParams(params);
    expect({ at, read }).toEqual({ at, read: { params } });
    expect("params" in read && agreeOnProtocol(read.params)).toBeOneOf([3, 4]);
  }
});

test("every recorded hello-ok is read, with everything in it left in place", () => {
  const hellos = heard.flatMap(({ at, frame }) =>
    frame.type === "res" && isHello(frame.payload) ? [{ at, payload: frame.payload }] : [],
  );
  expect(hellos).toHaveLength(93);
  for (const { at, payload } of hellos) {
    const read = readHelloOk(payload);
    expect({ at, read }).toMatchObject({ at, read: { hello: payload } });
  }
});

function isHello(payload: unknown): payload is { readonly type: "hello-ok" } {
  return typeof payload === "object" && payload !== null && "type" in payload && payload.type === "hello-ok";
}
