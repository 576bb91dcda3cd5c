/** The first layer: devices and their requests. Every change is durable before it is told, and acted on at once. */
import { codeOf, nextRound, offerOf } from "../../pairing/code-rounds.ts";
import type { ApprovedVia, DeviceRecord, DeviceRequestRecord } from "../../pairing/records.ts";
import { approveDevice, askForDevice, type DeviceAsk, isOpen, optional } from "../../pairing/requests.ts";
import { outlivesRotation } from "../../pairing/token-handover.ts";
import { followRequest, matchesRequest } from "../../pairing/supersession.ts";
import { closeCodes } from "../../protocol/close.ts";
import { pairingRequestLifeMs } from "../../protocol/limits.ts";
import type { SasAnswer, SasOffer } from "../../protocol/sas.ts";
import type { PendingDevice } from "../../protocol/methods.ts";
import type { Runtime } from "../../runtime.ts";
import { approverOf, auditFields, type Decider, knownDevice, openRequest, prune } from "./change-parts.ts";
import type { DeviceTokens } from "./device-tokens.ts";
import type { GatewayLimits } from "../options.ts";
import type { Sessions } from "../sessions.ts";
import { pendingSummary } from "./summaries.ts";
import type { Tables } from "./tables.ts";

export interface DevicesOptions {
  readonly tables: Tables;
  readonly tokens: DeviceTokens;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  readonly limits: GatewayLimits;
  /** The gateway's public key, for pairing codes. */
  readonly publicKey: string;
}

/** What becomes of a device that asks. */
export interface AskedDevice {
  readonly request: DeviceRequestRecord;
  /** Its side of the pairing code; there is none for a rejected request. */
  readonly sas: SasOffer | undefined;
}

export class Devices {
  readonly #tables: Tables;
  readonly #tokens: DeviceTokens;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;
  readonly #limits: GatewayLimits;
  readonly #publicKey: string;
  #resolved: () => void = () => {};

  constructor({ tables, tokens, sessions, runtime, limits, publicKey }: DevicesOptions) {
    this.#publicKey = publicKey;
    this.#tables = tables;
    this.#tokens = tokens;
    this.#sessions = sessions;
    this.#runtime = runtime;
    this.#limits = limits;
  }

  /** Has `listener` called after every decision of this process about a request. */
  onResolved(listener: () => void): void {
    this.#resolved = listener;
  }

  /**
   * The open request for what a device asks, made or renewed; or, once, the request of its that was rejected since it last asked.
   * Undefined when too many wait already.
   */
  async request(ask: DeviceAsk, answer?: SasAnswer): Promise<AskedDevice | undefined> {
    const outcome = await this.#tables.change((change) => {
      prune(change);
      const rejected = change.deviceRequests.all().find((request) => isUntoldRejection(request, ask, change.nowMs));
      if (rejected?.resolution !== undefined) {
        const told = { ...rejected, resolution: { ...rejected.resolution, wasTold: true } };
        change.deviceRequests.put(told.requestId, told);
        return { kind: "rejected", request: told } as const;
      }
      const open = change.deviceRequests.all().filter((request) => isOpen(request, change.nowMs));
      const mine = open.find(({ deviceId }) => deviceId === ask.deviceId);
      if (mine === undefined && !this.#hasRoom(open, ask.remoteIp))
        return { kind: "full", request: undefined } as const;
      const asked = askForDevice(mine, ask, this.#runtime.uuid(), change.nowMs);
      const superseded = asked.kind === "created" ? asked.superseded : undefined;
      const freshNonce = () => Buffer.from(this.#runtime.random(32)).toString("base64url");
      const round = nextRound(asked.request.round, answer, this.#publicKey, freshNonce, superseded?.round?.count);
      const request = { ...asked.request, round };
      change.deviceRequests.put(request.requestId, request);
      if (superseded !== undefined) change.deviceRequests.put(superseded.requestId, superseded);
      return { kind: asked.kind, request, superseded, sas: offerOf(round, answer, this.#publicKey) };
    });
    if (outcome.kind === "full") return undefined;
    if (outcome.kind === "rejected") return { request: outcome.request, sas: undefined };
    const { request, superseded, sas } = outcome;
    if (outcome.kind === "created") {
      this.#log("pairing requested", request);
      if (superseded !== undefined) this.#tellResolved(superseded, "rejected");
      this.#sessions.tellOperators("operator.pairing", "device.pair.requested", this.shown(request));
    }
    return { request, sas };
  }

  /** The request that an id or a code means, also one that is over, and those that took its place, oldest first. */
  lookUp(wanted: string): readonly DeviceRequestRecord[] {
    const all = [...this.#tables.deviceRequests.values()];
    const found = all.filter((request) => matchesRequest(request, wanted, codeOf(request, this.#publicKey)));
    const [first] = found;
    return first === undefined || found.length > 1 ? [] : followRequest(first, this.#tables.deviceRequests);
  }

  /** A request as operators see it. */
  shown(request: DeviceRequestRecord): PendingDevice {
    return pendingSummary(request, codeOf(request, this.#publicKey));
  }

  /** Approves a request; the device has its role and a token from then on. */
  async approve(
    requestId: string,
    via: ApprovedVia,
    by: Decider,
    mayGrant: (request: DeviceRequestRecord) => void,
  ): Promise<DeviceRecord> {
    const { request, device } = await this.#tables.change((change) => {
      const request = openRequest(change.deviceRequests.get(requestId), requestId, change.nowMs);
      mayGrant(request);
      const known = change.devices.get(request.deviceId);
      const approved = approveDevice(known, request, via, change.nowMs, approverOf(change, by));
      const device = this.#tokens.grantFor(approved, request.role, change.nowMs);
      change.devices.put(device.deviceId, device);
      change.deviceRequests.put(requestId, { ...request, resolution: { decision: "approved", atMs: change.nowMs } });
      change.audit({ action: "device.approve", via, ...auditFields(by), ...auditRequest(request) });
      return { request, device };
    });
    this.#log("pairing approved", request, { via });
    this.#tellResolved(request, "approved");
    return device;
  }

  /** Enrols a device under a rule, in one change: there is no moment at which a request could be lost or left over. */
  async enrol(ask: DeviceAsk, via: ApprovedVia, by: Decider): Promise<DeviceRecord> {
    const device = await this.#tables.change((change) => {
      const request = { ...ask, requestId: "", createdAtMs: change.nowMs, ts: change.nowMs };
      const approved = approveDevice(change.devices.get(ask.deviceId), request, via, change.nowMs);
      const device = this.#tokens.grantFor(approved, ask.role, change.nowMs);
      change.devices.put(device.deviceId, device);
      change.audit({ action: "device.enrol", via, ...auditFields(by), ...auditRequest(request) });
      return device;
    });
    this.#runtime.log("info", "device enrolled", { device: ask.deviceId, role: ask.role, via });
    return device;
  }

  async reject(
    requestId: string,
    reason: string | undefined,
    by: Decider,
    mayReject: (request: DeviceRequestRecord) => void,
  ): Promise<DeviceRequestRecord> {
    const request = await this.#tables.change((change) => {
      const request = openRequest(change.deviceRequests.get(requestId), requestId, change.nowMs);
      mayReject(request);
      const resolution = { decision: "rejected", atMs: change.nowMs, ...optional("note", reason) } as const;
      change.deviceRequests.put(requestId, { ...request, resolution });
      change.audit({ action: "device.reject", reason, ...auditFields(by), ...auditRequest(request) });
      return request;
    });
    this.#log("pairing rejected", request);
    this.#tellResolved(request, "rejected");
    return request;
  }

  /** Forgets a device with all its roles, tokens and requests. The returned function closes its sessions: after the reply is out. */
  async remove(deviceId: string, by: Decider): Promise<() => void> {
    await this.#tables.change((change) => {
      knownDevice(change, deviceId);
      change.devices.delete(deviceId);
      for (const request of change.surfaceRequests.all()) {
        if (request.nodeId === deviceId) change.surfaceRequests.delete(request.requestId);
      }
      for (const request of change.deviceRequests.all()) {
        if (request.deviceId === deviceId) change.deviceRequests.delete(request.requestId);
      }
      change.audit({ action: "device.remove", device: deviceId, ...auditFields(by) });
    });
    this.#runtime.log("info", "device removed", { device: deviceId });
    return () => this.#sessions.closeDevice(deviceId, undefined, closeCodes.credentialChanged, "device removed");
  }

  async rename(deviceId: string, label: string, by: Decider): Promise<void> {
    await this.#tables.change((change) => {
      change.devices.put(deviceId, { ...knownDevice(change, deviceId), operatorLabel: label });
      change.audit({ action: "device.rename", device: deviceId, label, ...auditFields(by) });
    });
    this.#sessions.tellOperators("operator.pairing", "device.pair.changed", {});
  }

  /** Notes when devices were last here. Called now and then for many at once, never while somebody waits for it. */
  async noteSeen(
    seen: ReadonlyMap<string, { readonly atMs: number; readonly role: string; readonly reason: string }>,
  ): Promise<void> {
    await this.#tables.change((change) => {
      for (const [deviceId, { atMs, role, reason }] of seen) {
        const device = change.devices.get(deviceId);
        if (device === undefined) continue;
        const token = device.tokens[role];
        const tokens =
          token === undefined ? device.tokens : { ...device.tokens, [role]: { ...token, lastUsedAtMs: atMs } };
        change.devices.put(deviceId, { ...device, tokens, lastSeenAtMs: atMs, lastSeenReason: reason });
      }
    });
  }

  /** Device requests that wait for a decision, newest first. */
  open(nowMs: number): DeviceRequestRecord[] {
    const open = [...this.#tables.deviceRequests.values()].filter((request) => isOpen(request, nowMs));
    return open.toSorted((a, b) => b.ts - a.ts);
  }

  /** False once a device, or its role, was taken away. */
  isStillEnrolled(deviceId: string, role: string): boolean {
    return this.#tables.devices.get(deviceId)?.roles.includes(role) === true;
  }

  /** Closes sessions whose device or role is no longer in the store, or whose token was replaced since they connected. */
  closeOutdated(): void {
    for (const session of this.#sessions) {
      const { deviceId, role, connectedAtMs } = session.facts;
      if (deviceId === undefined) continue;
      const token = this.#tables.devices.get(deviceId)?.tokens[role];
      const isRotated =
        (token?.rotatedAtMs ?? 0) > connectedAtMs && !(token && outlivesRotation(token, session.tokenHash));
      if (!isRotated && this.isStillEnrolled(deviceId, role)) continue;
      session.close(closeCodes.credentialChanged, "device removed");
    }
  }

  #hasRoom(open: readonly DeviceRequestRecord[], address: string | undefined): boolean {
    const ofAddress = open.filter(({ remoteIp }) => remoteIp === address).length;
    return open.length < this.#limits.maxRequests && ofAddress < this.#limits.maxRequestsPerAddress;
  }

  #tellResolved(request: DeviceRequestRecord, decision: "approved" | "rejected"): void {
    const { requestId, deviceId } = request;
    const ts = this.#runtime.now();
    this.#sessions.tellOperators("operator.pairing", "device.pair.resolved", { requestId, deviceId, decision, ts });
    this.#resolved();
  }

  #log(message: string, request: DeviceRequestRecord, more: Readonly<Record<string, string>> = {}): void {
    const { requestId, deviceId, role, reason, remoteIp } = request;
    this.#runtime.log("info", message, {
      request: requestId,
      device: deviceId,
      role,
      reason,
      remote: remoteIp,
      ...more,
    });
  }
}

/** True for a rejection of the same key in the same role that the device cannot know of yet, while it is news. */
function isUntoldRejection(request: DeviceRequestRecord, ask: DeviceAsk, nowMs: number): boolean {
  const { resolution } = request;
  if (resolution?.decision !== "rejected" || resolution.wasTold === true) return false;
  const isNews = nowMs - resolution.atMs < pairingRequestLifeMs;
  return isNews && request.deviceId === ask.deviceId && request.role === ask.role;
}

function auditRequest(request: DeviceRequestRecord): Readonly<Record<string, string>> {
  return {
    request: request.requestId,
    device: request.deviceId,
    role: request.role,
    scopes: request.scopes.join(","),
    reason: request.reason,
  };
}
