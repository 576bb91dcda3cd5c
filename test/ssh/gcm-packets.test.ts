/** Packets sealed and opened with ciphers made ahead are the packets of RFC 5647, in whatever pieces they come. */
import { createCipheriv, createSecretKey, randomBytes } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { array, assert, nat, property, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import { emptyPacket, type GcmKey, GcmOpener, gcmSealer } from "../../src/ssh/gcm-packets.ts";

const algorithms = ["aes-128-gcm", "aes-256-gcm"] as const;

function keyFor(algorithm: GcmKey["algorithm"], nonce: Buffer): GcmKey & { readonly bytes: Buffer } {
  const bytes = Buffer.alloc(algorithm === "aes-128-gcm" ? 16 : 32, 7);
  return { algorithm, key: createSecretKey(bytes), nonce: Buffer.from(nonce), bytes };
}

function packetOf(payload: Uint8Array): Buffer {
  const packet = emptyPacket(payload.length);
  packet.set(payload, 5);
  return packet;
}

/** Where `whole` is cut. */
function pieces(whole: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (whole.length + 1)).toSorted((a, b) => a - b), whole.length];
  return places.slice(1).map((end, index) => Buffer.from(whole.subarray(places[index], end)));
}

describe.each(algorithms)("with %s", (algorithm) => {
  test("what is sealed is opened again, in any pieces", () => {
    const payloads = array(uint8Array({ minLength: 1, maxLength: 400 }), { minLength: 1, maxLength: 8 });
    const isTheSame = property(payloads, array(nat(4000), { maxLength: 12 }), (sent, cuts) => {
      const nonce = randomBytes(12);
      const seal = gcmSealer(keyFor(algorithm, nonce));
      const whole = Buffer.concat(sent.flatMap((payload) => seal(packetOf(payload))));
      const opened: Buffer[] = [];
      const opener = new GcmOpener(keyFor(algorithm, nonce), (payload) => void opened.push(Buffer.from(payload)));
      for (const piece of pieces(whole, cuts)) expect(opener.open(piece, 0)).toBeUndefined();
      expect(opened).toEqual(sent.map((payload) => Buffer.from(payload)));
    });
    assert(isTheSame, { numRuns: 200 });
  });

  test("each packet has the nonce after that of the one before, also where the counter carries and where it wraps", async () => {
    const nonce = Buffer.from("01020304fffffffffffffffe", "hex");
    const key = keyFor(algorithm, nonce);
    const seal = gcmSealer(key);
    for (const counter of ["fffffffffffffffe", "ffffffffffffffff", "0000000000000000", "0000000000000001"]) {
      const packet = packetOf(Buffer.from("hello"));
      const reference = createCipheriv(algorithm, key.bytes, Buffer.from(`01020304${counter}`, "hex"));
      reference.setAAD(packet.subarray(0, 4));
      const encrypted = Buffer.concat([reference.update(packet.subarray(4)), reference.final()]);
      const expected = Buffer.concat([packet.subarray(0, 4), encrypted, reference.getAuthTag()]);
      expect(Buffer.concat(seal(packet))).toEqual(expected);
      await nextTurn(); // one is made ahead now
    }
  });

  test("a changed bit anywhere behind the length is noticed, and nothing of that packet is handed on", () => {
    const nonce = randomBytes(12);
    const sealed = Buffer.concat(gcmSealer(keyFor(algorithm, nonce))(packetOf(randomBytes(40))));
    for (let at = 4; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      const opener = new GcmOpener(keyFor(algorithm, nonce), () => expect.unreachable("opened"));
      expect(() => opener.open(changed, 0)).toThrow(/authenticate/u);
    }
  });
});

test.each([0, 8, 15, 17, 35_008, 0xffff_ffff])("a length of %i is refused before anything is kept for it", (bytes) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes);
  const opener = new GcmOpener(keyFor("aes-128-gcm", Buffer.alloc(12)), () => expect.unreachable("opened"));
  expect(() => opener.open(length, 0)).toThrow(`a packet cannot have ${bytes} bytes`);
});

test("a taker that ends the opening is told where others go on", () => {
  const nonce = randomBytes(12);
  const seal = gcmSealer(keyFor("aes-128-gcm", nonce));
  const first = Buffer.concat(seal(packetOf(Buffer.from("one"))));
  const both = Buffer.concat([first, ...seal(packetOf(Buffer.from("two")))]);
  const opener = new GcmOpener(keyFor("aes-128-gcm", nonce), () => false);
  expect(opener.open(both, 0)).toBe(first.length);
});

test.each(Array.from({ length: 40 }, (_, bytes) => bytes))("a payload of %i bytes gets its padding", (bytes) => {
  const packet = emptyPacket(bytes);
  const padding = packet[4] ?? 0;
  expect(padding).toBeGreaterThanOrEqual(4);
  expect(packet.readUInt32BE()).toBe(packet.length - 4);
  expect(packet.readUInt32BE() % 16).toBe(0);
  expect(packet.length).toBe(5 + bytes + padding);
});
