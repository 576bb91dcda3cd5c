/**
 * AES-GCM for packets so small that a library would take longer to be called than to encrypt (NIST SP 800-38D § 7, RFC 5647). The nonces are
 * known beforehand, so AES runs for many packets at once; what is left for each is to mix its key stream in and to hash.
 */
import { type Cipheriv, createCipheriv, timingSafeEqual } from "node:crypto";
import type { GcmKey } from "./gcm-packets.ts";
import { Ghash } from "./ghash.ts";

/** The most that is encrypted of a small packet. More than this, the library is faster with. */
const mostSmallBytes = 128;
/**
 * Packets that come first go by the library: what this takes in memory, 0.4 MiB of compiled code, is for tunnels that are used. One that only
 * lies there comes to it too, but only after as many keepalives.
 */
export const firstPackets = 64;

const lengthBytes = 4;
const tagBytes = 16;
const blockBytes = 16;
/** The nonce is four fixed bytes and a counter (RFC 5647 § 7.1); behind it, the blocks of a packet are counted in four more. */
const nonceBytes = 12;
const nonceCounterAt = 4;

/** For how many packets AES runs at once. */
const packetsAhead = 16;
/** The first block encrypts the tag, the others what the packet holds. */
const bytesPerPacket = blockBytes + mostSmallBytes;

/** Of one direction, from one key exchange to the next. Every packet takes its turn, by `skip` where `takes` says no. */
export class SmallGcm {
  readonly #gcmKey: GcmKey;
  /** Of the next packet. */
  readonly #nonce: Buffer;
  #packets = 0;
  #primitives: Primitives | undefined;
  #streams = nothing;
  #streamAt = 0;
  readonly #tag = Buffer.alloc(tagBytes);

  constructor(gcmKey: GcmKey) {
    this.#gcmKey = gcmKey;
    this.#nonce = Buffer.from(gcmKey.nonce);
  }

  /** Whether the next packet is for this, if so many of its bytes are encrypted. */
  takes(bytes: number): boolean {
    return bytes <= mostSmallBytes && this.#packets >= firstPackets;
  }

  /** The nonce of the next packet, which is sealed or opened by others. */
  skip(): Uint8Array {
    const nonce = Buffer.from(this.#nonce);
    this.#goOn();
    return nonce;
  }

  /** The packet with its length, what is encrypted, and the tag. */
  seal(packet: Buffer): Buffer {
    const sealed = Buffer.allocUnsafe(packet.length + tagBytes);
    sealed.set(packet);
    const encrypted = sealed.subarray(lengthBytes, packet.length);
    const stream = this.#stream();
    mixIn(encrypted, stream);
    sealed.set(this.#tagOf(packet.readInt32BE(), encrypted, stream), packet.length);
    this.#goOn();
    return sealed;
  }

  /** Decrypts in place what is encrypted. Throws where the tag is wrong, and decrypts nothing. */
  open(length: Buffer, encrypted: Buffer, tag: Buffer): void {
    const stream = this.#stream();
    if (!timingSafeEqual(this.#tagOf(length.readInt32BE(), encrypted, stream), tag)) {
      throw new Error("unable to authenticate a packet");
    }
    mixIn(encrypted, stream);
    this.#goOn();
  }

  #tagOf(length: number, encrypted: Buffer, stream: Buffer): Buffer {
    const hash = this.#with.ghash.hash(length, encrypted);
    for (let index = 0; index < hash.length; index++) {
      const at = 4 * index;
      this.#tag.writeInt32BE((hash[index] ?? 0) ^ stream.readInt32BE(at), at);
    }
    return this.#tag;
  }

  /** What AES makes of the next packet's counters. */
  #stream(): Buffer {
    if (this.#streamAt >= this.#streams.length) this.#runAhead();
    return this.#streams.subarray(this.#streamAt, this.#streamAt + bytesPerPacket);
  }

  #runAhead(): void {
    const counters = Buffer.allocUnsafe(packetsAhead * bytesPerPacket);
    const nonce = Buffer.from(this.#nonce);
    for (let at = 0, block = 1; at < counters.length; at += blockBytes, block++) {
      counters.set(nonce, at);
      counters.writeUInt32BE(block, at + nonceBytes);
      if (block < bytesPerPacket / blockBytes) continue;
      block = 0;
      countOn(nonce);
    }
    this.#streams = this.#with.aes.update(counters);
    this.#streamAt = 0;
  }

  #goOn(): void {
    countOn(this.#nonce);
    this.#packets++;
    this.#streamAt += bytesPerPacket;
  }

  get #with(): Primitives {
    return (this.#primitives ??= primitivesOf(this.#gcmKey));
  }
}

const nothing: Buffer = Buffer.alloc(0);

interface Primitives {
  readonly aes: Cipheriv;
  readonly ghash: Ghash;
}

function primitivesOf({ algorithm, key }: GcmKey): Primitives {
  const aes = createCipheriv(algorithm === "aes-128-gcm" ? "aes-128-ecb" : "aes-256-ecb", key, null);
  aes.setAutoPadding(false);
  return { aes, ghash: new Ghash(aes.update(Buffer.alloc(blockBytes))) };
}

/** Encrypts, or decrypts, in place: whole blocks, the first of them by the second block of the stream. */
function mixIn(data: Buffer, stream: Buffer): void {
  for (let at = 0; at < data.length; at += 4) {
    data.writeInt32BE(data.readInt32BE(at) ^ stream.readInt32BE(blockBytes + at), at);
  }
}

/** Counts a nonce on by one packet, in place (RFC 5647 § 7.1). */
function countOn(nonce: Buffer): void {
  for (let index = nonce.length - 1; index >= nonceCounterAt; index--) {
    const digit = ((nonce[index] ?? 0) + 1) % 256;
    nonce[index] = digit;
    if (digit !== 0) return;
  }
}
