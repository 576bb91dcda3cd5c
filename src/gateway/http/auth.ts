/** Who sends an HTTP request: its credentials, held against the same decision that a connect goes through (auth.md § 7). */
import type { IncomingMessage } from "node:http";
import { type AuthMethod, decideAuth, isSharedSecret, type Presented } from "../../pairing/decide-auth.ts";
import { scopesOfUser } from "../../pairing/decide-pairing.ts";
import type { DeviceRecord } from "../../pairing/records.ts";
import { atTime } from "../../pairing/token-handover.ts";
import { operatorScopes, type Role } from "../../protocol/vocabulary.ts";
import type { Runtime } from "../../runtime.ts";
import { type CredentialDigest, credentialDigest, hashSecret } from "../../secret.ts";
import type { AttemptLimit } from "../arrival/attempt-limit.ts";
import type { Invites } from "../records/invites.ts";
import { proveLocal } from "../arrival/local-peer.ts";
import type { GatewayPolicy } from "../options.ts";
import type { Peer } from "../arrival/peer.ts";
import { vouchedSentence } from "../refusal.ts";
import { lostUnder } from "../standing.ts";
import type { Tables } from "../records/tables.ts";
import { refused, type TraceStep } from "../trace.ts";

export interface HttpAuthHouse {
  readonly policy: GatewayPolicy;
  readonly tables: Tables;
  readonly invites: Invites;
  readonly attempts: AttemptLimit;
  readonly runtime: Runtime;
  /** The port that this gateway listens on. */
  readonly ownPort: () => number;
  /** What looks at the process of a peer, where it is not to be the real thing. */
  readonly proveLocal?: typeof proveLocal;
}

export interface HttpCaller {
  readonly by: AuthMethod;
  readonly deviceId?: string;
  readonly user?: string;
  readonly scopes: readonly string[];
  /** The hash of the device token that let it in. */
  readonly tokenHash?: string;
  /** Digests of what it showed. */
  readonly shown: readonly CredentialDigest[];
}

export type HttpAuth =
  | { readonly ok: true; readonly caller: HttpCaller }
  | {
      readonly ok: false;
      readonly status: 401 | 429;
      readonly code: string;
      readonly message: string;
      readonly retryAfterMs?: number;
    };

/** Decides who the caller is, and adds to `trace` what every method said. A device token is a plain bearer here: there is no key to bind it to. */
export async function authenticateRequest(
  { policy, tables, attempts, runtime, ownPort, proveLocal: prove = proveLocal }: HttpAuthHouse,
  peer: Peer,
  request: Pick<IncomingMessage, "headers">,
  trace: TraceStep[],
): Promise<HttpAuth> {
  const { authorization } = request.headers;
  const header = readBearer(authorization);
  const token = readToken(request);
  if (authorization !== undefined && header === undefined && token === undefined) {
    trace.push(refused("authentication", "authorization_malformed"));
    return unauthorized("authorization_malformed");
  }
  const showsNothing = header === undefined && token === undefined;
  const lockedForMs = showsNothing ? undefined : attempts.lockedForMs(peer.clientAddress, ["token"]);
  if (lockedForMs !== undefined && !(await prove(peer, ownPort())).isProven) {
    trace.push(refused("limit", "too many wrong attempts (token)"));
    return rateLimited(lockedForMs);
  }
  await tables.refresh();
  const held = findDeviceToken(tables, [token, header], runtime.now());
  const asksWhetherLocal = showsNothing && policy.auth.loopback !== false && policy.auth.mode !== "none";
  const presented: Presented = {
    header,
    token,
    role: held?.role ?? "operator",
    scopes: [],
    clientId: "http",
    clientMode: "http",
    isDirect: peer.isDirect,
    hasDevice: held !== undefined,
    local: asksWhetherLocal ? await prove(peer, ownPort()) : undefined,
    proxy: peer.proxy,
    isFromTailnet: peer.isFromTailnet,
    tailscale: await peer.tailscale(policy.whois),
  };
  const decision = decideAuth(policy.auth, presented, held?.device);
  trace.push(...decision.trace);
  if (!decision.ok) {
    trace.push(refused("authentication", decision.reason));
    if (decision.reason.startsWith("trusted_proxy_") || decision.reason.startsWith("proxy_")) {
      const message = vouchedSentence(decision.reason) ?? explanations.authorization_missing;
      return { ok: false, status: 401, code: decision.reason, message };
    }
    if (!decision.wasWrong) return unauthorized("authorization_missing");
    attempts.wrong(peer.clientAddress, "token");
    const isDisagreement = decision.reason === "header_frame_token_differ";
    return unauthorized(isDisagreement ? "authorization_differs" : "authorization_mismatch");
  }
  const { by, user } = decision;
  if (!showsNothing) attempts.right(peer.clientAddress, "token");
  return {
    ok: true,
    caller: {
      by,
      scopes: user === undefined ? scopesOf(by, peer, held) : scopesOfUser(policy.pairing, user),
      ...(user === undefined ? {} : { user }),
      ...(by === "device-token" && held !== undefined ? { deviceId: held.device.deviceId, tokenHash: held.hash } : {}),
      shown: [header, token].filter((value) => value !== undefined).map((value) => credentialDigest(value)),
    },
  };
}

/** Whether the request carries anything that may be meant as a credential. */
export function showsCredential({ headers }: IncomingMessage): boolean {
  return headers.authorization !== undefined || headers["x-openclaw-token"] !== undefined;
}

/** True when the Authorization header holds something of this gateway's, whatever let the caller in: it is nobody else's business. */
export function isOwnAuthorization({ policy, tables, invites }: HttpAuthHouse, request: IncomingMessage): boolean {
  const bearer = readBearer(request.headers.authorization);
  if (bearer === undefined) return false;
  const shown = credentialDigest(bearer);
  return isSharedSecret(policy.auth, shown) || tables.hasTokenHash(shown.toString("hex")) || invites.knows(shown);
}

/** Why the sender of a request that is under way would be turned away now; undefined while that is not so. */
export function callerLost(
  { policy, tables }: Pick<HttpAuthHouse, "policy" | "tables">,
  { by, deviceId, tokenHash, user, shown, scopes }: HttpCaller,
  peer: Peer,
): string | undefined {
  if (tokenHash !== undefined && tables.tokenOwner(tokenHash)?.deviceId !== deviceId)
    return "its device token has ended";
  const who = { by, shown, user, hasDevice: deviceId !== undefined, clientId: undefined, clientMode: "http", scopes };
  return lostUnder(policy, who, peer);
}

interface HeldToken {
  readonly device: DeviceRecord;
  readonly role: Role;
  readonly hash: string;
}

/** The device and role that one of these was issued to, with only those generations of its tokens that work at this moment. */
function findDeviceToken(tables: Tables, shown: readonly (string | undefined)[], nowMs: number): HeldToken | undefined {
  for (const value of shown) {
    if (value === undefined) continue;
    const hash = hashSecret(value);
    const owner = tables.tokenOwner(hash);
    const device = owner === undefined ? undefined : tables.devices.get(owner.deviceId);
    if (owner !== undefined && device !== undefined) return { device: atTime(device, nowMs), role: owner.role, hash };
  }
  return undefined;
}

/** What the caller may. Without any proof only a request that no web page can have made for somebody counts as the owner's. */
function scopesOf(by: AuthMethod, { isDirect }: Peer, held: HeldToken | undefined): readonly string[] {
  switch (by) {
    case "local":
    case "token":
    case "password":
    case "internal":
      return operatorScopes;
    case "device-token":
      return held?.role === "operator" ? (held.device.tokens[held.role]?.scopes ?? []) : [];
    case "none":
      return isDirect ? operatorScopes : [];
    case "tailscale":
    case "trusted-proxy":
    case "bootstrap-token":
      return [];
  }
}

const explanations = {
  authorization_missing: "this gateway wants its token: send Authorization: Bearer <token>, or X-OpenClaw-Token",
  authorization_malformed: "the Authorization header is not of the form Bearer <token>",
  authorization_mismatch: "the credential is not one of this gateway; its own: openclaw gateway token",
  authorization_differs: "Authorization and X-OpenClaw-Token carry two credentials, and the second one is not right",
} as const;

function rateLimited(retryAfterMs: number): HttpAuth {
  const message = "too many wrong credentials from this address; wait";
  return { ok: false, status: 429, code: "rate_limited", message, retryAfterMs };
}

function unauthorized(code: keyof typeof explanations): HttpAuth {
  return { ok: false, status: 401, code, message: explanations[code] };
}

/** RFC 6750 § 2.1: the scheme's case does not count; undefined for anything that is no bearer. */
function readBearer(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/iu.exec(header ?? "")?.[1];
}

/** Empty counts as absent. */
function readToken({ headers }: Pick<IncomingMessage, "headers">): string | undefined {
  const value = headers["x-openclaw-token"];
  return typeof value === "string" && value !== "" ? value : undefined;
}
