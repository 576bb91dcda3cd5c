/**
 * The enrolment decision: is this device's key, with this role and these scopes, approved (auth.md §§ 4, 8)? It is asked only
 * of connections that have authenticated.
 */
import type { RefusalCode } from "../protocol/refusals.ts";
import { normalise } from "../protocol/signed-payload.ts";
import { holdsScopes, type Role } from "../protocol/vocabulary.ts";
import { type AuthMethod, isInternalClient } from "./decide-auth.ts";
import type { ApprovedVia, DeviceRecord, PairingReason } from "./records.ts";
import { defaultUserScopes } from "./vouched.ts";

export interface PairingPolicy {
  /** Which operators with the shared secret are enrolled without a person: those on a direct loopback connection, or none. */
  readonly autoApproveOperators: "proven-local" | "loopback" | "never";
  /** Further client ids that may work without a device key, up to their scopes, on a direct loopback connection. */
  readonly trustedLocalServices: readonly { readonly id: string; readonly scopes: readonly string[] }[];
  /** What users may for whom a proxy or the tailnet vouches. */
  readonly vouched?: VouchedPolicy | undefined;
}

export interface VouchedPolicy {
  /** Scopes by user; others get the default ones, within the cap. */
  readonly scopesOf: Readonly<Record<string, readonly string[]>>;
  readonly cap: readonly string[] | undefined;
  /** Their operator devices are enrolled without a person, with these scopes at the most. */
  readonly enrolDevices: boolean;
}

/** Who wants in, after authentication. */
export interface Applicant {
  readonly role: Role;
  readonly scopes: readonly string[];
  readonly clientId: string;
  readonly clientMode: string;
  readonly platform?: string | undefined;
  readonly deviceFamily?: string | undefined;
  readonly authenticatedBy: AuthMethod;
  /** It came with an invite that nobody has used yet: the approval was given beforehand. */
  readonly isInvited?: boolean;
  readonly isDirect: boolean;
  /** The peer's process was shown to be the gateway's own user and to talk to nobody else (auth.md § 2). */
  readonly isProvenLocal: boolean;
  readonly hasDevice: boolean;
  /** Who a proxy or the tailnet says it is, when that is what let it in. */
  readonly user?: string | undefined;
  /** A page in a browser that comes from an allowed origin. */
  readonly isBrowser?: boolean;
  /** Its address is one from which first-time nodes need no approval. */
  readonly isFromTrustedRange?: boolean;
}

export type PairingDecision =
  /** In, with these scopes. `removed` were asked for and are not granted, for `why`. */
  | {
      readonly ok: "admit";
      readonly scopes: readonly string[];
      readonly removed?: readonly string[];
      readonly why?: string;
    }
  /** In without a person, under a rule; the record is to be written first. */
  | { readonly ok: "enrol"; readonly via: ApprovedVia; readonly reason: PairingReason }
  /** A person has to decide. */
  | { readonly ok: "pend"; readonly reason: PairingReason }
  | { readonly ok: "refuse"; readonly code: RefusalCode; readonly message: string };

/** Total over all applicants; `device` is the record of the applicant's key, if it has one. */
export function decidePairing(
  policy: PairingPolicy,
  applicant: Applicant,
  device: DeviceRecord | undefined,
): PairingDecision {
  if (applicant.user !== undefined && isBrowserSession(applicant)) return admitUser(policy, applicant, applicant.user);
  if (!applicant.hasDevice) return decideWithoutDevice(policy, applicant);
  const reason = lacking(applicant, device);
  // Also of a device that lacks nothing: an invite is used up by whoever comes with it.
  if (applicant.isInvited === true) return { ok: "enrol", via: "bootstrap", reason: reason ?? "not-paired" };
  if (reason === undefined) return { ok: "admit", scopes: applicant.role === "node" ? [] : applicant.scopes };
  if (mayEnrolAlone(policy, applicant, reason)) return { ok: "enrol", via: "local", reason };
  if (mayEnrolVouched(policy, applicant, reason)) return { ok: "enrol", via: "silent", reason };
  // First-time nodes only: an upgrade is for a person (auth.md § 8).
  if (applicant.role === "node" && reason === "not-paired" && applicant.isFromTrustedRange === true) {
    return { ok: "enrol", via: "trusted-cidr", reason };
  }
  return isOwnCaller(applicant) ? { ok: "admit", scopes: applicant.scopes } : { ok: "pend", reason };
}

/** The first thing that the record does not cover, or undefined when it covers everything. */
function lacking(applicant: Applicant, device: DeviceRecord | undefined): PairingReason | undefined {
  if (device === undefined) return "not-paired";
  if (!device.roles.includes(applicant.role)) return "role-upgrade";
  if (applicant.role === "operator" && !holdsScopes(device.scopes, applicant.scopes)) return "scope-upgrade";
  if (differs(device.platform, applicant.platform) || differs(device.deviceFamily, applicant.deviceFamily)) {
    return "metadata-upgrade";
  }
  return undefined;
}

/** A value that was never pinned may be added; one that was may not change on its own. */
function differs(pinned: string | undefined, stated: string | undefined): boolean {
  return pinned !== undefined && pinned !== stated && normalise(pinned) !== normalise(stated);
}

/** Nodes always wait for a person; operators may be let in by who could read the secret on the gateway's host anyway. */
function mayEnrolAlone(policy: PairingPolicy, applicant: Applicant, reason: PairingReason): boolean {
  if (applicant.role !== "operator" || reason === "metadata-upgrade") return false;
  if (!isAsGoodAsTheSecret(applicant.authenticatedBy)) return false;
  switch (policy.autoApproveOperators) {
    case "proven-local":
      return applicant.isProvenLocal;
    case "loopback":
      return applicant.isDirect;
    case "never":
      return false;
  }
}

/** The shared secret, or a peer that could read it anyway (auth.md § 2). */
function isAsGoodAsTheSecret(by: AuthMethod): boolean {
  return by === "token" || by === "password" || by === "local";
}

function mayEnrolVouched(policy: PairingPolicy, applicant: Applicant, reason: PairingReason): boolean {
  const { user, role, scopes } = applicant;
  if (user === undefined || role !== "operator" || reason === "metadata-upgrade") return false;
  return policy.vouched?.enrolDevices === true && holdsScopes(scopesOfUser(policy, user), scopes);
}

/** The dashboard, in the browser of a user whom somebody vouches for, needs no pairing (auth.md § 3). */
function isBrowserSession({ role, clientId, clientMode, isBrowser }: Applicant): boolean {
  const isPage = clientId === "openclaw-control-ui" || clientMode === "webchat";
  return role === "operator" && isBrowser === true && isPage;
}

function admitUser(policy: PairingPolicy, { scopes: asked }: Applicant, user: string): PairingDecision {
  const held = scopesOfUser(policy, user);
  const scopes = asked.filter((scope) => holdsScopes(held, [scope]));
  const removed = asked.filter((scope) => !scopes.includes(scope));
  if (removed.length === 0) return { ok: "admit", scopes };
  return { ok: "admit", scopes, removed, why: `not among the scopes of ${user} (gateway.auth.identityScopes)` };
}

/** What a user may for whom somebody vouches. */
export function scopesOfUser({ vouched }: PairingPolicy, user: string): readonly string[] {
  const own = vouched?.scopesOf ?? {};
  if (Object.hasOwn(own, user)) return own[user] ?? [];
  const { cap } = vouched ?? {};
  return cap === undefined ? defaultUserScopes : defaultUserScopes.filter((scope) => holdsScopes(cap, [scope]));
}

/** The gateway's own callers work without a record; a key of theirs must not make them worse off (auth.md § 4, protocol.md § 5). */
function isOwnCaller({ role, clientId, clientMode, isDirect, authenticatedBy }: Applicant): boolean {
  const hasSecret = isAsGoodAsTheSecret(authenticatedBy) || authenticatedBy === "internal";
  return role === "operator" && isDirect && hasSecret && isInternalClient(clientId, clientMode);
}

function decideWithoutDevice(policy: PairingPolicy, applicant: Applicant): PairingDecision {
  const { clientId, clientMode, scopes, isDirect } = applicant;
  if (applicant.role === "node") {
    return {
      ok: "refuse",
      code: "DEVICE_IDENTITY_REQUIRED",
      message: "device identity required: a node needs a key of its own",
    };
  }
  // Whoever only asks about an invite gets an answer, and holds nothing.
  if (applicant.authenticatedBy === "bootstrap-token") return { ok: "admit", scopes: [] };
  if (isDirect && isInternalClient(clientId, clientMode)) return { ok: "admit", scopes };
  const service = isDirect ? policy.trustedLocalServices.find(({ id }) => id === clientId) : undefined;
  if (service !== undefined) {
    const granted = scopes.filter((scope) => holdsScopes(service.scopes, [scope]));
    const removed = scopes.filter((scope) => !granted.includes(scope));
    return removed.length === 0
      ? { ok: "admit", scopes: granted }
      : { ok: "admit", scopes: granted, removed, why: "outside gateway.trustedLocalServices" };
  }
  if (clientMode === "ui" || clientMode === "webchat") {
    const isControlUi = clientId === "openclaw-control-ui";
    return {
      ok: "refuse",
      code: isControlUi ? "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" : "DEVICE_IDENTITY_REQUIRED",
      message: "device identity required",
    };
  }
  const why = isDirect
    ? "a client of this kind needs a device key to hold scopes"
    : "without a device key only direct loopback connections of the gateway's own clients keep scopes";
  return scopes.length === 0 ? { ok: "admit", scopes } : { ok: "admit", scopes: [], removed: scopes, why };
}
