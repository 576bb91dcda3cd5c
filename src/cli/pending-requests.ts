/** Both layers in one list: devices that want in, and nodes whose command list waits. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure } from "../errors.ts";
import {
  type ShownDeviceRequest,
  type ShownSurfaceRequest,
  listDevices,
  showDeviceRequest,
  showSurfaceRequest,
} from "./device-directory.ts";

export type PendingRequest = ShownDeviceRequest | ShownSurfaceRequest;

/** Newest first. A gateway without the second layer (2026.3.8) has nothing waiting there. */
export async function listPending(session: GatewaySession): Promise<readonly PendingRequest[]> {
  const devices = (await listDevices(session)).pending.map(showDeviceRequest);
  const surfaces = (await pendingSurfaces(session)).map(showSurfaceRequest);
  return [...devices, ...surfaces].toSorted((a, b) => b.ts - a.ts);
}

async function pendingSurfaces(session: GatewaySession) {
  try {
    return (await session.call("node.pair.list", {})).pending;
  } catch (error) {
    if (isFailure(error, "protocol", "scope-missing", "forbidden")) return [];
    throw error;
  }
}

/** Approves a request of either layer. Returns the device it belongs to. */
export async function approveRequest(session: GatewaySession, request: PendingRequest): Promise<string> {
  const { requestId } = request;
  if (request.layer === "surface") await session.call("node.pair.approve", { requestId });
  else await session.call("device.pair.approve", { requestId });
  return request.deviceId;
}
