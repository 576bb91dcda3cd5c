/** hello-ok: what a client learns when it is let in. */
import type { HelloAuth, HelloOk } from "../protocol/handshake.ts";
import { maxBufferedBytes, maxPayloadBytes } from "../protocol/limits.ts";
import { capabilities, eventNames, methods } from "../protocol/methods.ts";
import { effectiveCommands } from "../pairing/command-policy.ts";
import { optional } from "../pairing/requests.ts";
import { version } from "../version.ts";
import type { DeviceTokens } from "./device-tokens.ts";
import type { Admission, Gatehouse } from "./handshake.ts";
import type { Sessions } from "./sessions.ts";

export interface HelloHouse extends Gatehouse {
  readonly sessions: Sessions;
  readonly tokens: DeviceTokens;
  readonly startedAtMs: number;
}

type Admitted = Admission & { readonly ok: true };

const features = { methods: Object.keys(methods), events: eventNames, capabilities };

export async function helloFor(house: HelloHouse, admission: Admitted): Promise<HelloOk> {
  const { facts } = admission;
  const { sessions, policy, runtime, startedAtMs } = house;
  return {
    type: "hello-ok",
    protocol: facts.protocol,
    server: { version, connId: facts.connId },
    features,
    snapshot: {
      presence: facts.role === "operator" ? sessions.presence() : [],
      health: { ok: true, ts: runtime.now() },
      stateVersion: sessions.stateVersion,
      uptimeMs: runtime.now() - startedAtMs,
      ...(facts.role === "node" ? { node: await surfaceState(house, admission) } : {}),
    },
    policy: { maxPayload: maxPayloadBytes, maxBufferedBytes, tickIntervalMs: policy.limits.tickIntervalMs },
    auth: await authOf(house, admission),
  };
}

async function authOf(house: HelloHouse, { facts, device, removedScopes }: Admitted): Promise<HelloAuth> {
  const issued = device === undefined ? undefined : await house.tokens.tokenFor(device, facts.role);
  return {
    role: facts.role,
    scopes: facts.scopes,
    method: facts.authenticatedBy,
    ...(issued === undefined ? {} : { deviceToken: issued.token, issuedAtMs: issued.issuedAtMs }),
    ...(removedScopes === undefined
      ? {}
      : { removedScopes: removedScopes.scopes, removedScopesReason: removedScopes.why }),
  };
}

/** Where a node's command list stands; a wider one than approved becomes a request of its own. */
async function surfaceState(
  house: HelloHouse,
  { facts, device }: Admitted,
): Promise<Readonly<Record<string, unknown>>> {
  if (device === undefined || facts.declared === undefined) return {};
  const request = await house.surfaces.request(device, {
    nodeId: device.deviceId,
    clientId: facts.clientId,
    clientMode: facts.clientMode,
    ...optional("displayName", facts.displayName),
    platform: facts.platform,
    version: facts.clientVersion,
    ...optional("deviceFamily", facts.deviceFamily),
    ...facts.declared,
    remoteIp: facts.peer.address,
  });
  return {
    approvalState: request === undefined ? "approved" : "pending",
    ...optional("requestId", request?.requestId),
    commands: effectiveCommands(facts.declared, device.surface),
  };
}
