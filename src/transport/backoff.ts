/** How long to wait before the next try. */

export interface Backoff {
  readonly firstMs: number;
  readonly capMs: number;
}

/** What every reconnect of ours uses: 1 s doubling to 30 s (protocol.md § 4.10). */
export const reconnectBackoff: Backoff = { firstMs: 1000, capMs: 30_000 };

/** Milliseconds before retry number `attempt` (from 0): doubles up to the cap, spread over its upper half by `chance` in [0, 1). */
export function retryDelay({ firstMs, capMs }: Backoff, attempt: number, chance: number): number {
  const ceiling = Math.min(capMs, firstMs * 2 ** Math.min(attempt, 30));
  return Math.round((ceiling / 2) * (1 + chance));
}
