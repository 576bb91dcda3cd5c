/**
 * GHASH, what AES-GCM authenticates with (NIST SP 800-38D § 6.4), for packets so small that a library would take longer to be called. How
 * long it takes, and which memory it looks at, depends on the number of blocks alone: never on the key, nor on what is hashed.
 */

const blockBytes = 16;
const wordBits = 32;
/** The field's polynomial without its highest term, in GCM's order of bits (§ 6.3). */
const polynomial = 0xe100_0000;

export class Ghash {
  /** The subkey times every power of x, from 0 to 127: four words each. */
  readonly #multiples = new Int32Array(4 * 128);
  readonly #hash = new Int32Array(4);

  /** `subkey` is what AES makes of a block of zeros. */
  constructor(subkey: Buffer) {
    let [a, b, c, d] = [subkey.readInt32BE(0), subkey.readInt32BE(4), subkey.readInt32BE(8), subkey.readInt32BE(12)];
    for (let at = 0; at < this.#multiples.length; at += 4) {
      this.#multiples.set([a, b, c, d], at);
      const carried = -(d & 1) & polynomial;
      d = (d >>> 1) | (c << 31);
      c = (c >>> 1) | (b << 31);
      b = (b >>> 1) | (a << 31);
      a = (a >>> 1) ^ carried;
    }
  }

  /** Of 32 bits that are not encrypted and of whole blocks that are; four words, which hold until the next call. */
  hash(clear: number, encrypted: Buffer): Int32Array {
    this.#hash.fill(0);
    this.#add(clear, 0, 0, 0);
    for (let at = 0; at < encrypted.length; at += blockBytes) {
      const [a, b] = [encrypted.readInt32BE(at), encrypted.readInt32BE(at + 4)];
      this.#add(a, b, encrypted.readInt32BE(at + 8), encrypted.readInt32BE(at + 12));
    }
    this.#add(0, wordBits, 0, encrypted.length * 8);
    return this.#hash;
  }

  /** Adds a block to the hash, and multiplies that by the subkey: each bit takes its multiple or, by a mask of zeros, nothing. */
  #add(...block: readonly [number, number, number, number]): void {
    const multiples = this.#multiples;
    let [a, b, c, d] = [0, 0, 0, 0];
    let at = 0;
    for (let index = 0; index < block.length; index++) {
      let word = (this.#hash[index] ?? 0) ^ (block[index] ?? 0);
      for (let bit = 0; bit < wordBits; bit++) {
        const mask = word >> (wordBits - 1);
        word <<= 1;
        a ^= mask & (multiples[at++] ?? 0);
        b ^= mask & (multiples[at++] ?? 0);
        c ^= mask & (multiples[at++] ?? 0);
        d ^= mask & (multiples[at++] ?? 0);
      }
    }
    const hash = this.#hash;
    [hash[0], hash[1], hash[2], hash[3]] = [a, b, c, d];
  }
}
