/** What is sealed and opened here are the packets of RFC 5647, in whatever pieces they come. */
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from "node:crypto";
import { array, assert, nat, property, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import {
  emptyPacket,
  type GcmDecryption,
  gcmDecryption,
  type GcmKey,
  GcmOpener,
  gcmSealer,
} from "../../src/ssh/gcm-packets.ts";
import { firstPackets } from "../../src/ssh/small-gcm.ts";

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

function sealedByNode(algorithm: GcmKey["algorithm"], key: Buffer, nonce: Buffer, packet: Buffer): Buffer {
  const cipher = createCipheriv(algorithm, key, nonce).setAAD(packet.subarray(0, 4));
  const encrypted = Buffer.concat([cipher.update(packet.subarray(4)), cipher.final()]);
  return Buffer.concat([packet.subarray(0, 4), encrypted, cipher.getAuthTag()]);
}

/** The nonce of the packet that comes so many before this one. */
function before(nonce: Buffer, packets: number): Buffer {
  const earlier = Buffer.from(nonce);
  earlier.writeBigUInt64BE(BigInt.asUintN(64, nonce.readBigUInt64BE(4) - BigInt(packets)), 4);
  return earlier;
}

const ways = algorithms.flatMap((algorithm) => [
  { algorithm, done: 0 },
  { algorithm, done: firstPackets },
]);

describe.each(ways)("with $algorithm, when $done packets are done", ({ algorithm, done }) => {
  /** Both ends, at the packet of this nonce. */
  function endsAt(nonce: Buffer, take: (payload: Buffer) => void) {
    const seal = gcmSealer(keyFor(algorithm, before(nonce, done)));
    let toCome = done;
    const opener = new GcmOpener(gcmDecryption(keyFor(algorithm, before(nonce, done))), (payload) => {
      if (toCome-- <= 0) take(payload);
    });
    for (let count = 0; count < done; count++) opener.open(Buffer.concat(seal(packetOf(Buffer.of(count)))), 0);
    return { seal, opener };
  }

  test("what is sealed is opened again, in any pieces", () => {
    const payloads = array(uint8Array({ minLength: 1, maxLength: 400 }), { minLength: 1, maxLength: 8 });
    const isTheSame = property(payloads, array(nat(4000), { maxLength: 12 }), (sent, cuts) => {
      const opened: Buffer[] = [];
      const { seal, opener } = endsAt(randomBytes(12), (payload) => void opened.push(Buffer.from(payload)));
      const whole = Buffer.concat(sent.flatMap((payload) => seal(packetOf(payload))));
      for (const piece of pieces(whole, cuts)) expect(opener.open(piece, 0)).toBeUndefined();
      expect(opened).toEqual(sent.map((payload) => Buffer.from(payload)));
    });
    assert(isTheSame, { numRuns: 200 });
  });

  test("a packet of any size is sealed as Node.js seals it", () => {
    const nonce = Buffer.from("010203040000000000000000", "hex");
    const { seal } = endsAt(nonce, () => {});
    for (let count = 0; count <= 300; count++) {
      nonce.writeUInt32BE(count, 8);
      const packet = packetOf(randomBytes((count * 37) % 301)); // small and large ones by turns
      const expected = sealedByNode(algorithm, keyFor(algorithm, nonce).bytes, nonce, packet);
      expect(Buffer.concat(seal(packet))).toEqual(expected);
    }
  });

  test.each([5, 500])("each nonce is the one before it, counted on: packets of %i bytes", (bytes) => {
    const nonce = Buffer.from("01020304fffffffffffffffe", "hex");
    const { seal } = endsAt(nonce, () => {});
    // Where it carries, and where it wraps.
    for (const counter of ["fffffffffffffffe", "ffffffffffffffff", "0000000000000000", "0000000000000001"]) {
      const packet = packetOf(randomBytes(bytes));
      nonce.write(counter, 4, "hex");
      const expected = sealedByNode(algorithm, keyFor(algorithm, nonce).bytes, nonce, packet);
      expect(Buffer.concat(seal(packet))).toEqual(expected);
    }
  });

  test.each([40, 400])("a changed bit is noticed, and nothing of that packet is handed on: %i bytes", (bytes) => {
    const nonce = randomBytes(12);
    const sealed = Buffer.concat(endsAt(nonce, () => {}).seal(packetOf(randomBytes(bytes))));
    for (let at = 4; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      const { opener } = endsAt(nonce, () => expect.unreachable("opened"));
      expect(() => opener.open(changed, 0)).toThrow(/authenticate/u);
    }
  });
});

/** Each packet at once and in place, as the addon of ssh2 has it. */
function wholeDecryption(key: GcmKey): GcmDecryption {
  let packets = 0;
  return {
    begin: () => undefined,
    open: (length, encrypted, tag) => {
      const decipher = createDecipheriv(key.algorithm, key.key, before(Buffer.from(key.nonce), -packets++));
      encrypted.set(decipher.setAAD(length).setAuthTag(tag).update(encrypted));
      decipher.final();
    },
  };
}

test("packets that are decrypted whole and in place leave what was read as it was, in any pieces", () => {
  const payloads = array(uint8Array({ minLength: 1, maxLength: 400 }), { minLength: 1, maxLength: 8 });
  const isTheSame = property(payloads, array(nat(4000), { maxLength: 12 }), (sent, cuts) => {
    const opened: Buffer[] = [];
    const key = keyFor("aes-128-gcm", randomBytes(12));
    const seal = gcmSealer(key);
    const opener = new GcmOpener(wholeDecryption(key), (payload) => void opened.push(payload));
    const whole = Buffer.concat(sent.flatMap((payload) => seal(packetOf(payload))));
    for (const piece of pieces(whole, cuts)) {
      const asRead = Buffer.from(piece);
      expect(opener.open(piece, 0)).toBeUndefined();
      expect(piece).toEqual(asRead);
      piece.fill(0);
    }
    expect(opened).toEqual(sent.map((payload) => Buffer.from(payload)));
  });
  assert(isTheSame, { numRuns: 200 });
});

test.each([0, 8, 15, 17, 35_008, 0xffff_ffff])("a length of %i is refused before anything is kept for it", (bytes) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes);
  const opener = new GcmOpener(gcmDecryption(keyFor("aes-128-gcm", Buffer.alloc(12))), () =>
    expect.unreachable("opened"),
  );
  expect(() => opener.open(length, 0)).toThrow(`a packet cannot have ${bytes} bytes`);
});

test("a taker that ends the opening is told where others go on", () => {
  const nonce = randomBytes(12);
  const seal = gcmSealer(keyFor("aes-128-gcm", nonce));
  const first = Buffer.concat(seal(packetOf(Buffer.from("one"))));
  const both = Buffer.concat([first, ...seal(packetOf(Buffer.from("two")))]);
  const opener = new GcmOpener(gcmDecryption(keyFor("aes-128-gcm", nonce)), () => false);
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
