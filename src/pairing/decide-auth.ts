/**
 * THE authentication decision: which proof lets a connection in, and why every other one did not (auth.md § 1).
 * Whether the device is enrolled is another question, asked afterwards in `decide-pairing.ts`.
 */
import type { RefusalCode } from "../protocol/refusals.ts";
import { holdsScopes, type Role } from "../protocol/vocabulary.ts";
import { type CredentialDigest, credentialDigest, matchesHash, type Secret } from "../secret.ts";
import type { InviteVerdict } from "./invites.ts";
import type { DeviceRecord } from "./records.ts";
import { liveHashes } from "./token-handover.ts";
import type { TailscaleMode, Vouched } from "./vouched.ts";

export type AuthMode = "token" | "password" | "trusted-proxy" | "none";

export interface AuthPolicy {
  /** Undefined: every configured method may decide. */
  readonly mode?: AuthMode | undefined;
  readonly token?: Secret | undefined;
  readonly password?: Secret | undefined;
  /** The gateway's own secret of this start; works in every mode on a direct loopback connection. */
  readonly internalSecret?: Secret | undefined;
  /** False: a proven local peer needs a credential like everybody else. */
  readonly loopback?: boolean | undefined;
  /** `require`: who comes from the tailnet has to be one of its users. */
  readonly tailscale?: TailscaleMode | undefined;
}

/** What a connection brought along. Empty strings count as absent. */
export interface Presented {
  /** The value behind `Authorization: Bearer`. */
  readonly header?: string | undefined;
  readonly token?: string | undefined;
  readonly password?: string | undefined;
  readonly deviceToken?: string | undefined;
  readonly bootstrapToken?: string | undefined;
  readonly role: Role;
  readonly scopes: readonly string[];
  readonly clientId: string;
  readonly clientMode: string;
  /** The tests of auth.md § 2 that need no knowledge of the process: loopback address, our own port as Host, nothing forwarded. */
  readonly isDirect: boolean;
  /** True when the connect carried a device proof that holds. */
  readonly hasDevice: boolean;
  /** Its client id is one of `gateway.trustedLocalServices`, which get what the gateway's own clients get (auth.md § 4). */
  readonly isLocalService?: boolean | undefined;
  /** Whether the peer is proven local, and if not, which test said so; left out where nobody looked. */
  readonly local?: LocalVerdict | undefined;
  /** What Tailscale Serve says of the caller. */
  readonly tailscale?: Vouched | undefined;
  /** What a trusted proxy says of the caller. */
  readonly proxy?: Vouched | undefined;
  /** It came through Tailscale Serve, whatever that says. */
  readonly isFromTailnet?: boolean | undefined;
}

export type LocalVerdict = { readonly isProven: true } | { readonly isProven: false; readonly reason: string };

export type AuthMethod =
  | "local"
  | "device-token"
  | "token"
  | "password"
  | "tailscale"
  | "trusted-proxy"
  | "bootstrap-token"
  | "internal"
  | "none";

/** One line of the trace: a method that was tried and what it said. */
export interface AuthStep {
  readonly method: AuthMethod;
  readonly outcome: "accepted" | "passed" | "wrong";
  readonly reason: string;
}

export type AuthDecision =
  | {
      readonly ok: true;
      readonly by: AuthMethod;
      /** Who it is, where somebody in front of the gateway vouches for a user. */
      readonly user?: string;
      readonly trace: readonly AuthStep[];
    }
  | {
      readonly ok: false;
      readonly code: RefusalCode;
      readonly reason: string;
      /** False when nothing was presented at all: only wrong credentials count against a rate limit. */
      readonly wasWrong: boolean;
      readonly trace: readonly AuthStep[];
    };

type Verdict = Pick<AuthStep, "outcome" | "reason">;

const accepted: Verdict = { outcome: "accepted", reason: "matches" };
const passed = (reason: string): Verdict => ({ outcome: "passed", reason });
const wrong = (reason: string): Verdict => ({ outcome: "wrong", reason });
const narrower = passed("holds fewer scopes than were asked for");

/**
 * The one place that says which proof counts. Total: every policy answers every request, with the whole trace.
 * `device` is the record of the device whose proof held, if there is one; `invite` what the bootstrap token that came along is worth.
 */
export function decideAuth(
  policy: AuthPolicy,
  presented: Presented,
  device: DeviceRecord | undefined,
  invite?: InviteVerdict,
): AuthDecision {
  const given = credentialsOf(presented);
  const others: [AuthMethod, Verdict][] = [
    ["token", judgeShared(policy, "token", given)],
    ["password", judgeShared(policy, "password", given)],
    ["tailscale", judgeVouched(presented.tailscale ?? notFromTailnet, given)],
    ["trusted-proxy", judgeByProxy(policy, presented, given)],
    ["bootstrap-token", judgeInvited(invite)],
    ["internal", judgeInternal(policy, presented, given)],
    ["none", judgeNone(policy, given)],
  ];
  const deviceToken = judgeDeviceToken(presented, given, device);
  // It says who asks, which is enough to ask a person; but a secret that is right as well may be worth more than that.
  const mustDo = deviceToken === narrower && !others.some(([, { outcome }]) => outcome === "accepted");
  const first: [AuthMethod, Verdict][] = [
    ["local", judgeLocal(policy, presented, given)],
    ["device-token", mustDo ? { ...narrower, outcome: "accepted" } : deviceToken],
  ];
  const trace = [...first, ...others].map(([method, { outcome, reason }]) => ({ method, outcome, reason }));
  const winner = trace.find(({ outcome }) => outcome === "accepted");
  if (winner !== undefined && mustBeVouched(policy, presented)) {
    const reason = presented.tailscale?.ok === false ? presented.tailscale.reason : "tailscale_user_missing";
    return { ok: false, code: tailscaleCode(reason), reason, wasWrong: false, trace };
  }
  if (winner !== undefined) {
    if (disagrees(policy, presented, device)) {
      return { ok: false, code: "AUTH_TOKEN_MISMATCH", reason: "header_frame_token_differ", wasWrong: true, trace };
    }
    const user = userOf(winner.method, presented);
    return { ok: true, by: winner.method, ...(user === undefined ? {} : { user }), trace };
  }
  return { ok: false, ...explainRefusal(policy, presented, device, trace, invite), wasWrong: given.length > 0, trace };
}

/** True when a bearer alone, before any frame, can be right: what the HTTP upgrade asks (auth.md § 1). */
export function isSharedSecret(policy: AuthPolicy, bearer: CredentialDigest): boolean {
  return [policy.token, policy.password, policy.internalSecret].some((secret) => secret?.isShownBy(bearer) === true);
}

/** Clients that are the gateway's own hands: its backend client and the product's CLI (auth.md § 4). */
export function isInternalClient(clientId: string, clientMode: string): boolean {
  return (clientId === "gateway-client" && clientMode === "backend") || (clientId === "cli" && clientMode === "cli");
}

function credentialsOf(presented: Presented): readonly CredentialDigest[] {
  const { header, token, deviceToken, password, bootstrapToken } = presented;
  const all = [header, token, deviceToken, password, bootstrapToken];
  const given = new Set(all.filter((value) => value !== undefined && value !== ""));
  return [...given].map((value) => credentialDigest(value ?? ""));
}

/** A proven local peer could read the token's file: who shows nothing needs nothing (auth.md § 2). */
function judgeLocal(policy: AuthPolicy, { local }: Presented, given: readonly CredentialDigest[]): Verdict {
  if (policy.loopback === false) return passed("gateway.auth.loopback is off");
  if (given.length > 0) return passed("a credential was presented");
  if (local === undefined) return passed("not asked");
  return local.isProven ? { outcome: "accepted", reason: "proven local" } : passed(local.reason);
}

const notFromTailnet: Vouched = { ok: false, reason: "not from the tailnet" };

/** Who shows a bad credential must learn that it is bad, whoever vouches for them (auth.md § 1). */
function judgeVouched(vouched: Vouched, given: readonly CredentialDigest[]): Verdict {
  if (!vouched.ok) return passed(vouched.reason);
  return given.length === 0 ? { outcome: "accepted", reason: vouched.user } : passed("a credential was presented");
}

function judgeByProxy(
  policy: AuthPolicy,
  { proxy = { ok: false, reason: "trusted_proxy_untrusted_source" } }: Presented,
  given: readonly CredentialDigest[],
): Verdict {
  if (policy.mode !== undefined && policy.mode !== "trusted-proxy") return passed(`mode is ${policy.mode}`);
  return judgeVouched(proxy, given);
}

/** `require`: nothing else is accepted from the tailnet. */
function mustBeVouched({ tailscale: mode }: AuthPolicy, { isFromTailnet, tailscale }: Presented): boolean {
  return mode === "require" && isFromTailnet === true && tailscale?.ok !== true;
}

function tailscaleCode(reason: string): RefusalCode {
  switch (reason) {
    case "tailscale_proxy_missing":
      return "AUTH_TAILSCALE_PROXY_MISSING";
    case "tailscale_whois_failed":
    case "tailscale_whois_unavailable":
      return "AUTH_TAILSCALE_WHOIS_FAILED";
    case "tailscale_user_mismatch":
      return "AUTH_TAILSCALE_IDENTITY_MISMATCH";
    default:
      return "AUTH_TAILSCALE_IDENTITY_MISSING";
  }
}

function userOf(method: AuthMethod, { tailscale, proxy }: Presented): string | undefined {
  const vouched = method === "tailscale" ? tailscale : method === "trusted-proxy" ? proxy : undefined;
  return vouched?.ok === true ? vouched.user : undefined;
}

function judgeDeviceToken(
  presented: Presented,
  given: readonly CredentialDigest[],
  device: DeviceRecord | undefined,
): Verdict {
  if (given.length === 0) return passed("no credential presented");
  if (!presented.hasDevice) return passed("no device key to bind a device token to");
  if (device === undefined) return unmatchedDeviceToken(presented, "device is not known");
  const record = device.tokens[presented.role];
  if (record === undefined) return unmatchedDeviceToken(presented, `no token for role ${presented.role}`);
  const isPresented = liveHashes(record).some((hash) => given.some((value) => matchesHash(value, hash)));
  if (!isPresented) return unmatchedDeviceToken(presented, "device_token_mismatch");
  if (record.revokedAtMs !== undefined) return wrong("device_token_revoked");
  if (presented.role !== "operator" || holdsScopes(record.scopes, presented.scopes)) return accepted;
  // More than was approved is an upgrade, for a person to decide (auth.md § 8). A token that was made to hold less than its device is
  // approved for keeps to that: the approval must not give back what the rotation took.
  return holdsScopes(device.scopes, presented.scopes) ? wrong("scope_mismatch") : narrower;
}

/** A token in `auth.token` may be meant as a shared one; only `auth.deviceToken` says that it is a device token. */
function unmatchedDeviceToken(presented: Presented, reason: string): Verdict {
  return presented.deviceToken === undefined || presented.deviceToken === "" ? passed(reason) : wrong(reason);
}

/** The configured secret counts in whichever field it came; the mode says whether the method is open at all. */
function judgeShared(policy: AuthPolicy, kind: "token" | "password", given: readonly CredentialDigest[]): Verdict {
  if (policy.mode !== undefined && policy.mode !== kind) return passed(`mode is ${policy.mode}`);
  const secret = policy[kind];
  if (secret === undefined) return passed("not configured");
  if (given.length === 0) return passed("no credential presented");
  return given.some((value) => secret.isShownBy(value)) ? accepted : wrong(`${kind}_mismatch`);
}

/** An invite opens every mode: who made it had the right to let this device in (auth.md § 8). */
function judgeInvited(invite: InviteVerdict | undefined): Verdict {
  if (invite === undefined) return passed("no bootstrap token presented");
  return invite.ok ? accepted : wrong(`bootstrap_token_${invite.refusal}`);
}

function judgeInternal(policy: AuthPolicy, presented: Presented, given: readonly CredentialDigest[]): Verdict {
  const isOwn = isInternalClient(presented.clientId, presented.clientMode) || presented.isLocalService === true;
  if (!isOwn) return passed("not an internal client");
  if (!presented.isDirect) return passed("not a direct loopback connection");
  if (given.length === 0) return passed("no credential presented");
  return given.some((value) => isSharedSecret(policy, value)) ? accepted : wrong("internal_mismatch");
}

function judgeNone(policy: AuthPolicy, given: readonly CredentialDigest[]): Verdict {
  if (policy.mode !== "none") return passed("authentication is on");
  return given.length === 0 ? accepted : wrong("no credential is configured, so none can be right");
}

/** Header and frame name two different tokens, and the frame's is not right for anything. */
function disagrees(policy: AuthPolicy, { header, token, role }: Presented, device: DeviceRecord | undefined): boolean {
  if (!header || !token || header === token) return false;
  const shown = credentialDigest(token);
  if (isSharedSecret(policy, shown)) return false;
  const record = device?.tokens[role];
  return record === undefined || !liveHashes(record).some((hash) => matchesHash(shown, hash));
}

/** The refusal that helps most: about the credential that was shown, else about the one that is missing. */
function explainRefusal(
  policy: AuthPolicy,
  presented: Presented,
  device: DeviceRecord | undefined,
  trace: readonly AuthStep[],
  invite: InviteVerdict | undefined,
): { readonly code: RefusalCode; readonly reason: string } {
  const deviceStep = trace.find(({ method }) => method === "device-token");
  if (deviceStep?.reason === "scope_mismatch") return { code: "AUTH_SCOPE_MISMATCH", reason: "scope_mismatch" };
  if (deviceStep?.reason === "device_token_revoked") {
    return { code: "AUTH_DEVICE_TOKEN_MISMATCH", reason: "device_token_revoked" };
  }
  if (presented.deviceToken) {
    const isRevoked = device !== undefined && device.tokens[presented.role]?.revokedAtMs !== undefined;
    return {
      code: "AUTH_DEVICE_TOKEN_MISMATCH",
      reason: isRevoked ? "device_token_revoked" : "device_token_mismatch",
    };
  }
  if (presented.password) return { code: "AUTH_PASSWORD_MISMATCH", reason: "password_mismatch" };
  if (!presented.token && invite?.ok === false) {
    return { code: "AUTH_BOOTSTRAP_TOKEN_INVALID", reason: `bootstrap_token_${invite.refusal}` };
  }
  if (presented.token || presented.header) return { code: "AUTH_TOKEN_MISMATCH", reason: "token_mismatch" };
  const { tailscale } = presented;
  if (presented.isFromTailnet === true && tailscale?.ok === false && (policy.tailscale ?? "disabled") !== "disabled") {
    return { code: tailscaleCode(tailscale.reason), reason: tailscale.reason };
  }
  if (isProxied(policy, presented)) return byProxyRefused(presented);
  if (!presented.hasDevice) return { code: "DEVICE_IDENTITY_REQUIRED", reason: "device_identity_missing" };
  return missingCredential(policy);
}

/** Where a proxy's word is what counts, its absence is the news; unset modes say so only of what a proxy has forwarded. */
function isProxied(policy: AuthPolicy, { proxy }: Presented): boolean {
  if (proxy === undefined || proxy.ok) return false;
  return (
    policy.mode === "trusted-proxy" || (policy.mode === undefined && proxy.reason.startsWith("trusted_proxy_user"))
  );
}

function byProxyRefused({ proxy }: Presented): { readonly code: RefusalCode; readonly reason: string } {
  return { code: "AUTH_UNAUTHORIZED", reason: proxy?.ok === false ? proxy.reason : "trusted_proxy_untrusted_source" };
}

function missingCredential(policy: AuthPolicy): { readonly code: RefusalCode; readonly reason: string } {
  switch (policy.mode) {
    case "password":
      return policy.password === undefined
        ? { code: "AUTH_PASSWORD_NOT_CONFIGURED", reason: "password_not_configured" }
        : { code: "AUTH_PASSWORD_MISSING", reason: "password_missing" };
    case "token":
      return policy.token === undefined
        ? { code: "AUTH_TOKEN_NOT_CONFIGURED", reason: "token_not_configured" }
        : { code: "AUTH_TOKEN_MISSING", reason: "token_missing" };
    case "trusted-proxy":
      return { code: "AUTH_UNAUTHORIZED", reason: "trusted_proxy_untrusted_source" };
    case "none":
      return { code: "AUTH_REQUIRED", reason: "auth_required" };
    case undefined:
      return policy.token === undefined && policy.password !== undefined
        ? { code: "AUTH_PASSWORD_MISSING", reason: "password_missing" }
        : { code: "AUTH_TOKEN_MISSING", reason: "token_missing" };
  }
}
