/** Waiting for another process without keeping this one's event loop waiting. */
import type { Runtime } from "../runtime.ts";
import { isBusy } from "./sqlite-failure.ts";

/** Longest wait between two tries, in milliseconds: writers hold the database for less than a millisecond each. */
const maxPauseMs = 16;

/**
 * Runs `attempt` until SQLite no longer answers "busy", and then returns its result; after `timeoutMs` that answer is thrown.
 * SQLite's own busy handler sleeps on the calling thread, which here is the one that serves everybody else.
 */
export async function retryWhileBusy<Result>(
  attempt: () => Result,
  { timeoutMs, runtime }: { readonly timeoutMs: number; readonly runtime: Runtime },
): Promise<Result> {
  const deadlineMs = runtime.now() + timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(maxPauseMs, pauseMs * 2)) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error) || runtime.now() >= deadlineMs) throw error;
    }
    // Uneven pauses: two processes that collided once should not go on colliding.
    const [chance = 0] = runtime.random(1);
    await runtime.sleep((pauseMs * (256 + chance)) / 512);
  }
}
