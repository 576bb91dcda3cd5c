/** A refused connect in words: what the client is sent, and what a person reads on either side. */
import type { InviteVerdict } from "../pairing/invites.ts";
import type { PairingReason } from "../pairing/records.ts";
import { optional } from "../pairing/requests.ts";
import { closeCodes, closeReason } from "../protocol/close.ts";
import type { WireError } from "../protocol/frame.ts";
import type { SasOffer } from "../protocol/sas.ts";
import { refusalClose, type RefusalCode, refusals } from "../protocol/refusals.ts";

export interface ConnectRefusal {
  readonly error: WireError;
  readonly closeCode: number;
  readonly closeReason: string;
}

/** The sentence behind each code, where one fits every case. */
const sentences: Partial<Record<RefusalCode, string>> = {
  AUTH_TOKEN_MISSING: "unauthorized: gateway token missing (give --token-file or OPENCLAW_GATEWAY_TOKEN)",
  AUTH_PASSWORD_MISSING: "unauthorized: gateway password missing (give --password-file or OPENCLAW_GATEWAY_PASSWORD)",
  AUTH_TOKEN_MISMATCH: "unauthorized: gateway token mismatch (it is not the token of this gateway)",
  AUTH_PASSWORD_MISMATCH: "unauthorized: gateway password mismatch",
  AUTH_TOKEN_NOT_CONFIGURED: "unauthorized: this gateway has no token configured",
  AUTH_PASSWORD_NOT_CONFIGURED: "unauthorized: this gateway has no password configured",
  AUTH_DEVICE_TOKEN_MISMATCH: "unauthorized: device token mismatch (it was rotated or never issued here)",
  AUTH_SCOPE_MISMATCH: "unauthorized: the device token does not hold the scopes asked for",
  DEVICE_IDENTITY_REQUIRED: "device identity required",
  CONTROL_UI_DEVICE_IDENTITY_REQUIRED: "device identity required for the control UI",
  CONTROL_UI_ORIGIN_NOT_ALLOWED: "origin not allowed (see gateway.controlUi.allowedOrigins)",
  PROTOCOL_MISMATCH: "protocol mismatch",
};

/** What a refused client may do next, in the product's words for it. */
const nextSteps: Partial<Record<RefusalCode, string>> = {
  AUTH_TOKEN_MISSING: "update_auth_configuration",
  AUTH_PASSWORD_MISSING: "update_auth_configuration",
  AUTH_TOKEN_MISMATCH: "update_auth_credentials",
  AUTH_PASSWORD_MISMATCH: "update_auth_credentials",
  AUTH_DEVICE_TOKEN_MISMATCH: "update_auth_credentials",
  AUTH_RATE_LIMITED: "wait_then_retry",
};

/** The refusal of an authentication, with its reason. */
export function refuseAuth(
  code: RefusalCode,
  reason: string,
  canRetryWithDeviceToken: boolean,
  role: string,
): ConnectRefusal {
  const isRevoked = reason === "device_token_revoked";
  const differs = reason === "header_frame_token_differ";
  const message = isRevoked
    ? "unauthorized: this device's token was revoked; the device has to be approved again"
    : differs
      ? "unauthorized: the Authorization header and the connect frame carry different tokens"
      : (sentences[code] ?? vouchedSentence(reason) ?? "unauthorized");
  const next = canRetryWithDeviceToken ? "retry_with_device_token" : (nextSteps[code] ?? "review_auth_configuration");
  return refuseConnect(code, message, {
    authReason: reason,
    canRetryWithDeviceToken,
    recommendedNextStep: next,
    ...(role === "node" && (vouchedSentence(reason) !== undefined || code === "DEVICE_IDENTITY_REQUIRED")
      ? { remediationHint: enrolNode }
      : {}),
  });
}

/** Why nobody's word on a user was taken; undefined for other reasons. */
export function vouchedSentence(reason: string): string | undefined {
  const what =
    vouchedSentences[reason] ??
    (reason.startsWith("trusted_proxy_missing_header_") ? "a header that the proxy must set is missing" : undefined);
  return what === undefined ? undefined : `unauthorized: ${what} (${reason})`;
}

const vouchedSentences: Readonly<Record<string, string>> = {
  proxy_attribution_required: "it was forwarded by somebody who is not in gateway.trustedProxies",
  trusted_proxy_untrusted_source: "this gateway lets in whom its proxy names, and this did not come through it",
  trusted_proxy_loopback_source: "a proxy on loopback is not believed here (gateway.auth.trustedProxy.allowLoopback)",
  trusted_proxy_local_interface_source: "a proxy on one of this host's own addresses is not believed",
  trusted_proxy_user_header_not_configured: "gateway.auth.trustedProxy.userHeader is not set",
  trusted_proxy_user_missing: "the proxy names no user",
  trusted_proxy_user_ambiguous: "the user's header stands there more than once",
  trusted_proxy_user_not_allowed: "the user is not in gateway.auth.trustedProxy.allowUsers",
  tailscale_proxy_missing: "it says that it is from the tailnet, and did not come through Tailscale Serve",
  tailscale_user_missing: "Tailscale Serve names no user",
  tailscale_user_mismatch: "the tailnet names another user for this address",
  tailscale_whois_failed: "the tailnet does not know this address",
  tailscale_whois_unavailable: "the tailnet could not be asked who this is (gateway.tailscale.whoisCommand)",
};

/** The refusal of an invite, with all that its holder may know of its end. */
export function refuseInvite({ refusal, message, invite }: InviteVerdict & { readonly ok: false }): ConnectRefusal {
  return refuseConnect("AUTH_BOOTSTRAP_TOKEN_INVALID", `unauthorized: ${message}`, {
    authReason: `bootstrap_token_${refusal}`,
    inviteState: refusal,
    why: message,
    ...optional("setupId", invite?.inviteId),
    ...optional("expiresAtMs", invite?.expiresAtMs),
    ...optional("usedAtMs", invite?.usedAtMs),
    ...optional("usedBy", invite?.usedBy),
    ...optional("usedByName", invite?.usedByName),
    ...optional("withdrawnAtMs", invite?.withdrawnAtMs),
    ...optional("forDeviceId", invite?.forDeviceId),
    canRetryWithDeviceToken: false,
    recommendedNextStep: "update_auth_credentials",
  });
}

/** The refusal of an address that has tried too many wrong secrets. */
export function refuseAttempts(retryAfterMs: number): ConnectRefusal {
  const refusal = refuseConnect(
    "AUTH_RATE_LIMITED",
    "unauthorized: too many wrong credentials from this address; wait",
    {
      authReason: "rate_limited",
      canRetryWithDeviceToken: false,
      recommendedNextStep: "wait_then_retry",
    },
  );
  return { ...refusal, error: { ...refusal.error, retryable: true, retryAfterMs } };
}

const pairingSentences: Record<PairingReason, { readonly what: string; readonly remedy: string }> = {
  "not-paired": {
    what: "device is not approved yet",
    remedy: "Approve this device from the pending pairing requests.",
  },
  "role-upgrade": {
    what: "device is asking for a role it is not approved for",
    remedy: "Review the requested role, then approve the pending request.",
  },
  "scope-upgrade": {
    what: "device is asking for more scopes than it is approved for",
    remedy: "Review the requested scopes, then approve the pending request.",
  },
  "metadata-upgrade": {
    what: "device says it runs on another platform than the approved one",
    remedy: "Check that this is still the same device, then approve the pending request.",
  },
};

export interface PairingRefusalFacts {
  readonly reason: PairingReason;
  readonly requestId: string;
  readonly deviceId: string;
  readonly role: string;
  readonly scopes: readonly string[];
  readonly approvedRoles?: readonly string[] | undefined;
  readonly approvedScopes?: readonly string[] | undefined;
  /** Set when this role was taken away from the device. */
  readonly revokedAtMs?: number | undefined;
  /** Somebody in front of the gateway vouches for a user: that enrols no node. */
  readonly user?: string | undefined;
  /** The gateway's side of the pairing code. */
  readonly sas?: SasOffer | undefined;
  /** Set when a person said no; `reason` is theirs. */
  readonly rejected?: { readonly reason?: string | undefined } | undefined;
}

/** The refusal of a device that waits for a person, or was told no. */
export function refusePairing(facts: PairingRefusalFacts): ConnectRefusal {
  const { what, remedy } = pairingSentences[facts.reason];
  const why = facts.rejected === undefined ? what : `the request was rejected${suffix(facts.rejected.reason)}`;
  const refusal = refuseConnect("PAIRING_REQUIRED", `pairing required: ${why}`, {
    reason: facts.reason,
    requestId: facts.requestId,
    remediationHint: facts.user !== undefined && facts.role === "node" ? enrolNode : remedy,
    deviceId: facts.deviceId,
    requestedRole: facts.role,
    requestedScopes: facts.scopes,
    ...(facts.approvedRoles === undefined ? {} : { approvedRoles: facts.approvedRoles }),
    ...(facts.approvedScopes === undefined ? {} : { approvedScopes: facts.approvedScopes }),
    ...(facts.revokedAtMs === undefined ? {} : { revokedAtMs: facts.revokedAtMs }),
    ...(facts.rejected === undefined ? {} : { rejected: true, rejectedReason: facts.rejected.reason }),
    ...optional("sas", facts.sas),
    ...(mayWait(facts) ? keepAsking : {}),
  });
  return { ...refusal, closeReason: closeReason(`${refusal.error.message} (requestId: ${facts.requestId})`) };
}

/** A node never gets in by a proxy's word alone (auth.md § 3). */
const enrolNode =
  "A proxy's word enrols no node: it needs a key of its own, and an approval or an invite (openclaw pair invite); or let it come to loopback through a tunnel.";

/** Nodes of 2026.9.6 stop asking unless they are told this, and would need a restart after their approval. */
const keepAsking = { recommendedNextStep: "wait_then_retry", retryable: true, pauseReconnect: false } as const;

/** A node may go on by itself once it is approved. One that was told no, or whose role was taken away, is not asked to insist. */
function mayWait({ role, rejected, revokedAtMs }: PairingRefusalFacts): boolean {
  return role === "node" && rejected === undefined && revokedAtMs === undefined;
}

/** The refusal of a device that would have to wait for a person while too many others do. */
export const refuseForNow: ConnectRefusal = {
  error: {
    code: "UNAVAILABLE",
    message: "too many pairing requests wait already; approve or reject some, or wait five minutes",
    retryable: true,
    retryAfterMs: 60_000,
    details: { code: "TOO_MANY_REQUESTS" },
  },
  closeCode: closeCodes.tryAgainLater,
  closeReason: "too many pairing requests",
};

/** The refusal with this code: error frame, close code and close reason. */
export function refuseConnect(
  code: RefusalCode,
  message: string = sentences[code] ?? "unauthorized",
  details: Readonly<Record<string, unknown>> = {},
): ConnectRefusal {
  return {
    error: { code: refusals[code].wire, message, details: { code, ...details } },
    closeCode: refusalClose(code),
    closeReason: closeReason(message),
  };
}

function suffix(reason: string | undefined): string {
  return reason === undefined ? "" : `: ${reason}`;
}
