/** The second gate: an approved key, or a request for one; and the facts of the session that comes out of it. */
import type { AuthDecision, AuthMethod } from "../pairing/decide-auth.ts";
import { type Applicant, decidePairing, type PairingDecision } from "../pairing/decide-pairing.ts";
import type { InviteVerdict } from "../pairing/invites.ts";
import type { ApprovedVia, DeviceRecord, PairingReason } from "../pairing/records.ts";
import { type DeviceAsk, optional } from "../pairing/requests.ts";
import type { ConnectParams } from "../protocol/handshake.ts";
import type { Role } from "../protocol/vocabulary.ts";
import { type CredentialDigest, credentialDigest } from "../secret.ts";
import type { Decider } from "./records/change-parts.ts";
import { type Admission, type Arrival, type Gatehouse, turnedAway } from "./gatehouse.ts";
import { proveLocal } from "./arrival/local-peer.ts";
import type { GatewayPolicy } from "./options.ts";
import { isLoopbackAddress, type Peer } from "./arrival/peer.ts";
import { type ConnectRefusal, refuseConnect, refuseForNow, refuseInvite, refusePairing } from "./refusal.ts";
import type { ArrivedBy, RemovedScopes, SessionFacts, Standing } from "./session.ts";
import { shownToken } from "./arrival/shown-credentials.ts";
import { accepted, passed, refused, type TraceStep } from "./trace.ts";

/** What every node holds of an operator's scopes: the one empty list. */
const none: readonly string[] = [];

export interface Authenticated {
  readonly role: Role;
  /** The scopes asked for, as far as they exist here. */
  readonly scopes: readonly string[];
  readonly unknownScopes: readonly string[];
  readonly protocol: number;
  readonly auth: AuthDecision & { readonly ok: true };
  readonly publicKey: string | undefined;
  readonly device: DeviceRecord | undefined;
  /** The invite that let it in, when one did. */
  readonly invite: (InviteVerdict & { readonly ok: true }) | undefined;
}

/** Lets in who is approved, enrols who may be without a person, and writes down what everybody else asks for. */
export async function enrol(
  house: Gatehouse,
  arrival: Arrival,
  known: Authenticated,
  trace: TraceStep[],
): Promise<Admission> {
  const { params, peer, connId } = arrival;
  const { auth, role, publicKey } = known;
  const decision = await decideEnrolment(house, arrival, known, trace);
  trace.push(enrolmentStep(decision));
  const name = params.client.displayName ?? params.client.id;
  const by: Decider = { connId, deviceId: params.device?.id ?? arrival.bearerOf, address: peer.address, name };
  switch (decision.ok) {
    case "refuse":
      return turnedAway(refuseConnect(decision.code, decision.message));
    case "pend":
      return turnedAway(await pend(house, arrival, known, decision.reason));
    case "enrol": {
      const ask = askOf(arrival, known, publicKey ?? "", decision.reason);
      const enrolled = await enrolDevice(house, arrival, known, { ask, via: decision.via }, by);
      if (!enrolled.ok) {
        trace.push(refused("enrolment", enrolled.message));
        return turnedAway(refuseInvite(enrolled));
      }
      const { device } = enrolled;
      const facts = factsOf(house, arrival, { ...known, device }, known.scopes);
      return { ok: true, facts, device, shown: undefined, removedScopes: removedScopes(known) };
    }
    case "admit": {
      // The gateway's own callers get in without the role; no token is issued for one that nobody approved.
      const device = known.device?.roles.includes(role) === true ? known.device : undefined;
      const facts = factsOf(
        house,
        arrival,
        { ...known, device },
        decision.scopes.length === 0 ? none : decision.scopes,
      );
      const shown = auth.by === "device-token" ? shownToken(arrival, known.device?.tokens[role]) : undefined;
      return { ok: true, facts, device, shown, removedScopes: removedScopes(known, decision.removed, decision.why) };
    }
  }
}

/** Writes the device down; with an invite only when that is still to be had. */
async function enrolDevice(
  house: Gatehouse,
  { params }: Arrival,
  { invite }: Authenticated,
  { ask, via }: { readonly ask: DeviceAsk; readonly via: ApprovedVia },
  by: Decider,
): Promise<{ readonly ok: true; readonly device: DeviceRecord } | (InviteVerdict & { readonly ok: false })> {
  if (invite === undefined) return { ok: true, device: await house.devices.enrol(ask, via, by) };
  const declared = house.surfaces.cutToPolicy(declaredIn(params), params.client.platform);
  return house.invites.use(invite.invite.inviteId, { ask, declared }, by);
}

function enrolmentStep(decision: PairingDecision): TraceStep {
  switch (decision.ok) {
    case "admit":
      return accepted("enrolment", decision.why ?? "approved");
    case "enrol":
      return accepted("enrolment", `${decision.reason}, enrolled via ${decision.via}`);
    case "pend":
      return refused("enrolment", `${decision.reason}, a person has to approve`);
    case "refuse":
      return refused("enrolment", decision.message);
  }
}

/** Everything that was asked for and is not granted, with every reason for it. */
function removedScopes(
  { unknownScopes }: Authenticated,
  removed: readonly string[] = [],
  why = "",
): RemovedScopes | undefined {
  const reasons = [
    ...(removed.length === 0 ? [] : [why]),
    ...(unknownScopes.length === 0 ? [] : [`this gateway knows no ${unknownScopes.slice(0, 8).join(", ")}`]),
  ];
  if (reasons.length === 0) return undefined;
  return { scopes: [...removed, ...unknownScopes], why: reasons.join("; ") };
}

/** Whether the peer is proven local costs a look at the whole process table: it is asked only where the answer decides. */
async function decideEnrolment(
  house: Gatehouse,
  arrival: Arrival,
  known: Authenticated,
  trace: TraceStep[],
): Promise<PairingDecision> {
  const { pairing } = house.policy;
  const applicant = applicantOf(house, arrival, known);
  const decide = (isProvenLocal: boolean) => decidePairing(pairing, { ...applicant, isProvenLocal }, known.device);
  if (known.auth.by === "local") return decide(true);
  const decision = decide(false);
  if (decision.ok === "enrol" || decide(true).ok !== "enrol") return decision;
  const { peer } = arrival;
  const proof = await (house.proveLocal ?? proveLocal)(peer, house.ownPort());
  const doubt = proof.isProven || proof.reason === "not-direct" ? peer.notDirectBecause : proof.reason;
  trace.push(proof.isProven ? accepted("local-peer", "proven") : passed("local-peer", doubt ?? "not-direct"));
  return decide(proof.isProven);
}

async function pend(
  house: Gatehouse,
  arrival: Arrival,
  known: Authenticated,
  reason: PairingReason,
): Promise<ConnectRefusal> {
  const { role, publicKey, device } = known;
  const ask = askOf(arrival, known, publicKey ?? "", reason);
  const asked = await house.devices.request(ask, arrival.params.sas);
  if (asked === undefined) return refuseForNow;
  const { request, sas } = asked;
  const { resolution } = request;
  return refusePairing({
    reason,
    requestId: request.requestId,
    deviceId: request.deviceId,
    role,
    scopes: request.scopes,
    approvedRoles: device?.roles,
    approvedScopes: device?.scopes,
    revokedAtMs: device?.tokens[role]?.revokedAtMs,
    sas,
    user: known.auth.user,
    rejected: resolution?.decision === "rejected" ? { reason: resolution.note } : undefined,
  });
}

function applicantOf(
  { policy }: Gatehouse,
  { params, peer }: Arrival,
  { role, scopes, auth, publicKey, invite }: Authenticated,
): Omit<Applicant, "isProvenLocal"> {
  return {
    role,
    scopes,
    clientId: params.client.id,
    clientMode: params.client.mode,
    platform: params.client.platform,
    deviceFamily: params.client.deviceFamily,
    authenticatedBy: auth.by,
    isInvited: invite?.use === "first",
    isDirect: peer.isDirect,
    hasDevice: publicKey !== undefined,
    user: auth.user,
    // Another one was turned away before.
    isBrowser: peer.origin !== undefined,
    isFromTrustedRange: isFromTrustedRange(policy, peer),
  };
}

/** Never of this machine: whatever comes from loopback may have come from anywhere. */
function isFromTrustedRange({ autoApprove }: GatewayPolicy, { isLoopback, isProxied, clientAddress }: Peer): boolean {
  return (!isLoopback || isProxied) && !isLoopbackAddress(clientAddress) && autoApprove.has(clientAddress);
}

function askOf(
  { params, peer, bearerOf }: Arrival,
  { role, scopes, device }: Authenticated,
  publicKey: string,
  reason: PairingReason,
): DeviceAsk {
  const { client } = params;
  return {
    deviceId: params.device?.id ?? bearerOf ?? "",
    publicKey,
    ...(bearerOf === undefined ? {} : { keyless: true }),
    ...optional("displayName", client.displayName),
    platform: client.platform,
    ...optional("deviceFamily", client.deviceFamily),
    clientId: client.id,
    clientMode: client.mode,
    remoteIp: peer.clientAddress,
    role,
    scopes,
    reason,
    isRepair: device !== undefined,
  };
}

function factsOf(
  house: Gatehouse,
  { connId, params, peer, header }: Arrival,
  { role, protocol, auth, device }: Authenticated,
  scopes: readonly string[],
): SessionFacts {
  const { client } = params;
  const declared = declaredIn(params);
  return {
    connId,
    role,
    scopes,
    deviceId: device?.deviceId,
    authenticatedBy: auth.by,
    clientId: client.id,
    clientMode: client.mode,
    clientVersion: client.version,
    displayName: client.displayName,
    platform: client.platform,
    deviceFamily: client.deviceFamily,
    modelIdentifier: client.modelIdentifier,
    instanceId: client.instanceId,
    pathEnv: params.pathEnv,
    protocol,
    // A probe only shows its credential: it serves nothing, and takes nobody's place.
    declared:
      role === "node" && client.mode !== "probe" ? house.surfaces.cutToPolicy(declared, client.platform) : undefined,
    remoteAddress: peer.clientAddress,
    connectedAtMs: house.runtime.now(),
    standing: standingOf(auth, { params, peer, header }),
  };
}

function standingOf(
  { by, user }: Authenticated["auth"],
  { params, peer, header }: Pick<Arrival, "params" | "peer" | "header">,
): Standing | undefined {
  const place = arrivedBy(peer, user);
  const shown = shownOfPolicy(by, [header, ...Object.values(params.auth ?? {})]);
  return place === undefined && shown === undefined ? undefined : { arrivedBy: place, user, shown };
}

function arrivedBy(peer: Peer, user: string | undefined): ArrivedBy | undefined {
  const { address, isLoopback, isProxied, host, origin, isFromTailnet } = peer;
  if (user === undefined && origin === undefined && !isFromTailnet) return undefined;
  return { address, isLoopback, isProxied, host, origin, isFromTailnet };
}

/** Digests of what is in the configuration, and may change there while a session lasts. */
function shownOfPolicy(
  by: AuthMethod,
  shown: readonly (string | undefined)[],
): readonly CredentialDigest[] | undefined {
  if (by !== "token" && by !== "password" && by !== "internal") return undefined;
  return shown.filter((value) => value !== undefined && value !== "").map((value) => credentialDigest(value ?? ""));
}

function declaredIn({ caps = [], commands = [], permissions }: ConnectParams) {
  return { caps, commands, ...optional("permissions", permissions) };
}
