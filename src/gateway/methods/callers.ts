/** Who calls a method, and how far that reaches. */
import { isInternalClient } from "../../pairing/decide-auth.ts";
import { missingScope } from "../../protocol/wire-error.ts";
import type { Decider } from "../records/change-parts.ts";
import type { Session } from "../session.ts";

/** The caller, for the audit line. */
export function deciderOf({ facts }: Session): Decider {
  const { connId, deviceId, remoteAddress: address, displayName, clientId, clientMode } = facts;
  // The gateway's own callers are its owner's hands.
  const isOwn = deviceId === undefined && isInternalClient(clientId, clientMode);
  return { connId, deviceId, address, name: isOwn ? "the gateway's owner" : (displayName ?? clientId) };
}

/** True when a session may see and change only its own device: it came with a device token and is no admin. */
export function isLimitedToOwnDevice(session: Session): boolean {
  return session.facts.authenticatedBy === "device-token" && !session.facts.scopes.includes("operator.admin");
}

/** Who came with a device token and is no admin manages its own device only. */
export function assertOwnDevice(session: Session, deviceId: string): void {
  if (!isLimitedToOwnDevice(session) || session.facts.deviceId === deviceId) return;
  throw missingScope("operator.admin");
}

/** True for who came with a device token and wants that very token replaced: it gains nothing by it, and has no need of anybody's leave. */
export function rotatesOwnToken({ facts }: Session, { deviceId, role }: TokenNamed): boolean {
  return facts.authenticatedBy === "device-token" && facts.deviceId === deviceId && facts.role === role;
}

interface TokenNamed {
  readonly deviceId?: unknown;
  readonly role?: unknown;
}
