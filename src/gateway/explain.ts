/**
 * What a gateway with these rules makes of a caller that is only described: its own gates, on records in memory. The caller gets a key that
 * is made up for the occasion, and secrets that fit its description, so that nothing is decided in any other way than on a live connection.
 */
import type { IncomingHttpHeaders } from "node:http";
import { PassThrough } from "node:stream";
import { createIdentity, type DeviceIdentity } from "../identity/device-identity.ts";
import { signPayload } from "../identity/signature.ts";
import type { DeviceRecord } from "../pairing/records.ts";
import { optional } from "../pairing/requests.ts";
import type { TailscaleFacts } from "../pairing/vouched.ts";
import { type ConnectParams, readConnectParams } from "../protocol/handshake.ts";
import { readRpcConnect, roleOf, rpcModes } from "../protocol/json-rpc-connect.ts";
import { signedToken } from "../protocol/signed-payload.ts";
import { jsonRpcClientId, protocolRange, type Role } from "../protocol/vocabulary.ts";
import type { Runtime } from "../runtime.ts";
import { hashSecret, Secret } from "../secret.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import { version } from "../version.ts";
import { AttemptLimit } from "./arrival/attempt-limit.ts";
import { originStep } from "./arrival/browser-origin.ts";
import { DeviceTokens } from "./records/device-tokens.ts";
import { Devices } from "./records/devices.ts";
import type { Admission, Arrival, Gatehouse } from "./gatehouse.ts";
import { admit } from "./handshake.ts";
import { authenticateRequest } from "./http/auth.ts";
import { Invites } from "./records/invites.ts";
import { admitRpc } from "./json-rpc/admission.ts";
import type { LocalProof } from "./arrival/local-peer.ts";
import { type ConnectionDecision, type GatewayRules, policyOf } from "./options.ts";
import { type HttpRequest, type Peer, readPeer } from "./arrival/peer.ts";
import { Sessions } from "./sessions.ts";
import { Surfaces } from "./records/surfaces.ts";
import { Tables } from "./records/tables.ts";
import { accepted, refused, type TraceStep, upgradeStep } from "./trace.ts";
import { decideUpgrade } from "./arrival/upgrade.ts";

/** Credentials in words: what is right is what the rules and the records have. */
export const credentialWords = [
  "right token",
  "wrong token",
  "right password",
  "wrong password",
  "device token",
  "wrong device token",
  "invite",
  "wrong invite",
  "internal secret",
] as const;
export type CredentialWord = (typeof credentialWords)[number];

type AuthField = "token" | "password" | "deviceToken" | "bootstrapToken";

/** Where in the connect a credential stands. */
export const fieldOf: Readonly<Record<CredentialWord, AuthField>> = {
  "right token": "token",
  "wrong token": "token",
  "internal secret": "token",
  "right password": "password",
  "wrong password": "password",
  "device token": "deviceToken",
  "wrong device token": "deviceToken",
  invite: "bootstrapToken",
  "wrong invite": "bootstrapToken",
};

/** A connection and its connect, as far as the gates look at them. */
export interface DescribedCaller {
  /** The socket's address. */
  readonly address: string;
  /** The `Host` header. */
  readonly host: string;
  readonly origin: string | undefined;
  /** Further headers, each with its values in the order in which they come. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** What a look at its process shows (auth.md § 2). */
  readonly process: LocalProof;
  /** What the tailnet says of the forwarded address. */
  readonly whois: TailscaleFacts["whois"];
  readonly role: Role;
  readonly scopes: readonly string[];
  readonly clientId: string;
  readonly clientMode: ConnectParams["client"]["mode"];
  readonly platform: string;
  readonly deviceFamily: string | undefined;
  /** A key that nobody knows, the key of this record, or none. */
  readonly device: "none" | "new" | DeviceRecord;
  /** In `Authorization`. */
  readonly authorization: CredentialWord | undefined;
  /** In the connect, one for each of its fields. */
  readonly credentials: readonly CredentialWord[];
}

/** What a caller speaks: ours and the product's on a WebSocket, JSON-RPC there (auth.md § 6), or plain HTTP (§ 7). */
export type Spoken = "native" | "json-rpc" | "http";

export interface Explanation {
  readonly answer: "in" | "out";
  /** The client's address as the gateway sees it: behind a trusted proxy, not the socket's. */
  readonly clientAddress: string;
  readonly steps: readonly TraceStep[];
  readonly authenticatedBy?: string;
  readonly scopes?: readonly string[];
  readonly removedScopes?: { readonly scopes: readonly string[]; readonly why: string };
  /** `details.code` of a refused connect, `HTTP <status>` of a refused upgrade. */
  readonly code?: string;
  readonly message?: string;
  /** What the refusal itself says of the way in. */
  readonly hint?: string;
}

export interface ExplainedGateway {
  readonly rules: GatewayRules;
  /** The port that it listens on. */
  readonly port: number;
  readonly runtime: Runtime;
}

/** Takes the caller through every gate. Nothing outside this process is asked or changed. */
export async function explainCaller(
  gateway: ExplainedGateway,
  caller: DescribedCaller,
  dialect: Spoken = "native",
): Promise<Explanation> {
  const runtime: Runtime = { ...gateway.runtime, log: () => {} };
  const tables = await Tables.open(await openSqliteStore(":memory:", { runtime }), runtime);
  try {
    const key = createIdentity(runtime.random(32), runtime.now());
    const house = houseFor({ ...gateway, runtime }, caller, tables, key);
    const secrets = new Secrets(house, await rememberDevice(tables, caller, key));
    const parts = { house, caller, key, secrets };
    return await (dialect === "http" ? explainHttp(parts) : explainConnect(parts, dialect));
  } finally {
    await tables.close();
  }
}

/** The parts of a gateway that decide; what they would ask of the world, the description answers. */
function houseFor(
  { rules, port, runtime }: ExplainedGateway,
  caller: DescribedCaller,
  tables: Tables,
  { publicKey }: DeviceIdentity,
): Gatehouse {
  const whois = async () => caller.whois ?? "unavailable";
  const policy = policyOf({ ...rules, tailscale: { ...rules.tailscale, whois } });
  const base = { tables, sessions: new Sessions(runtime), runtime };
  const tokens = new DeviceTokens({ ...base, tokenKey: runtime.random(32), isBusy: () => false });
  return {
    policy,
    tables,
    devices: new Devices({ ...base, tokens, limits: policy.limits, publicKey }),
    surfaces: new Surfaces({ ...base, policy }),
    invites: new Invites({ ...base, tokens }),
    attempts: new AttemptLimit(policy.limits, runtime),
    runtime,
    ownPort: () => port,
    proveLocal: async ({ isDirect }) => (isDirect ? caller.process : { isProven: false, reason: "not-direct" }),
  };
}

interface Parts {
  readonly house: Gatehouse;
  readonly caller: DescribedCaller;
  readonly key: DeviceIdentity;
  readonly secrets: Secrets;
}

/** Origin, credential: a request for what is behind the gateway's authentication. What is in the connect of others is X-OpenClaw-Token. */
async function explainHttp({ house, caller, secrets }: Parts): Promise<Explanation> {
  const [word] = caller.credentials;
  const shown = word === undefined ? {} : { "x-openclaw-token": [await secrets.read(word)] };
  const request = requestOf({ ...caller, headers: { ...caller.headers, ...shown } }, await bearerOf(caller, secrets));
  const peer = readPeer(request, house.ownPort(), house.policy.trust);
  const { clientAddress } = peer;
  const steps = [originStep(peer, request, house.policy.allowedOrigins)];
  if (steps.at(-1)?.outcome === "refused") {
    const message = "pages of this origin may not ask here";
    return { answer: "out", clientAddress, steps, code: "HTTP 403", message };
  }
  const auth = await authenticateRequest(house, peer, request, steps);
  if (!auth.ok) return { answer: "out", clientAddress, steps, code: `HTTP ${auth.status}`, message: auth.message };
  const { by: authenticatedBy, scopes } = auth.caller;
  return { answer: "in", clientAddress, steps, authenticatedBy, scopes };
}

/** Upgrade, frame, connect: in the order of a connection. */
async function explainConnect(parts: Parts, dialect: "native" | "json-rpc"): Promise<Explanation> {
  const { house, caller, secrets } = parts;
  const request = requestOf(caller, await bearerOf(caller, secrets));
  const peer = readPeer(request, house.ownPort(), house.policy.trust);
  const { clientAddress } = peer;
  const upgrade = await askUpgrade(house, peer, request);
  if (!upgrade.ok) return { answer: "out", clientAddress, ...upgrade.refusal };
  const steps: TraceStep[] = [upgradeStep(upgrade.header)];
  const arrival = { nonce: "explain", connId: "explain", peer, header: upgrade.header };
  const connect = await (dialect === "native" ? nativeConnect(parts, arrival) : rpcConnect(parts, arrival));
  if ("problem" in connect) {
    steps.push(refused("params", connect.problem));
    const message = `invalid connect params: ${connect.problem}`;
    return { answer: "out", clientAddress, steps, code: "INVALID_REQUEST", message };
  }
  steps.push(accepted("params", "valid"));
  return { clientAddress, steps, ...outcomeOf(await connect.admit(steps)) };
}

type Came = Omit<Arrival, "params" | "bearerOf">;
type Connect = { readonly admit: (steps: TraceStep[]) => Promise<Admission> } | { readonly problem: string };

async function nativeConnect({ house, caller, key, secrets }: Parts, came: Came): Promise<Connect> {
  const services = house.policy.pairing.trustedLocalServices.map(({ id }) => id);
  const read = readConnectParams(await paramsOf(caller, key, secrets, house.runtime.now(), came.nonce), services);
  if ("problem" in read) return read;
  const arrival = { ...came, params: read.params, bearerOf: isKeyless(caller) ? key.deviceId : undefined };
  return { admit: (steps) => admit(house, arrival, steps) };
}

/** The same in the words of JSON-RPC; who asks for no scopes asks for what its proof allows. */
async function rpcConnect({ house, caller, key, secrets }: Parts, came: Came): Promise<Connect> {
  const role = caller.role === "node" ? "node" : caller.clientMode === "webchat" ? "webchat" : "control";
  const asked = { ...caller, role: roleOf(role), clientId: jsonRpcClientId, clientMode: rpcModes[role] };
  const { auth, device, client } = await paramsOf(asked, key, secrets, house.runtime.now(), came.nonce);
  const { platform, deviceFamily } = client;
  const read = readRpcConnect({
    role,
    client: { name: caller.clientId, version, platform, ...optional("deviceFamily", deviceFamily) },
    ...optional("auth", auth),
    ...optional("device", device),
    ...(caller.scopes.length === 0 ? {} : { scopes: [...caller.scopes] }),
  });
  if ("problem" in read) return read;
  return { admit: (steps) => admitRpc(house, { ...came, params: read.params }, role, steps) };
}

function bearerOf({ authorization }: DescribedCaller, secrets: Secrets): Promise<string> | undefined {
  return authorization === undefined ? undefined : secrets.read(authorization);
}

/** The described record under the key that was made up, with a token that is known. */
async function rememberDevice(tables: Tables, { device, role }: DescribedCaller, key: DeviceIdentity): Promise<Secret> {
  const deviceToken = madeUp(key.deviceId);
  if (typeof device === "string") return deviceToken;
  const token = device.tokens[role];
  const hash = hashSecret(deviceToken.reveal());
  const tokens = token === undefined ? device.tokens : { ...device.tokens, [role]: { ...token, hash } };
  const publicKey = device.keyless === true ? "" : key.publicKey;
  await tables.change((change) =>
    change.devices.put(key.deviceId, { ...device, deviceId: key.deviceId, publicKey, tokens }),
  );
  return deviceToken;
}

/** The secrets that fit the words. */
class Secrets {
  readonly #house: Gatehouse;
  readonly #deviceToken: Secret;

  constructor(house: Gatehouse, deviceToken: Secret) {
    this.#house = house;
    this.#deviceToken = deviceToken;
  }

  async read(word: CredentialWord): Promise<string> {
    const { token, password, internalSecret } = this.#house.policy.auth;
    switch (word) {
      case "right token":
        return (token ?? madeUp(word)).reveal();
      case "right password":
        return (password ?? madeUp(word)).reveal();
      case "internal secret":
        return (internalSecret ?? madeUp(word)).reveal();
      case "device token":
        return this.#deviceToken.reveal();
      case "invite":
        return this.#mintInvite();
      case "wrong token":
      case "wrong password":
      case "wrong device token":
      case "wrong invite":
        return madeUp(word).reveal();
    }
  }

  async #mintInvite(): Promise<string> {
    const by = { connId: "explain", address: "local", name: "explain" };
    return (await this.#house.invites.mint({ url: "ws://127.0.0.1" }, by)).secret;
  }
}

/** A secret that is right for nothing which it is not put into. */
function madeUp(seed: string): Secret {
  return new Secret(hashSecret(`explained ${seed}`));
}

/** The request as Node's HTTP server would show it. */
function requestOf(
  { address, host, origin, headers: further }: DescribedCaller,
  bearer: string | undefined,
): HttpRequest {
  const all: (readonly [string, readonly string[]])[] = [
    ["host", [host]],
    ...(origin === undefined ? [] : [["origin", [origin]] as const]),
    ...(bearer === undefined ? [] : [["authorization", [`Bearer ${bearer}`]] as const]),
    ...Object.entries(further),
  ];
  const headers: IncomingHttpHeaders = Object.fromEntries(
    all.map(([name, values]) => [name.toLowerCase(), values.join(", ")]),
  );
  const rawHeaders = all.flatMap(([name, values]) => values.flatMap((value) => [name, value]));
  return { socket: { remoteAddress: address, remotePort: 0 }, headers, rawHeaders };
}

type UpgradeAnswer =
  | { readonly ok: true; readonly header: string | undefined }
  | { readonly ok: false; readonly refusal: Pick<Explanation, "steps" | "code" | "message" | "hint"> };

async function askUpgrade(house: Gatehouse, peer: Peer, request: HttpRequest): Promise<UpgradeAnswer> {
  const decisions: ConnectionDecision[] = [];
  const socket = new PassThrough();
  const decision = await decideUpgrade(
    {
      ...house,
      isStopping: () => false,
      unauthenticated: () => 0,
      onDecision: (made) => void decisions.push(made),
    },
    peer,
    request,
    socket,
  );
  if (decision.ok) return decision;
  const [made] = decisions;
  const answer = (await socket.toArray()).join("");
  const body: { readonly error?: { readonly message?: string; readonly hint?: string } } = JSON.parse(
    answer.slice(answer.indexOf("\r\n\r\n")),
  );
  const { message = made?.reason ?? "refused", hint } = body.error ?? {};
  const said = { message, ...(hint === undefined ? {} : { hint }) };
  return { ok: false, refusal: { steps: made?.trace ?? [], code: made?.code ?? "HTTP 401", ...said } };
}

async function paramsOf(caller: DescribedCaller, key: DeviceIdentity, secrets: Secrets, nowMs: number, nonce: string) {
  const { clientId, clientMode, platform, deviceFamily, role, scopes, credentials } = caller;
  const auth: Partial<Record<AuthField, string>> = {};
  for (const word of credentials) auth[fieldOf[word]] = await secrets.read(word);
  const family = deviceFamily === undefined ? {} : { deviceFamily };
  const signed = { clientId, clientMode, role, scopes, signedAt: nowMs, nonce, platform, ...family };
  const device = {
    id: key.deviceId,
    publicKey: key.publicKey,
    signedAt: nowMs,
    nonce,
    signature: signPayload(key, { ...signed, token: signedToken(auth) }),
  };
  return {
    minProtocol: protocolRange.max,
    maxProtocol: protocolRange.max,
    client: { id: clientId, mode: clientMode, version, platform, ...family },
    role,
    scopes: [...scopes],
    ...optional("auth", Object.keys(auth).length === 0 ? undefined : auth),
    ...optional("device", caller.device === "none" || isKeyless(caller) ? undefined : device),
  };
}

/** Its token stands in for a proof (auth.md § 6). */
function isKeyless({ device }: DescribedCaller): boolean {
  return typeof device !== "string" && device.keyless === true;
}

function outcomeOf(admission: Admission): Omit<Explanation, "clientAddress" | "steps"> {
  if (admission.ok) {
    const { facts, removedScopes } = admission;
    return {
      answer: "in",
      authenticatedBy: facts.authenticatedBy,
      scopes: facts.scopes,
      ...(removedScopes === undefined ? {} : { removedScopes }),
    };
  }
  const { code, message, details = {} } = admission.refusal.error;
  const { code: detailed, remediationHint }: Readonly<Record<string, unknown>> = { ...asObject(details) };
  return {
    answer: "out",
    code: typeof detailed === "string" ? detailed : code,
    message,
    ...(typeof remediationHint === "string" ? { hint: remediationHint } : {}),
  };
}

function asObject(value: unknown): object {
  return typeof value === "object" && value !== null ? value : {};
}
