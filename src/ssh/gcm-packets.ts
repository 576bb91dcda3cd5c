/**
 * SSH packets sealed and opened by AES-GCM (RFC 5647): large ones by a cipher of Node.js each, small ones, on whose way somebody waits,
 * without.
 */
import { createCipheriv, createDecipheriv, type DecipherGCM, type KeyObject, randomFillSync } from "node:crypto";
import { SmallGcm } from "./small-gcm.ts";

/** Of one direction, from one key exchange to the next. The nonce is that of the first packet. */
export interface GcmKey {
  readonly algorithm: "aes-128-gcm" | "aes-256-gcm";
  readonly key: KeyObject;
  readonly nonce: Uint8Array;
}

/** Where opened packets go. Anything but undefined ends the opening: what follows is for others, from here or from that number on. */
export type TakePayload = (payload: Buffer) => number | false | undefined;

const lengthBytes = 4;
const paddingLengthBytes = 1;
const leastPaddingBytes = 4;
const blockBytes = 16;
const tagBytes = 16;
/** RFC 4253 § 6.1. */
const longestPacketBytes = 35_000;

/**
 * An empty packet for a payload (RFC 4253 § 6; RFC 5647 § 7.2: the length stays outside of what is encrypted), with its length and its
 * padding written, and room behind it for so many bytes more.
 */
export function emptyPacket(payloadBytes: number, roomBytes = 0): Buffer {
  const unpadded = paddingLengthBytes + payloadBytes;
  const toBlock = blockBytes - (unpadded % blockBytes);
  const padBytes = toBlock < leastPaddingBytes ? toBlock + blockBytes : toBlock;
  const packet = Buffer.allocUnsafe(lengthBytes + unpadded + padBytes + roomBytes);
  packet.writeUInt32BE(unpadded + padBytes, 0);
  packet[lengthBytes] = padBytes;
  packet.set(padding(padBytes), lengthBytes + unpadded);
  return packet;
}

/** Seals packets of `emptyPacket`, one after the other: in one piece, or in three, the length, what is encrypted, and the tag. */
export function gcmSealer(gcmKey: GcmKey): (packet: Buffer) => readonly Buffer[] {
  const { algorithm, key } = gcmKey;
  const small = new SmallGcm(gcmKey);
  return (packet) => {
    if (small.takes(packet.length - lengthBytes)) return [small.seal(packet)];
    const cipher = createCipheriv(algorithm, key, small.skip());
    const length = packet.subarray(0, lengthBytes);
    cipher.setAAD(length);
    const encrypted = cipher.update(packet.subarray(lengthBytes));
    cipher.final();
    return [length, encrypted, cipher.getAuthTag()];
  };
}

/** What decrypts the packets of one direction, in their order, from one key exchange to the next. */
export interface GcmDecryption {
  /** Begins a packet, by its length. A decipher takes its pieces as they come; without one, `open` is for all of it. */
  readonly begin: (length: Buffer) => DecipherGCM | undefined;
  /** Decrypts in place what is encrypted of a packet. Throws where the tag is wrong. */
  readonly open: (length: Buffer, encrypted: Buffer, tag: Buffer) => void;
}

/** By Node.js, and small packets without. */
export function gcmDecryption(gcmKey: GcmKey): GcmDecryption {
  const small = new SmallGcm(gcmKey);
  return {
    begin: (length) => {
      if (small.takes(length.readUInt32BE())) return undefined;
      return createDecipheriv(gcmKey.algorithm, gcmKey.key, small.skip()).setAAD(length);
    },
    open: (length, encrypted, tag) => small.open(length, encrypted, tag),
  };
}

/** Opens packets in whatever pieces they come, each into memory of its own. */
export class GcmOpener {
  readonly #decryption: GcmDecryption;
  readonly #take: TakePayload;
  readonly #length = Buffer.alloc(lengthBytes);
  readonly #tag = Buffer.alloc(tagBytes);
  #lengthAt = 0;
  #tagAt = 0;
  /** Of the packet that is being read, if its pieces are decrypted as they come. */
  #decipher: DecipherGCM | undefined;
  /** What is encrypted of the packet that is being read, and how much of it has come. */
  #packetBytes = 0;
  #packetAt = 0;
  #packet: Buffer = nothing;

  constructor(decryption: GcmDecryption, take: TakePayload) {
    this.#decryption = decryption;
    this.#take = take;
  }

  /**
   * Opens what `data` holds from `at` on. Returns where others go on, if the packets go to others from there. Throws where a length cannot
   * be right and where a tag is wrong: there is nothing to be read after that.
   */
  open(data: Buffer, at: number): number | undefined {
    for (let here = at; here < data.length;) {
      here = this.#read(data, here);
      if (this.#tagAt < tagBytes) continue;
      const answer = this.#take(this.#payload());
      if (answer !== undefined) return answer === false ? here : answer;
    }
    return undefined;
  }

  /** Takes in the rest of one field, or what there is of it. Returns where it ends. */
  #read(data: Buffer, at: number): number {
    if (this.#lengthAt < lengthBytes) {
      const end = Math.min(data.length, at + lengthBytes - this.#lengthAt);
      this.#lengthAt += data.copy(this.#length, this.#lengthAt, at, end);
      if (this.#lengthAt === lengthBytes) this.#begin();
      return end;
    }
    if (this.#packetAt < this.#packetBytes) {
      const end = Math.min(data.length, at + this.#packetBytes - this.#packetAt);
      this.#keep(data.subarray(at, end));
      return end;
    }
    const end = Math.min(data.length, at + tagBytes - this.#tagAt);
    this.#tagAt += data.copy(this.#tag, this.#tagAt, at, end);
    return end;
  }

  #begin(): void {
    const bytes = this.#length.readUInt32BE();
    const isPossible = bytes >= blockBytes && bytes % blockBytes === 0 && bytes <= longestPacketBytes;
    if (!isPossible) throw new RangeError(`a packet cannot have ${bytes} bytes`);
    this.#packetBytes = bytes;
    this.#decipher = this.#decryption.begin(this.#length);
  }

  /** A piece of what is encrypted: decrypted at once, or with all of its packet. */
  #keep(piece: Buffer): void {
    const kept = this.#decipher?.update(piece) ?? piece;
    // Most large packets come whole, and what is decrypted has memory of its own.
    if (kept !== piece && kept.length === this.#packetBytes) this.#packet = kept;
    else {
      if (this.#packetAt === 0) this.#packet = Buffer.allocUnsafe(this.#packetBytes);
      this.#packet.set(kept, this.#packetAt);
    }
    this.#packetAt += kept.length;
  }

  /** Of the packet that is complete; after this the next one is read. */
  #payload(): Buffer {
    const packet = this.#packet;
    if (this.#decipher === undefined) this.#decryption.open(this.#length, packet, this.#tag);
    else this.#decipher.setAuthTag(this.#tag).final();
    this.#decipher = undefined;
    this.#packet = nothing;
    this.#lengthAt = this.#packetAt = this.#packetBytes = this.#tagAt = 0;
    return packet.subarray(paddingLengthBytes, Math.max(paddingLengthBytes, packet.length - (packet[0] ?? 0)));
  }
}

const nothing = Buffer.alloc(0);

/** Random bytes, which are made many at a time. */
function padding(bytes: number): Uint8Array {
  if (paddingAt + bytes > paddingPool.length) {
    randomFillSync(paddingPool);
    paddingAt = 0;
  }
  paddingAt += bytes;
  return paddingPool.subarray(paddingAt - bytes, paddingAt);
}

const paddingPool = new Uint8Array(4096);
let paddingAt = paddingPool.length;
