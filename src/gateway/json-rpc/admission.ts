/**
 * A JSON-RPC connect at the gates: what it asks for in the words of the gates, and what they said in its own. Which proof counts, and for
 * what, is decided where it is decided for everybody.
 */
import { findKeyless, hasUsedToken, neverKeyless, usedToken } from "../../pairing/keyless.ts";
import type { DeviceRecord } from "../../pairing/records.ts";
import { optional } from "../../pairing/requests.ts";
import { mostOf, type RpcRole, unstatedPlatform } from "../../protocol/json-rpc-connect.ts";
import { holdsScope, jsonRpcClientId, operatorScopes } from "../../protocol/vocabulary.ts";
import { hashSecret } from "../../secret.ts";
import type { Admission, Arrival, Gatehouse } from "../gatehouse.ts";
import { admit } from "../handshake.ts";
import type { RemovedScopes } from "../session.ts";
import type { TraceStep } from "../trace.ts";

type Admitted = Admission & { readonly ok: true };

const howToPair = "ask for a token of your own with node.pair.request";
const howToAsk = "name the scopes that you want (params.scopes)";

/** Takes the connect through the gates. */
export async function admitRpc(
  house: Gatehouse,
  arrival: Arrival,
  role: RpcRole,
  trace: TraceStep[],
): Promise<Admission> {
  await house.tables.refresh();
  const { device: proof } = arrival.params;
  const keyless = proof === undefined ? keylessOf(house, arrival) : undefined;
  // What a key has signed stays as it is.
  const params = proof === undefined ? translate(arrival, role, keyless?.device) : arrival.params;
  const translated = keyless === undefined ? { ...arrival, params } : onlyBy(keyless, { ...arrival, params });
  const admission = await admit(asLocalService(house, role), translated, trace);
  if (!admission.ok) return admission;
  await noteUse(house, admission);
  return withinRole(admission, role, arrival.params.scopes);
}

/** A device without a key, and its token as it was shown. */
interface Keyless {
  readonly device: DeviceRecord;
  readonly token: string;
}

function keylessOf({ tables }: Gatehouse, { params, header }: Arrival): Keyless | undefined {
  const { token, deviceToken, password } = params.auth ?? {};
  for (const shown of [token, deviceToken, password, header]) {
    if (shown === undefined || shown === "") continue;
    const device = findKeyless(tables.devices.values(), hashSecret(shown));
    if (device !== undefined) return { device, token: shown };
  }
  return undefined;
}

/** Whoever shows such a token is that device and no more: a shared secret beside it would let rules enrol it that are for keys. */
function onlyBy({ device, token }: Keyless, { params, header, ...arrival }: Arrival): Arrival {
  const bearerOf = device.deviceId;
  return {
    ...arrival,
    header: header === token ? header : undefined,
    params: { ...params, auth: { token } },
    bearerOf,
  };
}

/** The first use of a keyless device's token ends the time in which it is told. */
async function noteUse({ tables }: Gatehouse, { device, facts, shown }: Admitted): Promise<void> {
  if (device?.keyless !== true || shown === undefined || hasUsedToken(device, facts.role)) return;
  await tables.change((change) => {
    const present = change.devices.get(device.deviceId);
    if (present !== undefined) change.devices.put(device.deviceId, usedToken(present, facts.role));
  });
}

/** The connect of a client without a key as the gates judge it. Who names no scopes asks for as many as its proof allows. */
function translate({ params, peer }: Arrival, role: RpcRole, keyless: DeviceRecord | undefined): Arrival["params"] {
  const client = describe(params.client, keyless);
  if (role === "node") {
    if (keyless !== undefined) return { ...params, client, scopes: [] };
    // Without a token of its own it may come in to ask for one, and for nothing else.
    return { ...params, role: "operator", scopes: [], client: { ...client, mode: "backend" } };
  }
  const most = mostOf[role];
  const held = keyless === undefined ? operatorScopes : (keyless.tokens["operator"]?.scopes ?? []);
  const asked = params.scopes ?? (most === undefined ? held : most.filter((scope) => holdsScope(held, scope)));
  // A page is let in by who vouches for its user; with a secret it is a client like any other.
  const isPage = keyless !== undefined || (peer.origin !== undefined && params.auth === undefined);
  const mode = role === "webchat" && isPage ? "webchat" : "backend";
  const scopes = asked.filter((scope) => whyNot(role, keyless, scope) === undefined);
  return { ...params, scopes, client: { ...client, mode } };
}

/** Why a session of this role and device may not hold a scope, whoever has approved it; undefined where it may. */
function whyNot(role: RpcRole, device: DeviceRecord | undefined, scope: string): string | undefined {
  const most = mostOf[role];
  if (most !== undefined && !holdsScope(most, scope)) return `${role} holds ${most.join(" and ")} at the most`;
  return device?.keyless === true && neverKeyless.includes(scope)
    ? `a token without a key cannot hold ${scope}`
    : undefined;
}

/** What a keyless device leaves out about itself is as it was approved. */
function describe(client: Arrival["params"]["client"], device: DeviceRecord | undefined) {
  if (device === undefined) return client;
  return {
    ...client,
    platform: client.platform === unstatedPlatform ? (device.platform ?? unstatedPlatform) : client.platform,
    ...optional("deviceFamily", client.deviceFamily ?? device.deviceFamily),
  };
}

/**
 * On a direct loopback connection the shared secret allows a program of this dialect what it allows the gateway's own (auth.md § 4), unless
 * the configuration lists the dialect itself, with fewer scopes.
 */
function asLocalService(house: Gatehouse, role: RpcRole): Gatehouse {
  const { policy } = house;
  const service = { id: jsonRpcClientId, scopes: mostOf[role] ?? operatorScopes };
  const trustedLocalServices = [...policy.pairing.trustedLocalServices, service];
  return { ...house, policy: { ...policy, pairing: { ...policy.pairing, trustedLocalServices } } };
}

/** The session within what its role may hold; what was not granted is told, with what can be done about it. */
function withinRole(admission: Admitted, role: RpcRole, asked: readonly string[] = []): Admission {
  const { facts, device, removedScopes } = admission;
  const scopes = facts.scopes.filter((scope) => whyNot(role, device, scope) === undefined);
  const beyond = role === "node" ? [] : asked.filter((scope) => whyNot(role, device, scope));
  const hasNothing = scopes.length === 0 && facts.role === "operator";
  const why = [
    ...(removedScopes === undefined ? [] : [removedScopes.why]),
    ...new Set(beyond.map((scope) => whyNot(role, device, scope))),
    ...(hasNothing && role === "node" ? ["a node needs a key, or a token of its own"] : []),
    ...(hasNothing ? [device === undefined ? howToPair : howToAsk] : []),
  ];
  const removed: RemovedScopes | undefined =
    why.length === 0 ? undefined : { scopes: [...(removedScopes?.scopes ?? []), ...beyond], why: why.join("; ") };
  return { ...admission, facts: { ...facts, scopes }, removedScopes: removed };
}
