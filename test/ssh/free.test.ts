/** Memory is given back at once, and only what nobody else has. */
import { expect, test } from "vitest";
import { free } from "../../src/ssh/free.ts";

test.each<[name: string, chunk: Buffer, left: number]>([
  ["a large chunk with memory of its own is freed", Buffer.allocUnsafeSlow(65_536), 0],
  ["so are the contents of a packet with its frame around it", Buffer.allocUnsafeSlow(32_820).subarray(14, 32_782), 0],
  ["a small chunk is left alone", Buffer.allocUnsafeSlow(4_096), 4_096],
  [
    "a large part of memory that is larger still is left alone",
    Buffer.allocUnsafeSlow(65_536).subarray(0, 32_768),
    32_768,
  ],
  ["a chunk of the pool is left alone", Buffer.allocUnsafe((Buffer.poolSize >>> 1) - 1), (Buffer.poolSize >>> 1) - 1],
  ["an empty one is left alone", Buffer.alloc(0), 0],
])("%s", (_name, chunk, left) => {
  free(chunk);
  expect(chunk.length).toBe(left);
  free(chunk); // again does no harm
});
