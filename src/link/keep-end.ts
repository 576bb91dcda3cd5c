/** Keeps one end of a link up: its line, and the node that runs there. */
import { isFailure, OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import type { EndLine } from "./end-line.ts";
import { type JoinOptions, type RunningNode, startNode } from "./join-ends.ts";

export interface KeepOptions {
  readonly line: EndLine;
  /** The node that runs there, if one does. */
  readonly node: RunningNode | undefined;
  /** The device at the other end of the link. */
  readonly peerId: string;
  /** Starts the end anew; throws while it cannot be reached. */
  readonly reopen: () => Promise<EndLine>;
  readonly onNode: JoinOptions["onNode"];
  /** The line was lost, or could not be had again. */
  readonly onLost: (reason: string, retryInMs: number) => void;
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
}

const firstRetryMs = 50;
const slowestRetryMs = 5_000;

/** Returns when the signal is aborted; throws what ended the node, or the link over there, for good. */
export async function keepEnd(options: KeepOptions): Promise<void> {
  const { signal } = options;
  const { promise: stop, reject } = Promise.withResolvers<never>();
  stop.catch(() => {});
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  let { line, node } = options;
  try {
    signal.throwIfAborted();
    for (;;) {
      await Promise.race([line.closed, stop, ...(node === undefined ? [] : [endOf(node, line)])]);
      ({ line, node } = await comeBack(options));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", abort);
    await line[Symbol.asyncDispose]();
  }
}

/** Throws why the node ended, unless that is only because its line is lost. */
async function endOf({ stopped, direction }: RunningNode, line: EndLine): Promise<void> {
  const reason = await stopped;
  if (!line.isOver) throw explained(direction, reason);
}

/** A gateway that turns the node away does so under a name that only the link knows. */
function explained(direction: RunningNode["direction"], reason: unknown): unknown {
  if (!isFailure(reason, "device-token-mismatch", "token-mismatch", "credential-missing", "upgrade-refused"))
    return reason;
  const [whose, what] =
    direction === "toRemote" ? ["the gateway there", "this machine"] : ["the gateway here", "the other machine"];
  return new OpenClawError("device-token-mismatch", `${whose} no longer lets ${what} in as a node`, {
    hint: `its device was removed or revoked there (openclaw devices list); openclaw pair link, run again, makes it anew`,
    details: { direction, was: reason.code },
    cause: reason,
  });
}

async function comeBack(options: KeepOptions): Promise<Pick<KeepOptions, "line" | "node">> {
  const { node, peerId, reopen, onNode, onLost, runtime, signal } = options;
  let reason = "its line was lost";
  for (let retryMs = firstRetryMs; ; retryMs = Math.min(slowestRetryMs, retryMs * 2)) {
    onLost(reason, retryMs);
    await runtime.sleep(retryMs, signal);
    let line: EndLine | undefined;
    try {
      line = await reopen();
      await line.ask("resume", { deviceId: peerId });
      if (node === undefined) return { line, node };
      const { direction, gateway } = node;
      return { line, node: await startNode(line, { direction, gateway, onNode }) };
    } catch (error) {
      await line?.[Symbol.asyncDispose]();
      // The link was ended over there; everything else may pass.
      if (isFailure(error, "not-found", "incompatible", "pairing-required")) throw error;
      if (!(error instanceof OpenClawError)) throw error;
      reason = error.message;
    }
  }
}
