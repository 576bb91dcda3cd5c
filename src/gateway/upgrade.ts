/** The HTTP upgrade: what may be decided before a WebSocket exists (auth.md § 1). */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { isSharedSecret } from "../pairing/decide-auth.ts";
import { credentialDigest } from "../secret.ts";
import { refuseUpgrade, refuseUpgradeWithText } from "./http.ts";
import type { Invites } from "./invites.ts";
import type { GatewayPolicy } from "./options.ts";
import type { Peer } from "./peer.ts";
import type { Tables } from "./tables.ts";
import { type DecisionListeners, passed, type RefusalFacts, refused, reportRefusal, type TraceStep } from "./trace.ts";

export interface UpgradeHouse extends DecisionListeners {
  readonly policy: GatewayPolicy;
  readonly tables: Tables;
  readonly invites: Invites;
  readonly isStopping: () => boolean;
  /** Sockets of this address that have not said who they are. */
  readonly unauthenticated: (address: string) => number;
}

export type UpgradeDecision = { readonly ok: true; readonly header: string | undefined } | { readonly ok: false };

/** Lets an upgrade through, with the bearer it carried, or answers it and says no. */
export function decideUpgrade(
  house: UpgradeHouse,
  peer: Peer,
  request: IncomingMessage,
  socket: Duplex,
): UpgradeDecision {
  const { policy } = house;
  if (house.isStopping() || house.unauthenticated(peer.address) >= policy.limits.maxUnauthenticatedPerAddress) {
    refuseUpgradeWithText(socket, 503, house.isStopping() ? "Shutting down" : "Too many unauthenticated sockets");
    const reason = house.isStopping() ? "stopping" : "too_many_unauthenticated";
    reportHttp(house, peer, 503, reason, [refused("capacity", reason)]);
    return { ok: false };
  }
  const bearer = readBearer(request.headers.authorization);
  if (bearer === undefined) {
    if (request.headers.authorization !== undefined)
      return unauthorized(house, peer, socket, "authorization_malformed");
    const canComeLater = policy.upgrade === "deferred" || policy.auth.mode === "none";
    return canComeLater ? { ok: true, header: undefined } : unauthorized(house, peer, socket, "authorization_missing");
  }
  const shown = credentialDigest(bearer);
  const isRight =
    isSharedSecret(policy.auth, shown) ||
    house.tables.hasTokenHash(shown.toString("hex")) ||
    house.invites.knows(shown);
  return isRight ? { ok: true, header: bearer } : unauthorized(house, peer, socket, "authorization_mismatch");
}

type UpgradeRefusal = "authorization_missing" | "authorization_malformed" | "authorization_mismatch";

const explanations: Record<UpgradeRefusal, { readonly message: string; readonly hint: string }> = {
  authorization_missing: {
    message: "this gateway wants its token on the upgrade",
    hint: "send Authorization: Bearer <token>",
  },
  authorization_malformed: {
    message: "the Authorization header is not of the form Bearer <token>",
    hint: "a proxy that uses the header itself can be served with --no-auth-header",
  },
  authorization_mismatch: {
    message: "the credential in the Authorization header is not one of this gateway",
    hint: "check which gateway the port belongs to, and its token there: openclaw gateway token",
  },
};

function unauthorized(house: UpgradeHouse, peer: Peer, socket: Duplex, reason: UpgradeRefusal): UpgradeDecision {
  const error = { type: "unauthorized", code: reason, ...explanations[reason] };
  refuseUpgrade(socket, 401, error, { "WWW-Authenticate": "Bearer" });
  reportHttp(house, peer, 401, reason, [passed("capacity", "there is room"), refused("upgrade", reason)]);
  return { ok: false };
}

/** The line and the decision of what was answered over HTTP. */
export function reportHttp(
  listeners: DecisionListeners,
  peer: Peer,
  status: number,
  reason: string,
  trace: readonly TraceStep[],
  fields: RefusalFacts["fields"] = {},
): void {
  const connId = listeners.runtime.uuid();
  const message = status === 401 ? "auth failed" : "request refused";
  reportRefusal(listeners, message, { connId, peer, code: `HTTP ${status}`, reason, trace, fields });
}

/** RFC 6750 § 2.1: the scheme's case does not count; undefined for anything that is no bearer. */
function readBearer(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/iu.exec(header ?? "")?.[1];
}
