/** Notices that the other end of an SSH connection is gone although the network says nothing. */
import type { Runtime } from "../runtime.ts";

// Polls per keepalive, and how many of them may pass without a byte.
const pollsPerKeepalive = 10 / 3;
const silentPollsAllowed = 5;
/**
 * OpenSSH's server takes a turn for all connections at once, and the first time they all bring something it enlarges one buffer step by
 * step, which takes time with the square of their number: 15 s for a thousand, measured, in which it says nothing at all.
 */
const connectionsAtEase = 300;

export interface Watched {
  readonly socket: { readonly bytesRead: number };
  readonly keepaliveMs: number;
  readonly runtime: Runtime;
  /** How many connections the server carries for us now. */
  readonly load: () => number;
}

/**
 * Calls `onSilent` once nothing at all has arrived for 1.5 to 1.8 keepalives, or longer while the server carries more than 300
 * connections. The library asks for a sign of life after each keepalive without one, so the server has at least half of that time to
 * answer. Polls are counted and not clocks compared: neither a step of the clock nor a sleeping laptop counts as silence.
 */
export function watchSilence(
  { socket, keepaliveMs, runtime, load }: Watched,
  onSilent: (silentMs: number) => void,
): () => void {
  const pollMs = keepaliveMs / pollsPerKeepalive;
  let heard = socket.bytesRead;
  let silentPolls = 0;
  let stop = runtime.after(pollMs, poll);
  return () => stop();

  function poll(): void {
    silentPolls = socket.bytesRead === heard ? silentPolls + 1 : 0;
    heard = socket.bytesRead;
    const patience = Math.max(1, (load() / connectionsAtEase) ** 2);
    if (silentPolls >= silentPollsAllowed * patience) return onSilent(Math.round(silentPolls * pollMs));
    stop = runtime.after(pollMs, poll);
  }
}
