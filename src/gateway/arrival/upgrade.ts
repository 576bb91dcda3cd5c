/** The HTTP upgrade: what may be decided before a WebSocket exists (auth.md § 1). */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { isSharedSecret } from "../../pairing/decide-auth.ts";
import { type CredentialDigest, credentialDigest } from "../../secret.ts";
import { refuseUpgrade, refuseUpgradeWithText } from "../http/answers.ts";
import type { AttemptLimit } from "./attempt-limit.ts";
import type { Invites } from "../records/invites.ts";
import { proveLocal } from "./local-peer.ts";
import type { GatewayPolicy } from "../options.ts";
import type { Peer } from "./peer.ts";
import type { Tables } from "../records/tables.ts";
import { type DecisionListeners, passed, type RefusalFacts, refused, reportRefusal, type TraceStep } from "../trace.ts";

export interface UpgradeHouse extends DecisionListeners {
  readonly policy: GatewayPolicy;
  readonly tables: Tables;
  readonly invites: Invites;
  readonly attempts: AttemptLimit;
  readonly ownPort: () => number;
  /** What looks at the process of a peer, where it is not to be the real thing. */
  readonly proveLocal?: typeof proveLocal;
  readonly isStopping: () => boolean;
  /** Sockets of this address that have not said who they are. */
  readonly unauthenticated: (address: string) => number;
}

export type UpgradeDecision = { readonly ok: true; readonly header: string | undefined } | { readonly ok: false };

/** Lets an upgrade through, with the bearer it carried, or answers it and says no. */
export async function decideUpgrade(
  house: UpgradeHouse,
  peer: Peer,
  request: Pick<IncomingMessage, "headers"> & Partial<Pick<IncomingMessage, "rawHeaders">>,
  socket: Duplex,
): Promise<UpgradeDecision> {
  const { policy } = house;
  const isCrowded = house.unauthenticated(peer.clientAddress) >= policy.limits.maxUnauthenticatedPerAddress;
  if (house.isStopping() || (isCrowded && (await isFullFor(house, peer)))) {
    refuseUpgradeWithText(socket, 503, house.isStopping() ? "Shutting down" : "Too many unauthenticated sockets");
    const reason = house.isStopping() ? "stopping" : "too_many_unauthenticated";
    reportHttp(house, peer, 503, reason, [refused("capacity", reason)]);
    return { ok: false };
  }
  const repeated = repeatedIn(request.rawHeaders ?? []);
  if (repeated !== undefined) return repeatedHeader(house, peer, socket, repeated);
  const own = request.headers["x-openclaw-token"];
  const bearer = readBearer(request.headers.authorization) ?? (typeof own === "string" && own !== "" ? own : undefined);
  if (bearer === undefined) {
    if (request.headers.authorization !== undefined)
      return unauthorized(house, peer, socket, "authorization_malformed");
    return policy.upgrade === "deferred" || (await mayComeWithout(house, peer))
      ? { ok: true, header: undefined }
      : unauthorized(house, peer, socket, "authorization_missing");
  }
  const lockedForMs = house.attempts.lockedForMs(peer.clientAddress, ["token"]);
  if (lockedForMs !== undefined && !(await (house.proveLocal ?? proveLocal)(peer, house.ownPort())).isProven) {
    return tooManyAttempts(house, peer, socket, lockedForMs);
  }
  const shown = credentialDigest(bearer);
  if (!isKnown(house, shown)) await house.tables.refresh(); // the owner may have made it beside us, a moment ago
  if (isKnown(house, shown)) return { ok: true, header: bearer };
  house.attempts.wrong(peer.clientAddress, "token");
  return unauthorized(house, peer, socket, "authorization_mismatch");
}

/** Never for all users of a proxy at once, where it does not tell them apart, nor for the owner of the host. */
async function isFullFor(house: UpgradeHouse, peer: Peer): Promise<boolean> {
  const { address, clientAddress, isProxied } = peer;
  if (isProxied && clientAddress === address) return false;
  return !(await (house.proveLocal ?? proveLocal)(peer, house.ownPort())).isProven;
}

/** Of these a second one could be somebody else's word. */
const single = ["host", "authorization", "x-openclaw-token", "origin"] as const;
const lengths = new Set(single.map((name) => name.length));

function repeatedIn(rawHeaders: readonly string[]): string | undefined {
  const seen: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const written = rawHeaders[at] ?? "";
    if (!lengths.has(written.length)) continue;
    const name = written.toLowerCase();
    if (!single.some((one) => one === name)) continue;
    if (seen.includes(name)) return name;
    seen.push(name);
  }
  return undefined;
}

function repeatedHeader(house: UpgradeHouse, peer: Peer, socket: Duplex, name: string): UpgradeDecision {
  const message = `there is more than one ${name} header`;
  refuseUpgrade(socket, 400, { type: "repeated_header", code: "repeated_header", message });
  reportHttp(house, peer, 400, "repeated_header", [refused("http", `more than one ${name}`)]);
  return { ok: false };
}

function isKnown({ policy, tables, invites }: UpgradeHouse, shown: CredentialDigest): boolean {
  return isSharedSecret(policy.auth, shown) || tables.hasTokenHash(shown.toString("hex")) || invites.knows(shown);
}

/** Whether one who shows nothing may be let in by the connect all the same. */
async function mayComeWithout(
  { policy, ownPort, proveLocal: prove = proveLocal }: UpgradeHouse,
  peer: Peer,
): Promise<boolean> {
  const { mode, loopback, tailscale } = policy.auth;
  if (mode === "none") return true;
  if (peer.proxy.ok && (mode === undefined || mode === "trusted-proxy")) return true;
  if (peer.isFromTailnet && peer.isLoopback && tailscale !== "disabled") return true;
  return loopback !== false && peer.isDirect && (await prove(peer, ownPort())).isProven;
}

function tooManyAttempts(house: UpgradeHouse, peer: Peer, socket: Duplex, lockedForMs: number): UpgradeDecision {
  const error = { type: "rate_limited", code: "rate_limited", message: "too many wrong credentials from this address" };
  refuseUpgrade(socket, 429, error, { "Retry-After": String(Math.ceil(lockedForMs / 1000)) });
  reportHttp(house, peer, 429, "rate_limited", [refused("limit", "too many wrong attempts (token)")]);
  return { ok: false };
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
