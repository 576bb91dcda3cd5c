/** What changes to the tables have in common: finding what they are about, or saying what became of it; and the audit line's facts. */
import type { Approver, DeviceRecord, DeviceRequestRecord, SurfaceRequestRecord } from "../../pairing/records.ts";
import { isForgettable, isOpen, optional } from "../../pairing/requests.ts";
import { invalidRequest } from "../../protocol/wire-error.ts";
import type { Change } from "./tables.ts";

/** Who decided: for the audit line. */
export interface Decider {
  readonly connId: string;
  readonly deviceId?: string | undefined;
  readonly address: string;
  /** What its client calls itself. */
  readonly name: string;
}

/** Who decided, for the device that waits: by the name it has here, else the one it gives itself. */
export function approverOf(change: Change, { deviceId, name }: Decider): Approver {
  const known = deviceId === undefined ? undefined : change.devices.get(deviceId);
  return { name: known?.operatorLabel ?? known?.displayName ?? name, ...optional("deviceId", deviceId) };
}

/** The device, or the refusal of a method that named it. */
export function knownDevice(change: Change, deviceId: string): DeviceRecord {
  const device = change.devices.get(deviceId);
  if (device === undefined) throw invalidRequest("unknown deviceId", { code: "UNKNOWN_DEVICE", deviceId });
  return device;
}

/** The request if it still waits; otherwise what became of it. */
export function openRequest<Request extends DeviceRequestRecord | SurfaceRequestRecord>(
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

/** Drops what nobody will ask about any more, so that the tables stay as small as what is going on. */
export function prune(change: Change): void {
  for (const table of [change.deviceRequests, change.surfaceRequests]) {
    for (const request of table.all()) {
      if ((request.resolution !== undefined || "publicKey" in request) && isForgettable(request, change.nowMs)) {
        table.delete(request.requestId);
      }
    }
  }
}

/** Who, from where. */
export function auditFields(by: Decider): {
  readonly by: string;
  readonly address: string;
  readonly byDevice?: string;
} {
  return { by: by.connId, address: by.address, ...optional("byDevice", by.deviceId) };
}
