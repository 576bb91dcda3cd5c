/** The gateways that this machine is linked with, and the one that a person means. */
import { isFailure } from "../errors.ts";
import { fingerprint } from "../identity/fingerprint.ts";
import { matchId } from "../identity/match-id.ts";
import { type LinkRecord, listLinks } from "../state/link-record.ts";
import { liveRecords } from "../state/run-record.ts";
import type { TunnelRecord } from "../state/tunnel-record.ts";
import { askTunnel, type LinkState } from "../tunnel/control-client.ts";
import type { Context } from "./context.ts";
import { LinkEnd } from "./link-end.ts";
import { recordsOf } from "./tunnel-directory.ts";
import type { TargetFlags } from "./target-options.ts";

/** One direction as `pair status` shows it. */
export interface ShownDirection {
  /** `ready`, `connecting`, `disconnected`, …: the last word of the node; `down` where none runs. */
  readonly state: string;
  /** Of a call that was just made through it. */
  readonly latencyMs?: number;
}

export interface ShownPeer {
  readonly name: string;
  readonly deviceId: string;
  readonly fingerprint: string;
  readonly host: string;
  /** `up` and `down` on the machine that was told to link; `kept-there` on the other one. */
  readonly state: "up" | "down" | "setting-up" | "kept-there";
  readonly pid?: number;
  readonly destination?: string;
  readonly linkedAtMs: number;
  readonly toRemote?: ShownDirection;
  readonly toLocal?: ShownDirection;
}

/** The link that a name, a device id or a prefix of one means. Throws `not-found` or `ambiguous`. */
export async function findLink(context: Context, wanted: string): Promise<LinkRecord> {
  const records = await listLinks(context.paths().linkDir);
  const candidates = records.map((record) => ({
    record,
    id: record.peer.deviceId,
    names: [record.name, record.peer.host, ...(record.way === undefined ? [] : [record.way.destination])],
  }));
  return matchId(wanted, candidates, "link", "openclaw pair status").record;
}

/** The running tunnel of a link; undefined while it is down, or kept by the other machine. */
export async function tunnelOf(context: Context, { name, way }: LinkRecord): Promise<TunnelRecord | undefined> {
  if (way === undefined) return undefined;
  const running = await recordsOf(context);
  return running.find((tunnel) => tunnel.name === name && tunnel.destination === way.destination);
}

/** Where this machine's gateway of a link is, if it was said when the link was made. */
export function gatewayHere({ way }: LinkRecord): TargetFlags {
  const port = way?.flags["localPort"];
  return typeof port === "string" ? { port } : {};
}

/** The link as it is shown, where it is up with every direction that is wanted; undefined where there is something to do. */
export async function whollyLinked(
  context: Context,
  record: LinkRecord,
  wanted: { readonly toRemote: boolean; readonly toLocal: boolean },
): Promise<ShownPeer | undefined> {
  await using end = new LinkEnd(context, gatewayHere(record));
  const peer = await showPeer(context, record, end);
  const isThere = (isWanted: boolean, direction: ShownDirection | undefined) =>
    !isWanted || direction?.state === "ready";
  const isWhole = isThere(wanted.toRemote, peer.toRemote) && isThere(wanted.toLocal, peer.toLocal);
  return peer.state === "up" && isWhole ? peer : undefined;
}

/** Every peer, both directions; each node that can be asked from here is asked. */
export async function showPeers(context: Context, flags: TargetFlags): Promise<readonly ShownPeer[]> {
  await using end = new LinkEnd(context, flags);
  const records = await listLinks(context.paths().linkDir);
  return Promise.all(records.map((record) => showPeer(context, record, end)));
}

async function showPeer(context: Context, record: LinkRecord, end: LinkEnd): Promise<ShownPeer> {
  const { name, peer, way, createdAtMs } = record;
  const tunnel = await tunnelOf(context, record);
  const nodes = tunnel === undefined ? undefined : await nodesOf(context, tunnel);
  const base = {
    name,
    deviceId: peer.deviceId,
    fingerprint: fingerprint(peer.deviceId),
    host: peer.host,
    linkedAtMs: createdAtMs,
    ...(way === undefined ? {} : { destination: way.destination }),
    ...(tunnel === undefined ? {} : { pid: tunnel.pid }),
  };
  const toLocal = await askedHere(end, record);
  const kept = way === undefined ? await nodeHere(context, record) : undefined;
  return {
    ...base,
    state: stateOf(record, tunnel),
    ...(way === undefined
      ? kept === undefined
        ? {}
        : { toRemote: kept }
      : way.toRemote
        ? { toRemote: { state: nodes?.toRemote ?? "down" } }
        : {}),
    ...(way?.toLocal === false || toLocal === undefined ? {} : { toLocal }),
  };
}

/** This machine's node of a link that another machine keeps up: it tells its state by its record, and has a token of that gateway. */
async function nodeHere(context: Context, { added, peer }: LinkRecord): Promise<ShownDirection | undefined> {
  const name = added.token === undefined ? `${peer.deviceId.slice(0, 32)}.link` : new URL(added.token).hostname;
  const running = await liveRecords(context.paths().runDir, "node");
  const found = running.find(({ gateway }) => URL.parse(gateway)?.hostname === name);
  if (found !== undefined) return { state: found.state };
  return added.token === undefined ? undefined : { state: "down" };
}

/** What this machine's gateway says of the peer's node. */
async function askedHere(end: LinkEnd, { peer, added, way }: LinkRecord): Promise<ShownDirection | undefined> {
  // The other machine's record does not say which directions there are: a node that was let in is one.
  if (way === undefined && added.device === undefined && added.inviteId === undefined) return undefined;
  try {
    const answer = await end.askNode(peer.deviceId);
    return answer === undefined ? { state: "down" } : { state: "ready", latencyMs: answer.latencyMs };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { state: error.code };
  }
}

async function nodesOf(context: Context, tunnel: TunnelRecord): Promise<LinkState | undefined> {
  try {
    return await askTunnel(tunnel, "link", {}, context.oneShotSignal);
  } catch (error) {
    if (isFailure(error, "not-found", "usage")) return undefined;
    throw error;
  }
}

function stateOf({ state, way }: LinkRecord, tunnel: TunnelRecord | undefined): ShownPeer["state"] {
  if (state === "setting-up") return "setting-up";
  if (way === undefined) return "kept-there";
  return tunnel === undefined ? "down" : "up";
}
