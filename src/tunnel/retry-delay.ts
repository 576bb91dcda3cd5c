/** How long to wait before the next try: full jitter, so that the clients of a restarted server do not come back together. */
import type { Runtime } from "../runtime.ts";

const firstCeilingMs = 25;
const slowestRetryMs = 30_000;

/**
 * Delay before retry number `attempt` (from 0), in milliseconds: anywhere between nothing and a ceiling that doubles up
 * to 30 s. `chance` is in [0, 1).
 */
export function retryDelay(attempt: number, chance: number): number {
  return Math.round(chance * Math.min(slowestRetryMs, firstCeilingMs * 2 ** attempt));
}

/** A number in [0, 1). */
export function chance(runtime: Runtime): number {
  return Buffer.from(runtime.random(4)).readUInt32BE(0) / 2 ** 32;
}
