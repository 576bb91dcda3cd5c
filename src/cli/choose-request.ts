/** The request that a person means with an id, a device, a name or a code, and what has become of it since they read it. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { differenceBetween } from "../pairing/supersession.ts";
import type { KnownRequest } from "../protocol/methods.ts";
import { readPairingCode } from "../protocol/pairing-code.ts";
import {
  findRequest,
  newestRequest,
  showDeviceRequest,
  type ShownDeviceRequest,
  unconfirmed,
} from "./device-directory.ts";
import type { PendingRequest } from "./pending-requests.ts";

interface ChoiceFlags {
  readonly latest?: boolean;
  readonly yes?: boolean;
}

/** Where requests are looked for that do not wait any more. */
export interface RequestIndex {
  /** It makes pairing codes. */
  readonly makesCodes: boolean;
  lookUp(request: string): Promise<readonly KnownRequest[]> | readonly KnownRequest[];
}

/** That of a gateway; the product's have none. */
export function requestsOf(session: GatewaySession): RequestIndex {
  const makesCodes = session.hello.features.capabilities?.includes("pairing-codes") === true;
  return {
    makesCodes,
    lookUp: async (request) =>
      makesCodes ? (await session.call("device.pair.lookup", { request: request.slice(0, 128) })).requests : [],
  };
}

/**
 * The one to approve. One that took the place of the one that was meant stands in for it only when it has the same key and asks for no
 * more; `superseded` shows the difference otherwise, and `approval-unconfirmed` the newest request when nothing was named.
 */
export async function chooseRequest<Request extends PendingRequest>(
  index: RequestIndex,
  { pending, group }: { readonly pending: readonly Request[]; readonly group: "pair" | "devices" },
  wanted: string | undefined,
  flags: ChoiceFlags,
): Promise<Request | ShownDeviceRequest> {
  const list = `openclaw ${group} list`;
  if (wanted === undefined) {
    const newest = newestRequest(pending, list);
    if (flags.yes === true) return newest;
    throw unconfirmed(newest, `openclaw ${group} approve ${newest.requestId}`);
  }
  if (wanted.trim() === "") throw new OpenClawError("usage", "the request is an empty text", { fix: list });
  try {
    return findRequest(wanted, pending, list);
  } catch (error) {
    if (!isFailure(error, "not-found")) throw error;
    const known = await index.lookUp(wanted);
    if (known.length === 0) throw withoutCodes(index, wanted, error);
    return standIn(known, group);
  }
}

/** The last of a row of requests that took each other's place, if the approval of the first covers it. */
function standIn(known: readonly KnownRequest[], group: string): ShownDeviceRequest {
  const [seen] = known;
  const now = known.at(-1);
  if (seen === undefined || now === undefined) throw new OpenClawError("internal", "the gateway knows no such request");
  if (now.state !== "waiting") throw over(now, group);
  const { state: _state, endedAtMs: _endedAtMs, ...request } = now;
  const shown = showDeviceRequest(request);
  const difference = differenceBetween(seen, now);
  if (difference.length === 0) return shown;
  throw new OpenClawError(
    "superseded",
    `request ${now.requestId} took the place of this one and asks for ${difference.join(", ")}; it was not approved`,
    {
      hint: "look at what it asks for now, and compare its code with the one on the device's terminal",
      fix: `openclaw ${group} list`,
      details: { seen: factsOf(seen), now: factsOf(now), difference },
    },
  );
}

function factsOf({ requestId, deviceId, role, scopes }: KnownRequest) {
  return { requestId, deviceId, role, scopes };
}

function over({ requestId, state, endedAtMs }: KnownRequest, group: string): OpenClawError {
  const when = endedAtMs === undefined ? "" : ` at ${new Date(endedAtMs).toISOString()}`;
  const details = { requestId, state, ...(endedAtMs === undefined ? {} : { endedAtMs }) };
  return state === "expired"
    ? new OpenClawError("not-found", `request ${requestId} expired${when}`, {
        hint: "the device makes a new one when it connects again",
        fix: `openclaw ${group} list`,
        details,
      })
    : new OpenClawError("conflict", `request ${requestId} was ${state}${when}`, {
        hint: state === "rejected" ? "the device may ask again" : "openclaw devices list shows the device",
        details,
      });
}

/** The product's gateways make no codes: that is worth saying to somebody who has typed one. */
function withoutCodes({ makesCodes }: RequestIndex, wanted: string, error: OpenClawError): OpenClawError {
  if (readPairingCode(wanted) === undefined) return error;
  const hint = makesCodes
    ? "the code of a request changes when its device starts again: compare once more"
    : "this gateway makes no pairing codes; approve by the request's id";
  const { code, message, fix, details } = error;
  return new OpenClawError(code, message, { hint, fix, details, cause: error });
}
