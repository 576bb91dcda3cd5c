/** The second layer: what nodes may be asked. Requests for command lists, their approval, and telling the node at once. */
import { allowedSurface, coversSurface, type DeclaredSurface } from "../../pairing/command-policy.ts";
import type { DeviceRecord, SurfaceRequestRecord } from "../../pairing/records.ts";
import { optional } from "../../pairing/requests.ts";
import type { Runtime } from "../../runtime.ts";
import { approverOf, auditFields, type Decider, knownDevice, openRequest, prune } from "./change-parts.ts";
import type { GatewayPolicy } from "../options.ts";
import type { Sessions } from "../sessions.ts";
import { surfaceSummary } from "./summaries.ts";
import type { Tables } from "./tables.ts";

/** Kinds of nodes that are remembered, and how long a description of one may be. */
const maxKinds = 256;
const maxKindLength = 4096;

export interface SurfacesOptions {
  readonly tables: Tables;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  /** Its command policy may be replaced while the gateway runs. */
  readonly policy: Pick<GatewayPolicy, "commands">;
}

/** What a node is told of a decision: who approved, or why not. */
interface Why {
  readonly by?: string | undefined;
  readonly reason?: string | undefined;
}

export class Surfaces {
  readonly #tables: Tables;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;
  readonly #policy: SurfacesOptions["policy"];
  /** Open requests, by id, of which a connected node wants to hear the end. */
  readonly #awaited = new Set<string>();
  /** Nodes of a kind offer the same; what was cut for one is kept once for all of them. */
  readonly #cut = new Map<string, DeclaredSurface>();

  constructor({ tables, sessions, runtime, policy }: SurfacesOptions) {
    this.#tables = tables;
    this.#sessions = sessions;
    this.#runtime = runtime;
    this.#policy = policy;
  }

  /** Forgets what was cut for a policy that has changed. */
  policyChanged(): void {
    this.#cut.clear();
  }

  /** What a node offers, cut to the policy. */
  cutToPolicy(declared: DeclaredSurface, platform: string): DeclaredSurface {
    const kind = JSON.stringify([platform, declared]);
    const known = this.#cut.get(kind);
    if (known !== undefined) return known;
    const allowed = allowedSurface(declared, platform, this.#policy.commands);
    if (this.#cut.size >= maxKinds || kind.length > maxKindLength) return allowed;
    this.#cut.set(kind, allowed);
    return allowed;
  }

  /** The open request for a node's command list that wants more than was approved; undefined when the node was removed meanwhile. */
  async request(ask: Omit<SurfaceRequestRecord, "requestId" | "ts">): Promise<SurfaceRequestRecord | undefined> {
    const asked = await this.#tables.change((change) => {
      prune(change);
      if (!change.devices.get(ask.nodeId)) return undefined; // removed since its connect was judged
      const open = change.surfaceRequests
        .all()
        .find((other) => other.nodeId === ask.nodeId && other.resolution === undefined);
      const isSame = open !== undefined && coversSurface(open, ask);
      const request: SurfaceRequestRecord = isSame
        ? { ...renewed(open, ask), ts: change.nowMs }
        : { ...ask, requestId: this.#runtime.uuid(), ts: change.nowMs };
      if (open !== undefined && !isSame) {
        const resolution = { decision: "superseded", atMs: change.nowMs, note: request.requestId } as const;
        change.surfaceRequests.put(open.requestId, { ...open, resolution });
      }
      change.surfaceRequests.put(request.requestId, request);
      return { request, isNew: !isSame };
    });
    if (asked === undefined) return undefined;
    const { request, isNew } = asked;
    this.#awaited.add(request.requestId);
    if (isNew) this.#sessions.tellOperators("operator.pairing", "node.pair.requested", surfaceSummary(request));
    return request;
  }

  /** Approves a node's command list; it can be invoked at once, without a reconnect. */
  async approve(
    requestId: string,
    by: Decider,
    mayGrant: (request: SurfaceRequestRecord) => void,
  ): Promise<DeviceRecord> {
    const { request, device } = await this.#tables.change((change) => {
      const request = openRequest(change.surfaceRequests.get(requestId), requestId, change.nowMs);
      mayGrant(request);
      const known = knownDevice(change, request.nodeId);
      const surface = {
        caps: request.caps,
        commands: request.commands,
        ...optional("permissions", request.permissions),
        createdAtMs: known.surface?.createdAtMs ?? change.nowMs,
        approvedAtMs: change.nowMs,
        approvedBy: approverOf(change, by),
      };
      const device = { ...known, surface };
      change.devices.put(device.deviceId, device);
      change.surfaceRequests.put(requestId, { ...request, resolution: { decision: "approved", atMs: change.nowMs } });
      change.audit({
        action: "surface.approve",
        device: device.deviceId,
        commands: request.commands.join(","),
        ...auditFields(by),
      });
      return { request, device };
    });
    this.#tellResolved(request, "approved", { by: device.surface.approvedBy.name });
    return device;
  }

  async reject(requestId: string, reason: string | undefined, by: Decider): Promise<SurfaceRequestRecord> {
    const request = await this.#tables.change((change) => {
      const request = openRequest(change.surfaceRequests.get(requestId), requestId, change.nowMs);
      const resolution = { decision: "rejected", atMs: change.nowMs, ...optional("note", reason) } as const;
      change.surfaceRequests.put(requestId, { ...request, resolution });
      change.audit({ action: "surface.reject", device: request.nodeId, reason, ...auditFields(by) });
      return request;
    });
    this.#tellResolved(request, "rejected", { reason });
    return request;
  }

  /** Command lists that wait for a decision, newest first. */
  open(): SurfaceRequestRecord[] {
    const open = [...this.#tables.surfaceRequests.values()].filter(({ resolution }) => resolution === undefined);
    return open.toSorted((a, b) => b.ts - a.ts);
  }

  /** Tells nodes that wait what another process has decided. */
  actOnForeignChanges(): void {
    for (const requestId of this.#awaited) {
      const request = this.#tables.surfaceRequests.get(requestId);
      const resolution = request?.resolution;
      if (request !== undefined && resolution === undefined) continue;
      this.#awaited.delete(requestId);
      if (request === undefined || resolution === undefined || resolution.decision === "superseded") continue;
      const by = this.#tables.devices.get(request.nodeId)?.surface?.approvedBy?.name;
      this.#tellResolved(request, resolution.decision, { by, reason: resolution.note });
    }
  }

  #tellResolved(request: SurfaceRequestRecord, decision: "approved" | "rejected", why: Why): void {
    const { requestId, nodeId } = request;
    const payload = { requestId, nodeId, decision, ts: this.#runtime.now() };
    this.#awaited.delete(requestId);
    this.#runtime.log("info", `command surface ${decision}`, { device: nodeId, request: requestId });
    this.#sessions.tellOperators("operator.pairing", "node.pair.resolved", payload);
    const more =
      decision === "approved"
        ? { commands: request.commands, ...optional("by", why.by) }
        : optional("reason", why.reason);
    this.#sessions.node(nodeId)?.event("node.pair.resolved", { ...payload, ...more });
  }
}

/** The open request as the node describes itself now; what it asks for is what it asked for at first, which covers this. */
function renewed(
  open: SurfaceRequestRecord,
  ask: Omit<SurfaceRequestRecord, "requestId" | "ts">,
): SurfaceRequestRecord {
  const { caps, commands, permissions, requestId, ts } = open;
  const { permissions: _permissions, ...described } = ask;
  return { ...described, caps, commands, ...optional("permissions", permissions), requestId, ts };
}
