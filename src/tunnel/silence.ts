/** Notices that the other end of an SSH connection is gone although the network says nothing. */
import type { Runtime } from "../runtime.ts";

// Polls per keepalive, and how many of them may pass without a byte.
const pollsPerKeepalive = 10 / 3;
const silentPollsAllowed = 5;

/**
 * Calls `onSilent` once nothing at all has arrived for 1.5 to 1.8 keepalives. The library asks for a sign of life after
 * each keepalive without one, so the server has at least half of that time to answer. Polls are counted and not
 * clocks compared: neither a step of the clock nor a sleeping laptop counts as silence.
 */
export function watchSilence(
  socket: { readonly bytesRead: number },
  keepaliveMs: number,
  runtime: Runtime,
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
    if (silentPolls >= silentPollsAllowed) return onSilent(Math.round(silentPolls * pollMs));
    stop = runtime.after(pollMs, poll);
  }
}
