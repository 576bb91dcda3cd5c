/**
 * What a gateway makes of a connect: the gates in their order, each a decision of its own room, and the facts of the session that
 * comes out at the end. Protocol, role, origin, device proof, authentication, enrolment, command surface.
 */
import { type DeviceProof, proofFailures, verifyProof } from "../identity/signature.ts";
import {
  type AuthDecision,
  type AuthMethod,
  decideAuth,
  type LocalVerdict,
  type Presented,
} from "../pairing/decide-auth.ts";
import { type Applicant, decidePairing, type PairingDecision } from "../pairing/decide-pairing.ts";
import type { InviteVerdict } from "../pairing/invites.ts";
import type { ApprovedVia, DeviceRecord, PairingReason, TokenRecord } from "../pairing/records.ts";
import { type DeviceAsk, optional } from "../pairing/requests.ts";
import { sortScopes } from "../pairing/scopes.ts";
import { atTime, liveHashes } from "../pairing/token-handover.ts";
import { closeCodes, closeReason } from "../protocol/close.ts";
import { agreeOnProtocol, type ConnectParams, invalidRole } from "../protocol/handshake.ts";
import { maxClockSkewMs } from "../protocol/limits.ts";
import type { RefusalCode } from "../protocol/refusals.ts";
import { signedToken } from "../protocol/signed-payload.ts";
import { isRole, protocolRange, type Role } from "../protocol/vocabulary.ts";
import type { Runtime } from "../runtime.ts";
import { credentialDigest, hashSecret } from "../secret.ts";
import type { AttemptLimit, CredentialClass } from "./attempt-limit.ts";
import type { Decider } from "./change-parts.ts";
import type { Devices } from "./devices.ts";
import type { Invites } from "./invites.ts";
import type { Surfaces } from "./surfaces.ts";
import { proveLocal } from "./local-peer.ts";
import type { GatewayPolicy } from "./options.ts";
import { isAllowedOrigin, isLoopbackAddress, type Peer } from "./peer.ts";
import {
  type ConnectRefusal,
  refuseAttempts,
  refuseAuth,
  refuseConnect,
  refuseForNow,
  refuseInvite,
  refusePairing,
} from "./refusal.ts";
import type { RemovedScopes, SessionFacts } from "./session.ts";
import type { Tables } from "./tables.ts";
import { accepted, passed, refused, type TraceStep } from "./trace.ts";

/** What the gates need to know besides the connect itself. */
export interface Gatehouse {
  readonly policy: GatewayPolicy;
  readonly tables: Tables;
  readonly devices: Devices;
  readonly surfaces: Surfaces;
  readonly invites: Invites;
  /** Who has tried too many wrong credentials. */
  readonly attempts: AttemptLimit;
  readonly runtime: Runtime;
  /** The port that this gateway listens on. */
  readonly ownPort: () => number;
  /** What looks at the process of a peer, where it is not to be the real thing. */
  readonly proveLocal?: typeof proveLocal;
}

/** One connection at the gates. */
export interface Arrival {
  readonly connId: string;
  readonly nonce: string;
  readonly peer: Peer;
  /** The value behind `Authorization: Bearer` of the upgrade. */
  readonly header: string | undefined;
  readonly params: ConnectParams;
  /** The keyless device whose token the connect shows; that stands in for a device proof. */
  readonly bearerOf?: string | undefined;
}

export type Admission =
  | {
      readonly ok: true;
      readonly facts: SessionFacts;
      readonly device: DeviceRecord | undefined;
      /** The device token that it came with, when that is what let it in. */
      readonly shown: string | undefined;
      readonly removedScopes: RemovedScopes | undefined;
    }
  | { readonly ok: false; readonly refusal: ConnectRefusal };

/** What every node holds of an operator's scopes: the one empty list. */
const none: readonly string[] = [];

/**
 * Takes a connect through every gate, and adds to `trace` what each of them says as soon as it has said it. Total: whatever the params
 * say, there is an answer.
 */
export async function admit(house: Gatehouse, arrival: Arrival, trace: TraceStep[]): Promise<Admission> {
  const { policy } = house;
  const { params, peer } = arrival;
  const protocol = agreeOnProtocol(params);
  if (protocol === undefined) {
    trace.push(refused("protocol", `the client speaks ${params.minProtocol} to ${params.maxProtocol}`));
    return refusal(protocolMismatch(params));
  }
  trace.push(accepted("protocol", String(protocol)));
  const role = params.role ?? "operator";
  if (!isRole(role)) {
    trace.push(refused("role", `there is no role ${JSON.stringify(role.slice(0, 64))}`));
    return refusal({ error: invalidRole, closeCode: closeCodes.policy, closeReason: "invalid role" });
  }
  trace.push(accepted("role", role), originStep(house, peer));
  if (trace.at(-1)?.outcome === "refused") return refusal(refuseConnect("CONTROL_UI_ORIGIN_NOT_ALLOWED"));
  const proof = checkProof(house, arrival, role);
  trace.push(proofStep(proof));
  if (proof !== undefined && !proof.ok) return refusal(refuseProof(proof));

  await house.tables.refresh();
  const device = proof === undefined ? undefined : deviceNow(house, proof.deviceId);
  const { known: scopes, unknown: unknownScopes } = sortScopes(params.scopes ?? []);
  const classes = classesOf(arrival);
  const local = await proofOfLocal(house, arrival, classes);
  const locked = local?.isProven === true ? undefined : house.attempts.lockedForMs(peer.clientAddress, classes);
  if (locked !== undefined) {
    trace.push(refused("limit", `too many wrong attempts (${classes.join(", ")})`));
    return refusal(refuseAttempts(locked));
  }
  const invite = judgeInvite(house, arrival, { deviceId: proof?.deviceId, role, scopes }, device);
  const shown: Presented = {
    ...presented(arrival, role, scopes),
    hasDevice: proof !== undefined,
    isLocalService: policy.pairing.trustedLocalServices.some(({ id }) => id === params.client.id),
    local,
    proxy: peer.proxy,
    isFromTailnet: peer.isFromTailnet,
    tailscale: await peer.tailscale(policy.whois),
  };
  const auth = decideAuth(policy.auth, shown, device, invite);
  trace.push(...auth.trace);
  if (!auth.ok) {
    trace.push(refused("authentication", auth.reason));
    if (auth.wasWrong) countWrong(house, peer, classes, invite);
    if (auth.code === "AUTH_BOOTSTRAP_TOKEN_INVALID" && invite?.ok === false) return refusal(refuseInvite(invite));
    const mayRetry =
      auth.code === "AUTH_TOKEN_MISMATCH" && proof !== undefined && params.auth?.deviceToken === undefined;
    return refusal(refuseAuth(auth.code, auth.reason, mayRetry));
  }
  if (auth.by === "token" || auth.by === "password" || auth.by === "device-token" || auth.by === "bootstrap-token") {
    house.attempts.right(peer.clientAddress, auth.by);
  }
  const used = auth.by === "bootstrap-token" && invite?.ok === true ? invite : undefined;
  const known = { role, scopes, unknownScopes, protocol, auth, publicKey: proof?.publicKey, device, invite: used };
  return enrol(house, arrival, known, trace);
}

/** The kinds of credentials that a connect shows. */
function classesOf({ header, params }: Arrival): readonly CredentialClass[] {
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
function countWrong(
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
async function proofOfLocal(
  { policy, attempts, ownPort, proveLocal: prove = proveLocal }: Gatehouse,
  { peer }: Arrival,
  classes: readonly CredentialClass[],
): Promise<LocalVerdict | undefined> {
  if (!peer.isDirect) return { isProven: false, reason: peer.notDirectBecause ?? "not-direct" };
  const showsNothing = classes.length === 0 && policy.auth.loopback !== false && policy.auth.mode !== "none";
  const isLocked = attempts.lockedForMs(peer.clientAddress, classes) !== undefined;
  return showsNothing || isLocked ? prove(peer, ownPort()) : undefined;
}

/** What the bootstrap token of a connect is worth; undefined when there is none. */
function judgeInvite(
  { invites }: Gatehouse,
  { params }: Arrival,
  bearer: Parameters<Invites["judge"]>[1],
  device: DeviceRecord | undefined,
): InviteVerdict | undefined {
  const { bootstrapToken } = params.auth ?? {};
  if (!bootstrapToken) return undefined;
  return invites.judge(credentialDigest(bootstrapToken), bearer, device);
}

/** The record with those generations of its tokens that work at this moment. */
function deviceNow({ tables, runtime }: Gatehouse, deviceId: string): DeviceRecord | undefined {
  const device = tables.devices.get(deviceId);
  return device === undefined ? undefined : atTime(device, runtime.now());
}

function originStep({ policy }: Gatehouse, peer: Peer): TraceStep {
  const { origin } = peer;
  if (origin === undefined) return passed("origin", "no Origin header");
  return isAllowedOrigin(origin, peer, policy.allowedOrigins)
    ? accepted("origin", "allowed")
    : refused("origin", "not the gateway's own, and not in gateway.controlUi.allowedOrigins");
}

function proofStep(proof: ProofOutcome | undefined): TraceStep {
  if (proof === undefined) return passed("device-proof", "the connect carries no device");
  if (proof.ok && proof.publicKey === "") return passed("device-proof", "a keyless device shows its token");
  return proof.ok ? accepted("device-proof", "the signature holds") : refused("device-proof", proof.reason);
}

interface Authenticated {
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

/** The second gate: an approved key, or a request for one. */
async function enrol(house: Gatehouse, arrival: Arrival, known: Authenticated, trace: TraceStep[]): Promise<Admission> {
  const { params, peer, connId } = arrival;
  const { auth, role, publicKey } = known;
  const decision = await decideEnrolment(house, arrival, known, trace);
  trace.push(enrolmentStep(decision));
  const name = params.client.displayName ?? params.client.id;
  const by: Decider = { connId, deviceId: params.device?.id ?? arrival.bearerOf, address: peer.address, name };
  switch (decision.ok) {
    case "refuse":
      return refusal(refuseConnect(decision.code, decision.message));
    case "pend":
      return refusal(await pend(house, arrival, known, decision.reason));
    case "enrol": {
      const ask = askOf(arrival, known, publicKey ?? "", decision.reason);
      const enrolled = await enrolDevice(house, arrival, known, { ask, via: decision.via }, by);
      if (!enrolled.ok) {
        trace.push(refused("enrolment", enrolled.message));
        return refusal(refuseInvite(enrolled));
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

type ProofOutcome =
  | { readonly ok: true; readonly deviceId: string; readonly publicKey: string }
  | { readonly ok: false; readonly code: RefusalCode; readonly reason: string; readonly skewMs?: number | undefined };

/** The device's signature over our nonce and the credential; undefined when the connect carries no device. */
function checkProof(house: Gatehouse, { params, nonce, bearerOf }: Arrival, role: Role): ProofOutcome | undefined {
  const { device, client } = params;
  if (device === undefined) return bearerOf === undefined ? undefined : { ok: true, deviceId: bearerOf, publicKey: "" };
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

function presented({ params, header, peer }: Arrival, role: Role, scopes: readonly string[]) {
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
function shownToken({ params, header }: Arrival, record: TokenRecord | undefined): string | undefined {
  const { deviceToken, token, password } = params.auth ?? {};
  const hashes = record === undefined ? [] : liveHashes(record);
  return [deviceToken, token, header, password].find(
    (value) => value !== undefined && hashes.includes(hashSecret(value)),
  );
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

/** The configuration has these: they may change while a session lasts. */
function isSecretOfPolicy(by: AuthMethod): boolean {
  return by === "token" || by === "password" || by === "internal";
}

function factsOf(
  house: Gatehouse,
  { connId, params, peer, header }: Arrival,
  { role, protocol, auth, device }: Authenticated,
  scopes: readonly string[],
): SessionFacts {
  const { client } = params;
  const { address, isLoopback, isProxied, host, origin, isFromTailnet } = peer;
  const shown = [header, ...Object.values(params.auth ?? {})].filter((value) => value !== undefined && value !== "");
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
    evidence: {
      by: auth.by,
      shown: isSecretOfPolicy(auth.by) ? shown.map((value) => credentialDigest(value ?? "")) : [],
      user: auth.user,
      isFromTailnet,
      hasDevice: device !== undefined,
      clientId: client.id,
      clientMode: client.mode,
      scopes,
    },
    arrivedBy: { address, isLoopback, isProxied, host, origin },
  };
}

function declaredIn({ caps = [], commands = [], permissions }: ConnectParams) {
  return { caps, commands, ...optional("permissions", permissions) };
}

function refusal(why: ConnectRefusal): Admission {
  return { ok: false, refusal: { ...why, closeReason: closeReason(why.closeReason) } };
}
