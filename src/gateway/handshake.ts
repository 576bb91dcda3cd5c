/**
 * What a gateway makes of a connect: the gates in their order, each a decision of its own room, and the facts of the session that
 * comes out at the end. Protocol, role, origin, device proof, authentication, enrolment, command surface.
 */
import { type DeviceProof, proofFailures, verifyProof } from "../identity/signature.ts";
import { type AuthDecision, decideAuth } from "../pairing/decide-auth.ts";
import { type Applicant, decidePairing, type PairingDecision } from "../pairing/decide-pairing.ts";
import type { DeviceRecord, PairingReason } from "../pairing/records.ts";
import { type DeviceAsk, optional } from "../pairing/requests.ts";
import { closeCodes, closeReason } from "../protocol/close.ts";
import { agreeOnProtocol, type ConnectParams, invalidRole } from "../protocol/handshake.ts";
import { maxClockSkewMs } from "../protocol/limits.ts";
import type { RefusalCode } from "../protocol/refusals.ts";
import { signedToken } from "../protocol/signed-payload.ts";
import { isRole, protocolRange, type Role } from "../protocol/vocabulary.ts";
import type { Runtime } from "../runtime.ts";
import type { Decider } from "./change-parts.ts";
import type { Devices } from "./devices.ts";
import type { Surfaces } from "./surfaces.ts";
import { proveLocal } from "./local-peer.ts";
import type { GatewayPolicy } from "./options.ts";
import { isAllowedOrigin, type Peer } from "./peer.ts";
import { type ConnectRefusal, refuseAuth, refuseConnect, refuseForNow, refusePairing } from "./refusal.ts";
import type { SessionFacts } from "./session.ts";
import type { Tables } from "./tables.ts";

/** What the gates need to know besides the connect itself. */
export interface Gatehouse {
  readonly policy: GatewayPolicy;
  readonly tables: Tables;
  readonly devices: Devices;
  readonly surfaces: Surfaces;
  readonly runtime: Runtime;
  /** The port that this gateway listens on. */
  readonly ownPort: () => number;
}

/** One connection at the gates. */
export interface Arrival {
  readonly connId: string;
  readonly nonce: string;
  readonly peer: Peer;
  /** The value behind `Authorization: Bearer` of the upgrade. */
  readonly header: string | undefined;
  readonly params: ConnectParams;
}

export type Admission =
  | {
      readonly ok: true;
      readonly facts: SessionFacts;
      readonly device: DeviceRecord | undefined;
      readonly removedScopes: { readonly scopes: readonly string[]; readonly why: string } | undefined;
      readonly auth: AuthDecision;
    }
  | { readonly ok: false; readonly refusal: ConnectRefusal; readonly auth?: AuthDecision };

/** Takes a connect through every gate. Total: whatever the params say, there is an answer. */
export async function admit(house: Gatehouse, arrival: Arrival): Promise<Admission> {
  const { policy } = house;
  const { params, peer } = arrival;
  const protocol = agreeOnProtocol(params);
  if (protocol === undefined) return refused(protocolMismatch(params));
  const role = params.role ?? "operator";
  if (!isRole(role)) return refused({ error: invalidRole, closeCode: closeCodes.policy, closeReason: "invalid role" });
  if (peer.origin !== undefined && !isAllowedOrigin(peer.origin, peer.host, policy.allowedOrigins)) {
    return refused(refuseConnect("CONTROL_UI_ORIGIN_NOT_ALLOWED"));
  }
  const proof = checkProof(house, arrival, role);
  if (proof !== undefined && !proof.ok) return refused(refuseProof(proof));

  await house.tables.refresh();
  const device = proof === undefined ? undefined : house.tables.devices.get(proof.deviceId);
  const auth = decideAuth(policy.auth, { ...presented(arrival, role), hasDevice: proof !== undefined }, device);
  if (!auth.ok) {
    const mayRetry =
      auth.code === "AUTH_TOKEN_MISMATCH" && proof !== undefined && params.auth?.deviceToken === undefined;
    return { ok: false, refusal: refuseAuth(auth.code, auth.reason, mayRetry), auth };
  }
  return enrol(house, arrival, { role, protocol, auth, publicKey: proof?.publicKey, device });
}

interface Authenticated {
  readonly role: Role;
  readonly protocol: number;
  readonly auth: AuthDecision & { readonly ok: true };
  readonly publicKey: string | undefined;
  readonly device: DeviceRecord | undefined;
}

/** The second gate: an approved key, or a request for one. */
async function enrol(house: Gatehouse, arrival: Arrival, known: Authenticated): Promise<Admission> {
  const { params, peer, connId } = arrival;
  const { role, auth, publicKey } = known;
  const decision = await decideEnrolment(house, arrival, known);
  const by: Decider = { connId, deviceId: params.device?.id, address: peer.address };
  switch (decision.ok) {
    case "refuse":
      return { ok: false, refusal: refuseConnect(decision.code, decision.message), auth };
    case "pend":
      return { ok: false, refusal: await pend(house, arrival, known, decision.reason), auth };
    case "enrol": {
      const ask = askOf(arrival, role, publicKey ?? "", decision.reason, known.device);
      const device = await house.devices.enrol(ask, decision.via, by);
      return {
        ok: true,
        facts: factsOf(house, arrival, { ...known, device }, params.scopes ?? []),
        device,
        removedScopes: undefined,
        auth,
      };
    }
    case "admit": {
      const removedScopes =
        decision.removed === undefined ? undefined : { scopes: decision.removed, why: decision.why ?? "" };
      // The gateway's own callers get in without the role; no token is issued for one that nobody approved.
      const device = known.device?.roles.includes(role) === true ? known.device : undefined;
      const facts = factsOf(house, arrival, { ...known, device }, decision.scopes);
      return { ok: true, facts, device, removedScopes, auth };
    }
  }
}

/** Whether the peer is proven local costs a look at the whole process table: it is asked only where the answer decides. */
async function decideEnrolment(house: Gatehouse, arrival: Arrival, known: Authenticated): Promise<PairingDecision> {
  const { pairing } = house.policy;
  const decide = (isProvenLocal: boolean) =>
    decidePairing(pairing, { ...applicantOf(arrival, known), isProvenLocal }, known.device);
  const decision = decide(false);
  if (decision.ok === "enrol" || !arrival.peer.isDirect || decide(true).ok !== "enrol") return decision;
  return decide((await proveLocal(arrival.peer, house.ownPort())).isProven);
}

async function pend(
  house: Gatehouse,
  arrival: Arrival,
  { role, publicKey, device }: Authenticated,
  reason: PairingReason,
): Promise<ConnectRefusal> {
  const ask = askOf(arrival, role, publicKey ?? "", reason, device);
  const request = await house.devices.request(ask);
  if (request === undefined) return refuseForNow;
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
    rejected: resolution?.decision === "rejected" ? { reason: resolution.note } : undefined,
  });
}

type ProofOutcome =
  | { readonly ok: true; readonly deviceId: string; readonly publicKey: string }
  | { readonly ok: false; readonly code: RefusalCode; readonly reason: string; readonly skewMs?: number | undefined };

/** The device's signature over our nonce and the credential; undefined when the connect carries no device. */
function checkProof(house: Gatehouse, { params, nonce }: Arrival, role: Role): ProofOutcome | undefined {
  const { device, client } = params;
  if (device === undefined) return undefined;
  const proof: DeviceProof = device;
  const result = verifyProof(proof, {
    nonce,
    nowMs: house.runtime.now(),
    maxSkewMs: maxClockSkewMs,
    fields: {
      clientId: client.id,
      clientMode: client.mode,
      role,
      scopes: params.scopes ?? [],
      token: signedToken(params.auth ?? {}),
      platform: client.platform,
      deviceFamily: client.deviceFamily,
    },
  });
  if (result.ok) return { ok: true, deviceId: device.id, publicKey: result.publicKey };
  return { ok: false, code: result.code, reason: proofFailures[result.code], skewMs: result.skewMs };
}

function refuseProof({ code, reason, skewMs }: ProofOutcome & { readonly ok: false }): ConnectRefusal {
  if (skewMs === undefined) return refuseConnect(code, `device proof refused: ${reason}`, { reason });
  const direction = skewMs > 0 ? "ahead of" : "behind";
  const message = `device signature expired: its clock is ${Math.round(Math.abs(skewMs) / 1000)} s ${direction} this gateway's`;
  return refuseConnect(code, message, { reason, skewMs });
}

function protocolMismatch({ minProtocol, maxProtocol }: ConnectParams): ConnectRefusal {
  return refuseConnect("PROTOCOL_MISMATCH", "protocol mismatch", {
    clientMinProtocol: minProtocol,
    clientMaxProtocol: maxProtocol,
    expectedProtocol: protocolRange.max,
    minimumProbeProtocol: protocolRange.min,
  });
}

function presented({ params, header, peer }: Arrival, role: Role) {
  const { token, password, deviceToken } = params.auth ?? {};
  return {
    header,
    token,
    password,
    deviceToken,
    role,
    scopes: params.scopes ?? [],
    clientId: params.client.id,
    clientMode: params.client.mode,
    isDirect: peer.isDirect,
  };
}

function applicantOf(
  { params, peer }: Arrival,
  { role, auth, publicKey }: Authenticated,
): Omit<Applicant, "isProvenLocal"> {
  return {
    role,
    scopes: params.scopes ?? [],
    clientId: params.client.id,
    clientMode: params.client.mode,
    platform: params.client.platform,
    deviceFamily: params.client.deviceFamily,
    authenticatedBy: auth.by,
    isDirect: peer.isDirect,
    hasDevice: publicKey !== undefined,
  };
}

function askOf(
  { params, peer }: Arrival,
  role: Role,
  publicKey: string,
  reason: PairingReason,
  device: DeviceRecord | undefined,
): DeviceAsk {
  const { client } = params;
  return {
    deviceId: params.device?.id ?? "",
    publicKey,
    ...optional("displayName", client.displayName),
    platform: client.platform,
    ...optional("deviceFamily", client.deviceFamily),
    clientId: client.id,
    clientMode: client.mode,
    remoteIp: peer.address,
    role,
    scopes: params.scopes ?? [],
    reason,
    isRepair: device !== undefined,
  };
}

function factsOf(
  house: Gatehouse,
  { connId, params, peer }: Arrival,
  { role, protocol, auth, device }: Authenticated,
  scopes: readonly string[],
): SessionFacts {
  const { client } = params;
  const declared = {
    caps: params.caps ?? [],
    commands: params.commands ?? [],
    ...optional("permissions", params.permissions),
  };
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
    declared: role === "node" ? house.surfaces.cutToPolicy(declared, client.platform) : undefined,
    peer,
    connectedAtMs: house.runtime.now(),
  };
}

function refused(refusal: ConnectRefusal): Admission {
  return { ok: false, refusal: { ...refusal, closeReason: closeReason(refusal.closeReason) } };
}
