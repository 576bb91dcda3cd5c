/** Devices and requests of a gateway by what a person calls them: id, prefix, name. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { OpenClawError } from "../errors.ts";
import { fingerprint } from "../identity/fingerprint.ts";
import { isPairingCode, readPairingCode } from "../protocol/pairing-code.ts";
import { matchId } from "../identity/match-id.ts";
import type { MethodResults, PairedDevice, PendingDevice, PendingSurface } from "../protocol/methods.ts";

/** A request of the first layer as the CLI shows it. */
export type ShownDeviceRequest = PendingDevice & { readonly fingerprint: string; readonly layer: "device" };
/** A request of the second layer as the CLI shows it. */
export type ShownSurfaceRequest = PendingSurface & {
  readonly deviceId: string;
  readonly fingerprint: string;
  readonly layer: "surface";
};

export function showDeviceRequest(request: PendingDevice): ShownDeviceRequest {
  // Without a key there is nothing to compare but the id that the client was told.
  const { deviceId, keyless } = request;
  return { ...request, fingerprint: keyless === true ? deviceId : fingerprint(deviceId), layer: "device" };
}

/** What a person calls it, and whether its token is one that is good for whoever holds it. */
export function nameToShow(
  thing: Pick<PairedDevice, "clientId" | "displayName" | "operatorLabel" | "keyless"> | ShownSurfaceRequest,
): string {
  const [name = thing.clientId] = namesOf(thing);
  return "keyless" in thing && thing.keyless ? `${name} (no key: plain bearer token)` : name;
}

export function showSurfaceRequest(request: PendingSurface): ShownSurfaceRequest {
  return { ...request, deviceId: request.nodeId, fingerprint: fingerprint(request.nodeId), layer: "surface" };
}

/** What `devices list` prints: the product's shape, with fingerprints. */
export async function listDevices(session: GatewaySession): Promise<MethodResults["device.pair.list"]> {
  return session.call("device.pair.list", {});
}

/** The one paired device that `wanted` means. */
export function findDevice(wanted: string, paired: readonly PairedDevice[]): PairedDevice {
  const candidates = paired.map((device) => ({ ...device, id: device.deviceId, names: namesOf(device) }));
  return matchId(wanted, candidates, "device", "openclaw devices list");
}

/** The one open request that `wanted` means, by its code, its own id, its device's, or a name. */
export function findRequest<Request extends ShownDeviceRequest | ShownSurfaceRequest>(
  wanted: string,
  pending: readonly Request[],
  listCommand: string,
): Request {
  const coded = pending.filter((request) => "sas" in request && isPairingCode(wanted, request.sas));
  // Devices choose their names themselves: what looks like a code is none of them.
  const isCode = readPairingCode(wanted) !== undefined;
  const candidates = (coded.length > 0 ? coded : pending).map((request) => ({
    request,
    id: request.requestId,
    alsoIds: [request.deviceId],
    names: coded.length > 0 ? [wanted] : isCode ? [] : namesOf(request),
  }));
  return matchId(wanted, candidates, "request", listCommand).request;
}

/** The newest of the requests; `not-found` when none waits. */
export function newestRequest<Request extends { readonly ts: number }>(
  pending: readonly Request[],
  listCommand: string,
): Request {
  const [newest] = pending.toSorted((a, b) => b.ts - a.ts);
  if (newest !== undefined) return newest;
  throw new OpenClawError("not-found", "no request waits for approval", {
    hint: "requests live five minutes; let the device connect again",
    fix: listCommand,
  });
}

/** `--latest` without `--yes`: what would be approved, and that it was not. */
export function unconfirmed(request: ShownDeviceRequest | ShownSurfaceRequest, approve: string): OpenClawError {
  const who = request.displayName ?? request.clientId;
  return new OpenClawError(
    "approval-unconfirmed",
    `the newest request is ${request.requestId} of ${who} (${request.fingerprint}); it was not approved`,
    {
      hint: "compare the fingerprint with the one on the device's terminal, then approve it by its id",
      fix: approve,
      details: { request },
    },
  );
}

function namesOf(thing: { readonly displayName?: string; readonly operatorLabel?: string }): string[] {
  return [thing.operatorLabel, thing.displayName].filter((name) => name !== undefined);
}
