/** hello-ok: what a client learns when it is let in. */
import type { HelloAuth, HelloOk } from "../protocol/handshake.ts";
import { maxBufferedBytes, maxPayloadBytes } from "../protocol/limits.ts";
import { capabilities, eventNames, methods } from "../protocol/methods.ts";
import { coversSurface, effectiveCommands } from "../pairing/command-policy.ts";
import { optional } from "../pairing/requests.ts";
import { version } from "../version.ts";
import type { DeviceTokens } from "./records/device-tokens.ts";
import type { Admission, Gatehouse } from "./gatehouse.ts";
import type { Sessions } from "./sessions.ts";

export interface HelloHouse extends Gatehouse {
  readonly sessions: Sessions;
  readonly tokens: DeviceTokens;
  readonly startedAtMs: number;
}

type Admitted = Admission & { readonly ok: true };

/** Half of every hello, and nearly always the same. */
const featuresJson = featuresWith([]);

function featuresWith(further: readonly string[]): string {
  return JSON.stringify({ methods: [...Object.keys(methods), ...further], events: eventNames, capabilities });
}

/** The JSON text of hello-ok; `further` are the names of methods that only this connection's dialect has. */
export async function helloFor(
  house: HelloHouse,
  admission: Admitted,
  further?: ReadonlyMap<string, unknown>,
): Promise<string> {
  const { facts } = admission;
  const { sessions, policy, runtime, startedAtMs } = house;
  const hello: Omit<HelloOk, "features"> = {
    type: "hello-ok",
    protocol: facts.protocol,
    server: { version, connId: facts.connId },
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
  const features = further === undefined ? featuresJson : featuresWith([...further.keys()]);
  return `${JSON.stringify(hello).slice(0, -1)},"features":${features}}`;
}

async function authOf(house: HelloHouse, { facts, device, shown, removedScopes }: Admitted): Promise<HelloAuth> {
  const issued = device === undefined ? undefined : await house.tokens.tokenFor(device, facts.role, shown);
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
  const { declared } = facts;
  const commands = effectiveCommands(declared, device.surface);
  const approvedBy = optional("approvedBy", device.approvedBy?.name);
  if (coversSurface(device.surface, declared)) {
    const surfaceBy = optional("surfaceApprovedBy", device.surface?.approvedBy?.name);
    return { approvalState: "approved", commands, ...approvedBy, ...surfaceBy };
  }
  const request = await house.surfaces.request({
    nodeId: device.deviceId,
    clientId: facts.clientId,
    clientMode: facts.clientMode,
    ...optional("displayName", facts.displayName),
    platform: facts.platform,
    version: facts.clientVersion,
    ...optional("deviceFamily", facts.deviceFamily),
    ...declared,
    remoteIp: facts.remoteAddress,
  });
  return { approvalState: "pending", ...optional("requestId", request?.requestId), commands, ...approvedBy };
}
