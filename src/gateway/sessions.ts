/** Who is connected: find them, tell them, count them out. */
import { hostname } from "node:os";
import type { PresenceEntry } from "../protocol/methods.ts";
import { holdsScope } from "../protocol/vocabulary.ts";
import type { Runtime } from "../runtime.ts";
import { version } from "../version.ts";
import type { Session } from "./session.ts";

/** Presence changes that come together are told together. */
const presenceDelayMs = 50;

export class Sessions {
  readonly #runtime: Runtime;
  readonly #all = new Set<Session>();
  readonly #nodes = new Map<string, Session>();
  #presenceVersion = 0;
  #presenceIsDue = false;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  get size(): number {
    return this.#all.size;
  }

  [Symbol.iterator](): IterableIterator<Session> {
    return this.#all.values();
  }

  get stateVersion(): { readonly presence: number; readonly health: number } {
    return { presence: this.#presenceVersion, health: 0 };
  }

  /** Counts a session in. A node that is connected already is replaced, but not by one that serves nothing: its older connection is most likely dead. */
  add(session: Session): void {
    this.#all.add(session);
    const { deviceId, declared } = session.facts;
    if (declared !== undefined && deviceId !== undefined) {
      this.#nodes.get(deviceId)?.close(1008, "replaced by a newer connection of the same node");
      this.#nodes.set(deviceId, session);
    }
    this.#presenceChanged();
  }

  remove(session: Session): void {
    if (!this.#all.delete(session)) return;
    const { deviceId } = session.facts;
    if (deviceId !== undefined && this.#nodes.get(deviceId) === session) this.#nodes.delete(deviceId);
    this.#presenceChanged();
  }

  /** True while it is open. */
  has(session: Session): boolean {
    return this.#all.has(session);
  }

  /** The live session of a node. */
  node(nodeId: string): Session | undefined {
    return this.#nodes.get(nodeId);
  }

  isConnected(deviceId: string): boolean {
    if (this.#nodes.has(deviceId)) return true;
    for (const { facts } of this.#all) if (facts.deviceId === deviceId) return true;
    return false;
  }

  /** Sends an event to every operator that holds `scope`. */
  tellOperators(scope: string, event: string, payload: unknown): void {
    const json = JSON.stringify(payload);
    for (const session of this.#all) {
      if (session.facts.role === "operator" && holdsScope(session.facts.scopes, scope)) session.broadcast(event, json);
    }
  }

  /** Sends an event to everyone. */
  tellAll(event: string, payload: unknown): void {
    const json = JSON.stringify(payload);
    for (const session of this.#all) session.broadcast(event, json);
  }

  /** Closes the sessions of a device, of one role if it is named. */
  closeDevice(deviceId: string, role: string | undefined, code: number, reason: string): void {
    for (const session of this.#all) {
      const { facts } = session;
      if (facts.deviceId === deviceId && (role === undefined || facts.role === role)) session.close(code, reason);
    }
  }

  /** The gateway first, then every client that is somewhere; the gateway's own callers are not listed. */
  presence(): readonly PresenceEntry[] {
    const host = hostname();
    const self: PresenceEntry = {
      host,
      version,
      platform: process.platform,
      mode: "gateway",
      reason: "self",
      text: `Gateway: ${host} · version ${version}`,
      ts: this.#runtime.now(),
    };
    const isThere = ({ facts }: Session) => facts.deviceId !== undefined && !isProofOnly(facts);
    const others = [...this.#all].filter(isThere).map(entryOf);
    return [self, ...others];
  }

  #presenceChanged(): void {
    this.#presenceVersion++;
    if (this.#presenceIsDue) return;
    this.#presenceIsDue = true;
    this.#runtime.after(presenceDelayMs, () => {
      this.#presenceIsDue = false;
      const watchers = [...this.#all].filter(
        ({ facts }) => facts.role === "operator" && holdsScope(facts.scopes, "operator.read"),
      );
      if (watchers.length === 0) return;
      const json = JSON.stringify({ presence: this.presence() });
      for (const session of watchers) session.broadcast("presence", json, this.stateVersion);
    });
  }
}

/** A node's connection that only shows its credential. */
function isProofOnly({ role, declared }: Session["facts"]): boolean {
  return role === "node" && declared === undefined;
}

function entryOf({ facts }: Session): PresenceEntry {
  const name = facts.displayName ?? facts.clientId;
  return {
    host: name,
    clientId: facts.clientId,
    version: facts.clientVersion,
    platform: facts.platform,
    ...(facts.deviceFamily === undefined ? {} : { deviceFamily: facts.deviceFamily }),
    mode: facts.clientMode,
    ...(facts.deviceId === undefined ? {} : { deviceId: facts.deviceId }),
    roles: [facts.role],
    scopes: facts.scopes,
    instanceId: facts.instanceId ?? facts.connId,
    reason: "connect",
    text: `${facts.role === "node" ? "Node" : "Client"}: ${name} · mode ${facts.clientMode}`,
    ts: facts.connectedAtMs,
  };
}
