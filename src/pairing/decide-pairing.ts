/**
 * The enrolment decision: is this device's key, with this role and these scopes, approved (auth.md §§ 4, 8)? It is asked only
 * of connections that have authenticated.
 */
import type { RefusalCode } from "../protocol/refusals.ts";
import { normalise } from "../protocol/signed-payload.ts";
import { holdsScopes, type Role } from "../protocol/vocabulary.ts";
import { type AuthMethod, isInternalClient } from "./decide-auth.ts";
import type { DeviceRecord, PairingReason } from "./records.ts";

export interface PairingPolicy {
  /** Which operators with the shared secret are enrolled without a person: those on a direct loopback connection, or none. */
  readonly autoApproveOperators: "proven-local" | "loopback" | "never";
  /** Further client ids that may work without a device key, up to their scopes, on a direct loopback connection. */
  readonly trustedLocalServices: readonly { readonly id: string; readonly scopes: readonly string[] }[];
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
  | { readonly ok: "enrol"; readonly via: "local" | "bootstrap"; readonly reason: PairingReason }
  /** A person has to decide. */
  | { readonly ok: "pend"; readonly reason: PairingReason }
  | { readonly ok: "refuse"; readonly code: RefusalCode; readonly message: string };

/** Total over all applicants; `device` is the record of the applicant's key, if it has one. */
export function decidePairing(
  policy: PairingPolicy,
  applicant: Applicant,
  device: DeviceRecord | undefined,
): PairingDecision {
  if (!applicant.hasDevice) return decideWithoutDevice(policy, applicant);
  const reason = lacking(applicant, device);
  // Also of a device that lacks nothing: an invite is used up by whoever comes with it.
  if (applicant.isInvited === true) return { ok: "enrol", via: "bootstrap", reason: reason ?? "not-paired" };
  if (reason === undefined) return { ok: "admit", scopes: applicant.role === "node" ? [] : applicant.scopes };
  if (mayEnrolAlone(policy, applicant, reason)) return { ok: "enrol", via: "local", reason };
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
  if (applicant.authenticatedBy !== "token" && applicant.authenticatedBy !== "password") return false;
  switch (policy.autoApproveOperators) {
    case "proven-local":
      return applicant.isProvenLocal;
    case "loopback":
      return applicant.isDirect;
    case "never":
      return false;
  }
}

/** The gateway's own callers work without a record; a key of theirs must not make them worse off (auth.md § 4, protocol.md § 5). */
function isOwnCaller({ role, clientId, clientMode, isDirect, authenticatedBy }: Applicant): boolean {
  const hasSecret = authenticatedBy === "token" || authenticatedBy === "password" || authenticatedBy === "internal";
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
