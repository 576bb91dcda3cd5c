/** Memory that is given back at once. */

/**
 * Frees what `chunk` lies in, now that it is used up. Left to the garbage collector, the chunks of a transfer have it run every few
 * milliseconds, which takes a third of the CPU time, and until it has they weigh more than all that is under way. The chunk is empty
 * afterwards, and so is every other view of the same memory: only for one that nobody else looks at again.
 */
export function free(chunk: Uint8Array): void {
  const { buffer, length } = chunk;
  // A chunk of a pool that others use too leaves most of it over; one of its own has at most a packet's frame around it.
  const isItsOwn = buffer.byteLength - length < largestFrameBytes;
  if (isWorthFreeing(chunk) && isItsOwn && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Less is soon collected anyway. */
export function isWorthFreeing({ length }: Uint8Array): boolean {
  return length >= worthwhileBytes;
}

/** Less is soon collected, and may be memory that Node.js cuts several buffers from: those are smaller than half of it. */
const worthwhileBytes = 8 * 1024;
/** Length, type, channel, and up to 255 bytes of padding (RFC 4253 § 6, RFC 4254 § 5.2). */
const largestFrameBytes = 512;
