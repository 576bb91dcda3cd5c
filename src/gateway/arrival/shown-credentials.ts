/** What a connect shows for itself: which credentials, of which kinds, how often wrong, and whether it needs any. */
import type { LocalVerdict } from "../../pairing/decide-auth.ts";
import type { InviteVerdict } from "../../pairing/invites.ts";
import type { TokenRecord } from "../../pairing/records.ts";
import { liveHashes } from "../../pairing/token-handover.ts";
import type { Role } from "../../protocol/vocabulary.ts";
import { hashSecret } from "../../secret.ts";
import type { CredentialClass } from "./attempt-limit.ts";
import type { Arrival, Gatehouse, ShownToken } from "../gatehouse.ts";
import { proveLocal } from "./local-peer.ts";
import type { Peer } from "./peer.ts";

export function presented({ params, header, peer }: Arrival, role: Role, scopes: readonly string[]) {
  const { token, password, deviceToken, bootstrapToken } = params.auth ?? {};
  return {
    header,
    token,
    password,
    deviceToken,
    bootstrapToken,
    role,
    scopes,
    clientId: params.client.id,
    clientMode: params.client.mode,
    isDirect: peer.isDirect,
  };
}

/** Which of the credentials is this device token, in one of its generations. */
export function shownToken({ params, header }: Arrival, record: TokenRecord | undefined): ShownToken | undefined {
  if (record === undefined) return undefined;
  const { deviceToken, token, password } = params.auth ?? {};
  const hashes = liveHashes(record);
  for (const value of new Set([deviceToken, token, header, password])) {
    const shown = value === undefined ? undefined : hashSecret(value);
    // The record's own text, for a session that lasts to hold no copy.
    const hash = hashes.find((one) => one === shown);
    if (value !== undefined && hash !== undefined) return { token: value, hash };
  }
  return undefined;
}

/** The kinds of credentials that a connect shows. */
export function classesOf({ header, params }: Arrival): readonly CredentialClass[] {
  const { token, password, deviceToken, bootstrapToken } = params.auth ?? {};
  const shown: [CredentialClass, string | undefined][] = [
    ["password", password],
    ["device-token", deviceToken],
    ["bootstrap-token", bootstrapToken],
  ];
  const inFields = shown.filter(([, value]) => value !== undefined && value !== "");
  // Our own clients show the same in the header: it is no second one.
  const isOfField = inFields.some(([, value]) => value === header);
  const isToken = (token ?? "") !== "" || ((header ?? "") !== "" && !isOfField);
  return [...(isToken ? (["token"] as const) : []), ...inFields.map(([kind]) => kind)];
}

/** Only wrong credentials count. A dead invite is not wrong: who holds it was let in on its secret. */
export function countWrong(
  { attempts }: Gatehouse,
  { clientAddress }: Peer,
  classes: readonly CredentialClass[],
  invite: InviteVerdict | undefined,
): void {
  for (const kind of classes) {
    if (kind !== "bootstrap-token" || invite?.invite === undefined) attempts.wrong(clientAddress, kind);
  }
}

/**
 * Whether the peer is proven local: asked of those who show nothing, and of those who are locked out, which a proven local peer never
 * is. It costs a look at the whole process table, so nobody else is asked about here.
 */
export async function proofOfLocal(
  { policy, attempts, ownPort, proveLocal: prove = proveLocal }: Gatehouse,
  { peer }: Arrival,
  classes: readonly CredentialClass[],
): Promise<LocalVerdict | undefined> {
  if (!peer.isDirect) return { isProven: false, reason: peer.notDirectBecause ?? "not-direct" };
  const showsNothing = classes.length === 0 && policy.auth.loopback !== false && policy.auth.mode !== "none";
  const isLocked = attempts.lockedForMs(peer.clientAddress, classes) !== undefined;
  return showsNothing || isLocked ? prove(peer, ownPort()) : undefined;
}
