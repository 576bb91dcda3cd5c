/** Records as the methods show them: never a token, a hash or a salt. */
import { effectiveCommands } from "../../pairing/command-policy.ts";
import type { DeviceRecord, DeviceRequestRecord, SurfaceRequestRecord, TokenRecord } from "../../pairing/records.ts";
import { isOpen, optional } from "../../pairing/requests.ts";
import { surfaceApprovalScopes } from "../../pairing/scopes.ts";
import type {
  ApprovedSurface,
  KnownRequest,
  NodeSummary,
  PairedDevice,
  PendingDevice,
  PendingSurface,
  TokenSummary,
} from "../../protocol/methods.ts";
import { pairingRequestLifeMs } from "../../protocol/limits.ts";
import type { PairingCode } from "../../protocol/pairing-code.ts";
import type { Session } from "../session.ts";

export function pendingSummary(request: DeviceRequestRecord, sas: PairingCode | undefined): PendingDevice {
  const { createdAtMs: _createdAtMs, resolution: _resolution, round: _round, ...shown } = request;
  const publicKey = shownKey(request.publicKey);
  return { ...shown, publicKey, roles: [request.role], silent: false, ...optional("sas", sas) };
}

export function deviceSummary(device: DeviceRecord, connected: boolean): PairedDevice {
  const { tokens, surface: _surface, usedRoles: _usedRoles, ...shown } = device;
  const publicKey = shownKey(device.publicKey);
  const role = device.roles[0] ?? "operator";
  return { ...shown, publicKey, role, connected, tokens: Object.values(tokens).map(tokenSummary) };
}

/** The product's clients count on some text here. */
function shownKey(publicKey: string): string {
  return publicKey === "" ? "none" : publicKey;
}

function tokenSummary(token: TokenRecord): TokenSummary {
  const { hash: _hash, salt: _salt, derivedFor: _derivedFor, handover: _handover, ...shown } = token;
  return shown;
}

export function surfaceSummary(request: SurfaceRequestRecord): PendingSurface {
  const { resolution: _resolution, ...shown } = request;
  return { ...shown, requiredApproveScopes: surfaceApprovalScopes(request.commands) };
}

/** The name that people use for a device: an operator's label before its own. */
function nameOf(device: DeviceRecord): string | undefined {
  return device.operatorLabel ?? device.displayName;
}

export function approvedSurface(device: DeviceRecord): ApprovedSurface | undefined {
  const { surface } = device;
  if (surface === undefined) return undefined;
  return {
    nodeId: device.deviceId,
    ...optional("displayName", nameOf(device)),
    ...optional("platform", device.platform),
    caps: surface.caps,
    commands: surface.commands,
    createdAtMs: surface.createdAtMs,
    approvedAtMs: surface.approvedAtMs,
  };
}

/** A node as it is now: what it says of itself while it is connected, what was last known when it is not. */
export function nodeSummary(device: DeviceRecord, session: Session | undefined, hasOpenRequest: boolean): NodeSummary {
  const live = session?.facts;
  const declared = live?.declared ?? device.surface ?? { caps: [], commands: [] };
  return {
    nodeId: device.deviceId,
    ...optional("displayName", nameOf(device)),
    ...optional("platform", live?.platform ?? device.platform),
    ...optional("deviceFamily", live?.deviceFamily ?? device.deviceFamily),
    ...optional("version", live?.clientVersion),
    clientId: live?.clientId ?? device.clientId,
    clientMode: live?.clientMode ?? device.clientMode,
    ...optional("remoteIp", live?.remoteAddress ?? device.remoteIp),
    ...optional("modelIdentifier", live?.modelIdentifier),
    ...optional("pathEnv", live?.pathEnv),
    caps: declared.caps,
    commands: effectiveCommands(declared, device.surface),
    ...optional("permissions", declared.permissions),
    ...optional("connectedAtMs", live?.connectedAtMs),
    ...optional("lastConnectedAtMs", live?.connectedAtMs ?? device.lastSeenAtMs),
    ...optional("lastSeenAtMs", device.lastSeenAtMs),
    approvedAtMs: device.approvedAtMs,
    approvalState: hasOpenRequest ? "pending" : device.surface === undefined ? "unapproved" : "approved",
    paired: device.roles.includes("node"),
    connected: session !== undefined,
  };
}

/** Whether a request still waits, and if not, how and when it ended. */
export function endOf(request: DeviceRequestRecord, nowMs: number): Pick<KnownRequest, "state" | "endedAtMs"> {
  const { resolution, ts } = request;
  if (resolution !== undefined) return { state: resolution.decision, endedAtMs: resolution.atMs };
  return isOpen(request, nowMs) ? { state: "waiting" } : { state: "expired", endedAtMs: ts + pairingRequestLifeMs };
}
