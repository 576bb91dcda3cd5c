/**
 * Callers for whom somebody in front of the gateway vouches: a trusted proxy (auth.md § 3), or Tailscale Serve. Each test in its order,
 * each with its own reason; what the tests are about was read from the socket and the headers elsewhere.
 */

export interface ProxyPolicy {
  /** The header that names the user, in lower case; without one no proxy is believed. */
  readonly userHeader: string | undefined;
  readonly requiredHeaders: readonly string[];
  /** Empty: every user. */
  readonly allowUsers: readonly string[];
  /** Unset: a loopback proxy is believed when its very address is listed. */
  readonly allowLoopback: boolean | undefined;
}

/** A connection as the tests of a trusted proxy see it. */
export interface ProxyFacts {
  /** The socket's peer is in the list of trusted proxies. */
  readonly isTrusted: boolean;
  /** Its address stands there by itself, and not as part of a range. */
  readonly isListedLiterally: boolean;
  readonly isLoopback: boolean;
  /** Its address is one of this host's own, and not loopback. */
  readonly isOwnInterface: boolean;
  /** Something says that it has forwarded this connection. */
  readonly isForwarded: boolean;
  /** Every value of a header, in the order in which they came; the name is in lower case. */
  readonly valuesOf: (header: string) => readonly string[];
}

/** `reason` is one of the closed list of auth.md § 3. */
export type Vouched = { readonly ok: true; readonly user: string } | { readonly ok: false; readonly reason: string };

const no = (reason: string): Vouched => ({ ok: false, reason });

// Of nearly every connection: one object for all of them.
const untrusted = no("trusted_proxy_untrusted_source");
const unattributed = no("proxy_attribution_required");

/** Whether this connection's proxy vouches for a user who may come in. Total. */
export function judgeProxy(policy: ProxyPolicy, facts: ProxyFacts): Vouched {
  const { isTrusted, isLoopback, isForwarded } = facts;
  if (!isTrusted) return isForwarded ? unattributed : untrusted;
  if (isLoopback && !(policy.allowLoopback ?? facts.isListedLiterally)) return no("trusted_proxy_loopback_source");
  if (facts.isOwnInterface) return no("trusted_proxy_local_interface_source");
  for (const name of policy.requiredHeaders) {
    if (only(facts.valuesOf(name)) === undefined) return no(`trusted_proxy_missing_header_${name}`);
  }
  if (policy.userHeader === undefined) return no("trusted_proxy_user_header_not_configured");
  const users = facts.valuesOf(policy.userHeader);
  // A second one may be the caller's own, which the proxy has let through.
  if (users.length > 1) return no("trusted_proxy_user_ambiguous");
  const user = only(users);
  if (user === undefined) return no("trusted_proxy_user_missing");
  const isAllowed = policy.allowUsers.length === 0 || policy.allowUsers.includes(user);
  return isAllowed ? { ok: true, user } : no("trusted_proxy_user_not_allowed");
}

/** The one value that says something. */
function only(values: readonly string[]): string | undefined {
  const said = values.map((value) => value.trim()).filter((value) => value !== "");
  return said.length === 1 ? said[0] : undefined;
}

export type TailscaleMode = "disabled" | "enabled" | "require";

/** A connection as the tests of Tailscale Serve see it. */
export interface TailscaleFacts {
  readonly isLoopback: boolean;
  /** It carries a header of Serve's, or was forwarded from an address of a tailnet. */
  readonly isFromTailnet: boolean;
  /** Every value of `Tailscale-User-Login`. */
  readonly logins: readonly string[];
  /** Who the tailnet says has the forwarded address; undefined when it was not asked, `unavailable` when it could not be. */
  readonly whois: { readonly login: string } | "unknown" | "unavailable" | undefined;
}

/** Whether Tailscale Serve vouches for a user. Serve's headers alone could be anybody's on this machine: the tailnet has to confirm them. */
export function judgeTailscale(mode: TailscaleMode, facts: TailscaleFacts): Vouched {
  if (mode === "disabled") return no("tailscale is off");
  if (!facts.isFromTailnet) return no("not from the tailnet");
  if (!facts.isLoopback) return no("tailscale_proxy_missing");
  if (facts.logins.length > 1) return no("tailscale_user_ambiguous");
  const login = only(facts.logins);
  if (login === undefined) return no("tailscale_user_missing");
  switch (facts.whois) {
    case undefined:
    case "unavailable":
      return no("tailscale_whois_unavailable");
    case "unknown":
      return no("tailscale_whois_failed");
    default:
      return facts.whois.login === login ? { ok: true, user: login } : no("tailscale_user_mismatch");
  }
}

/** What users get who are not named in `gateway.auth.identityScopes`: the product's default scopes (protocol.md § 2). */
export const defaultUserScopes: readonly string[] = [
  "operator.admin",
  "operator.read",
  "operator.write",
  "operator.approvals",
  "operator.pairing",
];
