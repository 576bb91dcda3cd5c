/** Pairing requests as state changes: made, renewed, superseded, approved, rejected, expired (auth.md § 8). */
import { pairingRequestLifeMs } from "../protocol/limits.ts";
import { holdsScopes } from "../protocol/vocabulary.ts";
import type { ApprovedVia, Approver, DeviceRecord, DeviceRequestRecord, SurfaceRequestRecord } from "./records.ts";

/** What a request asks for, before it has an id and a time. */
export type DeviceAsk = Omit<DeviceRequestRecord, "requestId" | "createdAtMs" | "ts" | "resolution" | "round">;

/** How a new ask meets the open request of the same key. */
export type AskOutcome =
  | { readonly kind: "renewed"; readonly request: DeviceRequestRecord }
  | { readonly kind: "created"; readonly request: DeviceRequestRecord; readonly superseded?: DeviceRequestRecord };

/**
 * The request that stands after `ask`: the open one renewed when the same key asks the same or less in the same role,
 * otherwise a new one under `newId`, which unites nothing and takes the old one's place. A renewed one keeps its id and its scopes, and
 * says of the device what the device says now.
 */
export function askForDevice(
  open: DeviceRequestRecord | undefined,
  ask: DeviceAsk,
  newId: string,
  nowMs: number,
): AskOutcome {
  const asksNoMore =
    open !== undefined &&
    open.publicKey === ask.publicKey &&
    open.role === ask.role &&
    open.reason === ask.reason &&
    open.platform === ask.platform &&
    open.deviceFamily === ask.deviceFamily &&
    holdsScopes(open.scopes, ask.scopes);
  if (asksNoMore) {
    const { requestId, scopes, createdAtMs, round } = open;
    return {
      kind: "renewed",
      request: { ...ask, ...optional("round", round), requestId, scopes, createdAtMs, ts: nowMs },
    };
  }
  const request: DeviceRequestRecord = { ...ask, requestId: newId, createdAtMs: nowMs, ts: nowMs };
  if (open === undefined) return { kind: "created", request };
  const resolution = { decision: "superseded", atMs: nowMs, note: newId } as const;
  return { kind: "created", request, superseded: { ...open, resolution } };
}

/**
 * The device as the approval of `request` leaves it: what it had stays, what was asked for is added. Platform and family are pinned as
 * the request states them, also when it states none: otherwise a device that tells less than before would have to ask for ever.
 */
export function approveDevice(
  known: DeviceRecord | undefined,
  request: DeviceRequestRecord,
  via: ApprovedVia,
  nowMs: number,
  by?: Approver,
): DeviceRecord {
  const isOperator = request.role === "operator";
  return {
    ...(known === undefined ? {} : unpinned(known)),
    deviceId: request.deviceId,
    publicKey: request.publicKey,
    ...optional("keyless", request.keyless),
    ...optional(
      "usedRoles",
      known?.usedRoles?.filter((role) => role !== request.role),
    ),
    clientId: request.clientId,
    clientMode: request.clientMode,
    ...optional("displayName", request.displayName ?? known?.displayName),
    ...optional("platform", request.platform),
    ...optional("deviceFamily", request.deviceFamily),
    ...optional("remoteIp", request.remoteIp ?? known?.remoteIp),
    roles: [...new Set([...(known?.roles ?? []), request.role])],
    scopes: isOperator ? [...new Set([...(known?.scopes ?? []), ...request.scopes])] : (known?.scopes ?? []),
    tokens: known?.tokens ?? {},
    createdAtMs: known?.createdAtMs ?? nowMs,
    approvedAtMs: nowMs,
    approvedVia: via,
    ...optional("approvedBy", by),
  };
}

/** What the approval does not write anew. */
function unpinned({
  platform: _platform,
  deviceFamily: _family,
  approvedBy: _approvedBy,
  ...kept
}: DeviceRecord): Omit<DeviceRecord, "platform" | "deviceFamily" | "approvedBy"> {
  return kept;
}

/** True while a request waits for a decision. Both layers have the same life. */
export function isOpen(request: DeviceRequestRecord | SurfaceRequestRecord, nowMs: number): boolean {
  return request.resolution === undefined && nowMs - request.ts < pairingRequestLifeMs;
}

/** How long the end of a request is remembered: long enough for the answer to a person who types slowly. */
const rememberedMs = 24 * 60 * 60 * 1000;

/** True when nothing needs this request any more. */
export function isForgettable(request: DeviceRequestRecord | SurfaceRequestRecord, nowMs: number): boolean {
  return nowMs - (request.resolution?.atMs ?? request.ts) > rememberedMs;
}

/** `{name: value}`, or nothing when there is no value: how an optional field is copied. */
export function optional<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): { readonly [N in Name]?: Value } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [N in Name]?: Value });
}
