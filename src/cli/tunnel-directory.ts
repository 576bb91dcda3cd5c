/** The tunnels that run on this machine under this state directory, and the one that a person means. */
import { isFailure, OpenClawError } from "../errors.ts";
import { matchId } from "../identity/match-id.ts";
import { runningTunnels, type TunnelRecord } from "../state/tunnel-record.ts";
import { isStopped } from "../store/process-life.ts";
import { askTunnel } from "../tunnel/control-client.ts";
import type { TunnelSummary } from "../tunnel/report.ts";
import type { Context } from "./context.ts";

/** One line of `tunnel list`; a tunnel whose process does not answer has a problem instead of counters. */
export type ListedTunnel = TunnelSummary & { readonly problem?: string };

const listCommand = "openclaw tunnel list";

/** How long one tunnel of several may hold up the list. */
const answerMs = 2000;

/** Every tunnel that runs, each asked over its control socket. */
export async function listTunnels(context: Context): Promise<readonly ListedTunnel[]> {
  const records = await recordsOf(context);
  const rows = await Promise.all(records.map((record) => summaryOf(context, record)));
  return rows.filter((row) => row !== undefined);
}

export function recordsOf(context: Context): Promise<readonly TunnelRecord[]> {
  return runningTunnels(context.paths().runDir, context.runtime);
}

/** The tunnel that a name, or the beginning of one, means. Throws `not-found`, `ambiguous`, or `timeout` for one that is stopped and would never answer. */
export async function findTunnel(context: Context, wanted: string): Promise<TunnelRecord> {
  const records = await recordsOf(context);
  const candidates = records.map((record) => ({ ...namedAs(record.name), record }));
  const { record } = matchId(wanted, candidates, "running tunnel", listCommand);
  if (await isStopped(record.pid)) throw await silentTunnel(record);
  return record;
}

/** A tunnel's name as an id: prefixes of it are looked for in lower case. */
export function namedAs(name: string) {
  const lower = name.toLowerCase();
  return { id: name, names: [], ...(lower === name ? {} : { alsoIds: [lower] }) };
}

async function summaryOf(context: Context, record: TunnelRecord): Promise<ListedTunnel | undefined> {
  const signal = AbortSignal.any([context.oneShotSignal, AbortSignal.timeout(answerMs)]);
  try {
    return await askTunnel(record, "summary", {}, signal);
  } catch (error) {
    context.oneShotSignal.throwIfAborted();
    // It ended while we looked.
    const remaining = await recordsOf(context);
    if (!remaining.some(({ nonce }) => nonce === record.nonce)) return undefined;
    return silent(record, context.runtime.now(), isFailure(error) ? error.message : "it does not answer");
  }
}

function silent({ name, destination, pid, startedAtMs }: TunnelRecord, nowMs: number, problem: string): ListedTunnel {
  const uptimeMs = Math.max(0, nowMs - startedAtMs);
  return { name, destination, state: "down", pid, uptimeMs, reconnects: 0, forwards: [], problem };
}

/** What a tunnel's silence means for who asked it one thing. */
export async function silentTunnel({ name, pid }: TunnelRecord, cause?: unknown): Promise<OpenClawError> {
  const hint = (await isStopped(pid))
    ? `its process is stopped: kill -CONT ${pid} lets it go on, kill -KILL ${pid} ends it`
    : `look at what process ${pid} is before you end it: ps -p ${pid}`;
  return new OpenClawError("timeout", `the tunnel ${name} (process ${pid}) does not answer`, {
    hint,
    details: { name, pid },
    cause,
  });
}
