/** Devices and their rights: every change to them, made durable, told to whoever watches, and acted on at once. */
import { allowedSurface, type CommandPolicy, coversSurface, type DeclaredSurface } from "../pairing/command-policy.ts";
import type { ApprovedVia, DeviceRecord, DeviceRequestRecord, SurfaceRequestRecord } from "../pairing/records.ts";
import { approveDevice, askForDevice, type DeviceAsk, isForgettable, isOpen, optional } from "../pairing/requests.ts";
import { issueToken, reissuableToken, revokeToken } from "../pairing/tokens.ts";
import { closeCodes } from "../protocol/close.ts";
import { pairingRequestLifeMs } from "../protocol/limits.ts";
import { invalidRequest, RequestRefused } from "../protocol/wire-error.ts";
import { randomUuid, type Runtime } from "../runtime.ts";
import type { GatewayLimits } from "./options.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import { pendingSummary, surfaceSummary } from "./summaries.ts";
import type { Change, Tables } from "./tables.ts";

/** Who decided: for the audit line. */
export interface Decider {
  readonly connId: string;
  readonly deviceId?: string | undefined;
  readonly address: string;
}

export interface EnrolmentOptions {
  readonly tables: Tables;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  readonly limits: GatewayLimits;
  readonly commands: CommandPolicy;
  readonly tokenKey: Uint8Array;
}

export class Enrolment {
  readonly #tables: Tables;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;
  readonly #limits: GatewayLimits;
  readonly #commands: CommandPolicy;
  readonly #tokenKey: Uint8Array;
  /** Open requests for command lists, by id, of which a connected node wants to hear the end. */
  readonly #awaitedSurfaces = new Set<string>();

  constructor({ tables, sessions, runtime, limits, commands, tokenKey }: EnrolmentOptions) {
    this.#tables = tables;
    this.#sessions = sessions;
    this.#runtime = runtime;
    this.#limits = limits;
    this.#commands = commands;
    this.#tokenKey = tokenKey;
  }

  /**
   * The open request for what a device asks, made or renewed; or, once, the request of its that was rejected since it last asked.
   * Undefined when too many wait already.
   */
  async requestDevice(ask: DeviceAsk): Promise<DeviceRequestRecord | undefined> {
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
      const asked = askForDevice(mine, ask, randomUuid(this.#runtime), change.nowMs);
      change.deviceRequests.put(asked.request.requestId, asked.request);
      if (asked.kind === "created" && asked.superseded !== undefined) {
        change.deviceRequests.put(asked.superseded.requestId, asked.superseded);
      }
      return asked;
    });
    if (outcome.kind === "created") {
      this.#log("pairing requested", outcome.request);
      if (outcome.superseded !== undefined) this.#tellResolved(outcome.superseded, "rejected");
      this.#sessions.tellOperators("operator.pairing", "device.pair.requested", pendingSummary(outcome.request));
    }
    return outcome.request;
  }

  /** Approves a request; the device has its role and a token from then on. */
  async approveDevice(
    requestId: string,
    via: ApprovedVia,
    by: Decider,
    mayGrant: (request: DeviceRequestRecord) => void,
  ): Promise<DeviceRecord> {
    const { request, device } = await this.#tables.change((change) => {
      const request = openRequest(change.deviceRequests.get(requestId), requestId, change.nowMs);
      mayGrant(request);
      const known = change.devices.get(request.deviceId);
      const device = this.#withToken(approveDevice(known, request, via, change.nowMs), request.role, change.nowMs);
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
  async enrolDevice(ask: DeviceAsk, via: ApprovedVia, by: Decider): Promise<DeviceRecord> {
    const device = await this.#tables.change((change) => {
      const request = { ...ask, requestId: "", createdAtMs: change.nowMs, ts: change.nowMs };
      const approved = approveDevice(change.devices.get(ask.deviceId), request, via, change.nowMs);
      const device = this.#withToken(approved, ask.role, change.nowMs);
      change.devices.put(device.deviceId, device);
      change.audit({ action: "device.enrol", via, ...auditFields(by), ...auditRequest(request) });
      return device;
    });
    this.#runtime.log("info", "device enrolled", { device: ask.deviceId, role: ask.role, via });
    return device;
  }

  async rejectDevice(
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
  async removeDevice(deviceId: string, by: Decider): Promise<() => void> {
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

  async renameDevice(deviceId: string, label: string, by: Decider): Promise<void> {
    await this.#tables.change((change) => {
      change.devices.put(deviceId, { ...knownDevice(change, deviceId), operatorLabel: label });
      change.audit({ action: "device.rename", device: deviceId, label, ...auditFields(by) });
    });
    this.#sessions.tellOperators("operator.pairing", "device.pair.changed", {});
  }

  /** Replaces a role's token. The sessions that hang on the old one are closed by `closeRotated`, after the reply is out. */
  rotateToken(
    deviceId: string,
    role: string,
    scopes: readonly string[] | undefined,
    by: Decider,
  ): Promise<{ readonly device: DeviceRecord; readonly token: string; readonly rotatedAtMs: number }> {
    return this.#tables.change((change) => {
      const device = knownDevice(change, deviceId);
      const current = device.tokens[role];
      if (current === undefined || !device.roles.includes(role)) throw deniedToken("rotation", deviceId, role);
      const salt = this.#salt();
      const issued = issueToken(device, {
        gatewayKey: this.#tokenKey,
        role,
        scopes: scopes ?? current.scopes,
        salt,
        nowMs: change.nowMs,
      });
      change.devices.put(deviceId, issued.device);
      change.audit({ action: "token.rotate", device: deviceId, role, ...auditFields(by) });
      return { device: issued.device, token: issued.token, rotatedAtMs: change.nowMs };
    });
  }

  /** Ends a role of a device: its token is void and the role has to be approved again. */
  async revokeToken(deviceId: string, role: string, by: Decider): Promise<number> {
    return this.#tables.change((change) => {
      const device = knownDevice(change, deviceId);
      if (device.tokens[role] === undefined) throw deniedToken("revocation", deviceId, role);
      change.devices.put(deviceId, revokeToken(device, role, change.nowMs));
      change.audit({ action: "token.revoke", device: deviceId, role, ...auditFields(by) });
      return change.nowMs;
    });
  }

  /** Closes what a rotated or revoked token had opened. */
  closeSessions(deviceId: string, role: string): void {
    this.#sessions.closeDevice(deviceId, role, closeCodes.credentialChanged, "device removed");
  }

  /** The token to tell a device in hello-ok: the one it has already, or a first one for a role that has none. */
  async tokenFor(device: DeviceRecord, role: string): Promise<{ readonly token: string; readonly issuedAtMs: number }> {
    const existing = reissuableToken(this.#tokenKey, device, role);
    const record = device.tokens[role];
    if (existing !== undefined && record !== undefined) {
      return { token: existing, issuedAtMs: record.rotatedAtMs ?? record.createdAtMs };
    }
    return this.#tables.change((change) => {
      const renewed = this.#withToken(knownDevice(change, device.deviceId), role, change.nowMs);
      change.devices.put(device.deviceId, renewed);
      const token = reissuableToken(this.#tokenKey, renewed, role) ?? "";
      return { token, issuedAtMs: change.nowMs };
    });
  }

  /** What a node offers, cut to the policy. */
  cutToPolicy(declared: DeclaredSurface, platform: string): DeclaredSurface {
    return allowedSurface(declared, platform, this.#commands);
  }

  /** The open request for a node's command list, when it wants more than was approved; undefined when nothing is to decide. */
  async requestSurface(
    device: DeviceRecord,
    ask: Omit<SurfaceRequestRecord, "requestId" | "ts">,
  ): Promise<SurfaceRequestRecord | undefined> {
    if (coversSurface(device.surface, ask)) return undefined;
    const asked = await this.#tables.change((change) => {
      prune(change);
      if (!change.devices.get(ask.nodeId)) return undefined; // removed since its connect was judged
      const open = change.surfaceRequests
        .all()
        .find((other) => other.nodeId === ask.nodeId && other.resolution === undefined);
      const isSame = open !== undefined && coversSurface(open, ask);
      const request = isSame
        ? { ...open, ts: change.nowMs }
        : { ...ask, requestId: randomUuid(this.#runtime), ts: change.nowMs };
      if (open !== undefined && !isSame) {
        const resolution = { decision: "superseded", atMs: change.nowMs, note: request.requestId } as const;
        change.surfaceRequests.put(open.requestId, { ...open, resolution });
      }
      change.surfaceRequests.put(request.requestId, request);
      return { request, isNew: !isSame };
    });
    if (asked === undefined) return undefined;
    const { request, isNew } = asked;
    this.#awaitedSurfaces.add(request.requestId);
    if (isNew) this.#sessions.tellOperators("operator.pairing", "node.pair.requested", surfaceSummary(request));
    return request;
  }

  /** Approves a node's command list; it can be invoked at once, without a reconnect. */
  async approveSurface(
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
    this.#tellSurfaceResolved(request, "approved");
    return device;
  }

  async rejectSurface(requestId: string, reason: string | undefined, by: Decider): Promise<SurfaceRequestRecord> {
    const request = await this.#tables.change((change) => {
      const request = openRequest(change.surfaceRequests.get(requestId), requestId, change.nowMs);
      const resolution = { decision: "rejected", atMs: change.nowMs, ...optional("note", reason) } as const;
      change.surfaceRequests.put(requestId, { ...request, resolution });
      change.audit({ action: "surface.reject", device: request.nodeId, reason, ...auditFields(by) });
      return request;
    });
    this.#tellSurfaceResolved(request, "rejected", reason);
    return request;
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
  openDeviceRequests(nowMs: number): DeviceRequestRecord[] {
    const open = [...this.#tables.deviceRequests.values()].filter((request) => isOpen(request, nowMs));
    return open.toSorted((a, b) => b.ts - a.ts);
  }

  /** Command lists that wait for a decision, newest first. */
  openSurfaceRequests(): SurfaceRequestRecord[] {
    const open = [...this.#tables.surfaceRequests.values()].filter(({ resolution }) => resolution === undefined);
    return open.toSorted((a, b) => b.ts - a.ts);
  }

  /** False once a device, or its role, was taken away. */
  isStillEnrolled(deviceId: string, role: string): boolean {
    return this.#tables.devices.get(deviceId)?.roles.includes(role) === true;
  }

  /** Makes what another process has decided true here: sessions without rights are closed, nodes that wait are told. */
  actOnForeignChanges(): void {
    this.#closeOutdated();
    for (const requestId of this.#awaitedSurfaces) {
      const request = this.#tables.surfaceRequests.get(requestId);
      const resolution = request?.resolution;
      if (request !== undefined && resolution === undefined) continue;
      this.#awaitedSurfaces.delete(requestId);
      if (request === undefined || resolution === undefined || resolution.decision === "superseded") continue;
      this.#tellSurfaceResolved(request, resolution.decision, resolution.note);
    }
  }

  /** Closes sessions whose device or role is no longer in the store, or whose token was replaced since they connected. */
  #closeOutdated(): void {
    for (const session of this.#sessions) {
      const { deviceId, role, connectedAtMs } = session.facts;
      if (deviceId === undefined) continue;
      const isRotated = (this.#tables.devices.get(deviceId)?.tokens[role]?.rotatedAtMs ?? 0) > connectedAtMs;
      if (!isRotated && this.isStillEnrolled(deviceId, role)) continue;
      session.close(closeCodes.credentialChanged, "device removed");
    }
  }

  #withToken(device: DeviceRecord, role: string, nowMs: number): DeviceRecord {
    const salt = this.#salt();
    const scopes = role === "operator" ? device.scopes : [];
    return issueToken(device, { gatewayKey: this.#tokenKey, role, scopes, salt, nowMs }).device;
  }

  #salt(): string {
    return Buffer.from(this.#runtime.random(16)).toString("base64url");
  }

  #hasRoom(open: readonly DeviceRequestRecord[], address: string | undefined): boolean {
    const ofAddress = open.filter(({ remoteIp }) => remoteIp === address).length;
    return open.length < this.#limits.maxRequests && ofAddress < this.#limits.maxRequestsPerAddress;
  }

  #tellResolved(request: DeviceRequestRecord, decision: "approved" | "rejected"): void {
    const { requestId, deviceId } = request;
    const ts = this.#runtime.now();
    this.#sessions.tellOperators("operator.pairing", "device.pair.resolved", { requestId, deviceId, decision, ts });
  }

  #tellSurfaceResolved(request: SurfaceRequestRecord, decision: "approved" | "rejected", reason?: string): void {
    const { requestId, nodeId } = request;
    const payload = { requestId, nodeId, decision, ts: this.#runtime.now() };
    this.#awaitedSurfaces.delete(requestId);
    this.#runtime.log("info", `command surface ${decision}`, { device: nodeId, request: requestId });
    this.#sessions.tellOperators("operator.pairing", "node.pair.resolved", payload);
    const more = decision === "approved" ? { commands: request.commands } : optional("reason", reason);
    this.#sessions.node(nodeId)?.event("node.pair.resolved", { ...payload, ...more });
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

/** True when a session may see and change only its own device: it came with a device token and is no admin. */
export function isLimitedToOwnDevice(session: Session): boolean {
  return session.facts.authenticatedBy === "device-token" && !session.facts.scopes.includes("operator.admin");
}

function knownDevice(change: Change, deviceId: string): DeviceRecord {
  const device = change.devices.get(deviceId);
  if (device === undefined) throw invalidRequest("unknown deviceId", { code: "UNKNOWN_DEVICE", deviceId });
  return device;
}

/** The request if it still waits; otherwise what became of it. */
function openRequest<Request extends DeviceRequestRecord | SurfaceRequestRecord>(
  request: Request | undefined,
  requestId: string,
  nowMs: number,
): Request {
  if (request === undefined) throw invalidRequest("unknown requestId", { code: "UNKNOWN_REQUEST", requestId });
  const { resolution } = request;
  if (resolution?.decision === "superseded") {
    throw invalidRequest(`unknown requestId: superseded by ${resolution.note ?? "a newer request"}`, {
      code: "REQUEST_SUPERSEDED",
      requestId,
      supersededBy: resolution.note,
    });
  }
  if (resolution !== undefined) {
    throw invalidRequest(`unknown requestId: already ${resolution.decision}`, {
      code: "REQUEST_RESOLVED",
      requestId,
      decision: resolution.decision,
    });
  }
  if ("publicKey" in request && !isOpen(request, nowMs)) {
    throw invalidRequest("unknown requestId: it expired; the device makes a new one when it connects again", {
      code: "UNKNOWN_REQUEST",
      requestId,
      expired: true,
    });
  }
  return request;
}

function deniedToken(what: "rotation" | "revocation", deviceId: string, role: string): RequestRefused {
  return invalidRequest(`device token ${what} denied: ${deviceId} has no ${role} token`, {
    code: "UNKNOWN_DEVICE",
    deviceId,
    role,
  });
}

/** True for a rejection of the same key in the same role that the device cannot know of yet, while it is news. */
function isUntoldRejection(request: DeviceRequestRecord, ask: DeviceAsk, nowMs: number): boolean {
  const { resolution } = request;
  if (resolution?.decision !== "rejected" || resolution.wasTold === true) return false;
  const isNews = nowMs - resolution.atMs < pairingRequestLifeMs;
  return isNews && request.deviceId === ask.deviceId && request.role === ask.role;
}

/** Drops what nobody will ask about any more, so that the tables stay as small as what is going on. */
function prune(change: Change): void {
  for (const table of [change.deviceRequests, change.surfaceRequests]) {
    for (const request of table.all()) {
      if ((request.resolution !== undefined || "publicKey" in request) && isForgettable(request, change.nowMs)) {
        table.delete(request.requestId);
      }
    }
  }
}

function auditFields(by: Decider): { readonly by: string; readonly address: string; readonly byDevice?: string } {
  return { by: by.connId, address: by.address, ...optional("byDevice", by.deviceId) };
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
