/**
 * What a gateway makes of a connect: the gates in their order, each a decision of its own room. Protocol, role, origin, device proof,
 * authentication, enrolment.
 */
import { decideAuth, type Presented } from "../pairing/decide-auth.ts";
import type { InviteVerdict } from "../pairing/invites.ts";
import type { DeviceRecord } from "../pairing/records.ts";
import { sortScopes } from "../pairing/scopes.ts";
import { atTime } from "../pairing/token-handover.ts";
import { closeCodes } from "../protocol/close.ts";
import { agreeOnProtocol, type ConnectParams, invalidRole } from "../protocol/handshake.ts";
import { isRole, protocolRange } from "../protocol/vocabulary.ts";
import { credentialDigest } from "../secret.ts";
import { checkProof, proofStep, refuseProof } from "./arrival/device-proof.ts";
import { enrol } from "./enrolment.ts";
import { type Admission, type Arrival, type Gatehouse, turnedAway } from "./gatehouse.ts";
import type { Invites } from "./records/invites.ts";
import { isAllowedOrigin, type Peer } from "./arrival/peer.ts";
import { type ConnectRefusal, refuseAttempts, refuseAuth, refuseConnect, refuseInvite } from "./refusal.ts";
import { classesOf, countWrong, presented, proofOfLocal } from "./arrival/shown-credentials.ts";
import { accepted, passed, refused, type TraceStep } from "./trace.ts";

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
    return turnedAway(protocolMismatch(params));
  }
  trace.push(accepted("protocol", String(protocol)));
  const role = params.role ?? "operator";
  if (!isRole(role)) {
    trace.push(refused("role", `there is no role ${JSON.stringify(role.slice(0, 64))}`));
    return turnedAway({ error: invalidRole, closeCode: closeCodes.policy, closeReason: "invalid role" });
  }
  trace.push(accepted("role", role), originStep(house, peer));
  if (trace.at(-1)?.outcome === "refused") return turnedAway(refuseConnect("CONTROL_UI_ORIGIN_NOT_ALLOWED"));
  const proof = checkProof(house, arrival, role);
  trace.push(proofStep(proof));
  if (proof !== undefined && !proof.ok) return turnedAway(refuseProof(proof));

  await house.tables.refresh();
  const device = proof === undefined ? undefined : deviceNow(house, proof.deviceId);
  const { known: scopes, unknown: unknownScopes } = sortScopes(params.scopes ?? []);
  const classes = classesOf(arrival);
  const local = await proofOfLocal(house, arrival, classes);
  const locked = local?.isProven === true ? undefined : house.attempts.lockedForMs(peer.clientAddress, classes);
  if (locked !== undefined) {
    trace.push(refused("limit", `too many wrong attempts (${classes.join(", ")})`));
    return turnedAway(refuseAttempts(locked));
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
    if (auth.code === "AUTH_BOOTSTRAP_TOKEN_INVALID" && invite?.ok === false) return turnedAway(refuseInvite(invite));
    const mayRetry =
      auth.code === "AUTH_TOKEN_MISMATCH" && proof !== undefined && params.auth?.deviceToken === undefined;
    return turnedAway(refuseAuth(auth.code, auth.reason, mayRetry, role));
  }
  if (auth.by === "token" || auth.by === "password" || auth.by === "device-token" || auth.by === "bootstrap-token") {
    house.attempts.right(peer.clientAddress, auth.by);
  }
  const used = auth.by === "bootstrap-token" && invite?.ok === true ? invite : undefined;
  const known = { role, scopes, unknownScopes, protocol, auth, publicKey: proof?.publicKey, device, invite: used };
  return enrol(house, arrival, known, trace);
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

function protocolMismatch({ minProtocol, maxProtocol }: ConnectParams): ConnectRefusal {
  return refuseConnect("PROTOCOL_MISMATCH", "protocol mismatch", {
    clientMinProtocol: minProtocol,
    clientMaxProtocol: maxProtocol,
    expectedProtocol: protocolRange.max,
    minimumProbeProtocol: protocolRange.min,
  });
}
