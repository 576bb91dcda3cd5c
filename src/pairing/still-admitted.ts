/** Whether what let a session in would let it in under a policy that has changed since (auth.md § 1). Which device tokens live is the store's business. */
import { holdsScopes, jsonRpcClientId } from "../protocol/vocabulary.ts";
import type { CredentialDigest } from "../secret.ts";
import { type AuthMethod, type AuthPolicy, isInternalClient, isSharedSecret } from "./decide-auth.ts";
import { type PairingPolicy, scopesOfUser } from "./decide-pairing.ts";

/** What let a session in, without any secret. */
export interface Evidence {
  readonly by: AuthMethod;
  /** Digests of what it showed. */
  readonly shown: readonly CredentialDigest[];
  readonly user?: string | undefined;
  readonly isFromTailnet: boolean;
  readonly hasDevice: boolean;
  /** Undefined for an HTTP request, which says nothing about what sends it. */
  readonly clientId: string | undefined;
  readonly clientMode: string;
  readonly scopes: readonly string[];
}

/** What of the new policy was looked up for this session's connection. */
export interface Standing {
  /** The proxy in front of it still vouches for its user. */
  readonly isProxyTrusted: boolean;
  readonly isOriginAllowed: boolean;
}

/** Why the session has to end, or undefined when it may go on. */
export function lostBecause(
  auth: AuthPolicy,
  pairing: PairingPolicy,
  evidence: Evidence,
  { isProxyTrusted, isOriginAllowed }: Standing,
): string | undefined {
  const { by, user, scopes } = evidence;
  if (!isOriginAllowed) return "its origin is no longer allowed";
  if (auth.tailscale === "require" && evidence.isFromTailnet && by !== "tailscale") {
    return "the tailnet's users only come in by name now";
  }
  const lost = lostMethod(auth, evidence, isProxyTrusted);
  if (lost !== undefined) return lost;
  if (user !== undefined && !evidence.hasDevice && !holdsScopes(scopesOfUser(pairing, user), scopes)) {
    return `${user} has fewer scopes now`;
  }
  return evidence.hasDevice || user !== undefined ? undefined : lostAsService(pairing, evidence);
}

function lostMethod(auth: AuthPolicy, evidence: Evidence, isProxyTrusted: boolean): string | undefined {
  const { by, shown } = evidence;
  switch (by) {
    case "local":
      return auth.loopback === false ? "local callers need a credential now" : undefined;
    case "token":
    case "password":
      if (auth.mode !== undefined && auth.mode !== by) return `the mode is ${auth.mode} now`;
      return shown.some((digest) => auth[by]?.isShownBy(digest) === true) ? undefined : `the ${by} was changed`;
    case "internal":
      return shown.some((digest) => isSharedSecret(auth, digest)) ? undefined : "the shared secret was changed";
    case "tailscale":
      return (auth.tailscale ?? "disabled") === "disabled" ? "Tailscale's word no longer counts" : undefined;
    case "trusted-proxy":
      if (auth.mode !== undefined && auth.mode !== "trusted-proxy") return `the mode is ${auth.mode} now`;
      return isProxyTrusted ? undefined : "its proxy or its user is no longer trusted";
    case "none":
      return auth.mode === "none" ? undefined : "a credential is needed now";
    case "device-token":
    case "bootstrap-token":
      return undefined;
  }
}

/** A program without a device key holds scopes as the gateway's own client, or because it is listed. */
function lostAsService(pairing: PairingPolicy, { clientId, clientMode, scopes }: Evidence): string | undefined {
  if (clientId === undefined || scopes.length === 0 || isInternalClient(clientId, clientMode)) return undefined;
  const service = pairing.trustedLocalServices.find(({ id }) => id === clientId);
  // The dialect need not be listed to hold what the shared secret allows; where it is, it holds no more than that.
  if (service === undefined && clientId === jsonRpcClientId) return undefined;
  return service !== undefined && holdsScopes(service.scopes, scopes)
    ? undefined
    : `${clientId} is no longer trusted with its scopes`;
}
