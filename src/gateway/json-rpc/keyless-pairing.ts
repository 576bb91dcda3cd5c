/** `node.pair.request`: a client without a key asks for a token of its own, and is told it once a person has approved (auth.md § 6). */
import { hasUsedToken, isGranted, keylessDeviceId, keylessScopes } from "../../pairing/keyless.ts";
import type { DeviceRecord, DeviceRequestRecord } from "../../pairing/records.ts";
import { type DeviceAsk, isOpen, optional } from "../../pairing/requests.ts";
import {
  type KeylessRequestParams,
  keylessRequestParams,
  type KeylessRequestResult,
  mostOf,
  roleOf,
  type RpcRole,
  unstatedPlatform,
} from "../../protocol/json-rpc-connect.ts";
import { pairingRequestLifeMs } from "../../protocol/limits.ts";
import { jsonRpcClientId } from "../../protocol/vocabulary.ts";
import { invalidRequest, RequestRefused } from "../../protocol/wire-error.ts";
import type { Runtime } from "../../runtime.ts";
import type { Devices } from "../records/devices.ts";
import type { DeviceTokens } from "../records/device-tokens.ts";
import { furtherMethod, type FurtherMethods } from "../dispatch.ts";
import { refuseForNow } from "../refusal.ts";
import type { Session } from "../session.ts";
import type { Sessions } from "../sessions.ts";
import type { Tables } from "../records/tables.ts";

export interface KeylessPairingOptions {
  readonly tables: Tables;
  readonly devices: Devices;
  readonly tokens: DeviceTokens;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
}

/** Who is to be told the end of a request. */
interface Waiting {
  readonly session: Session;
  readonly requestId: string;
}

interface Asked {
  readonly claim: string;
  readonly deviceId: string;
  readonly role: string;
  readonly scopes: readonly string[];
}

export class KeylessPairing {
  readonly #tables: Tables;
  readonly #devices: Devices;
  readonly #tokens: DeviceTokens;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;
  /** By device id: one that asks again, on this connection or another, is told there. */
  readonly #waiting = new Map<string, Waiting>();

  constructor({ tables, devices, tokens, sessions, runtime }: KeylessPairingOptions) {
    this.#tables = tables;
    this.#devices = devices;
    this.#tokens = tokens;
    this.#sessions = sessions;
    this.#runtime = runtime;
    devices.onResolved(() => this.tellResolved());
  }

  /** The method, for a client that came as `role`. */
  methodsFor(role: RpcRole): FurtherMethods {
    const request = furtherMethod(keylessRequestParams, ({ session }, params) => this.#request(session, params, role));
    return new Map([["node.pair.request", request]]);
  }

  /** Tells those that wait what has become of their requests. To be called whenever that may have changed. */
  tellResolved(): void {
    for (const [deviceId, { session, requestId }] of this.#waiting) {
      const request = this.#tables.deviceRequests.get(requestId);
      const isGone = request === undefined || !this.#sessions.has(session);
      if (!isGone && isOpen(request, this.#runtime.now())) continue;
      this.#waiting.delete(deviceId);
      const decision = request?.resolution?.decision;
      if (isGone || decision === undefined || decision === "superseded") continue;
      this.#tell(session, request, decision).catch((error: unknown) => {
        this.#runtime.log("error", "keyless device not told", { device: deviceId, error: String(error) });
      });
    }
  }

  async #request(session: Session, params: KeylessRequestParams, as: RpcRole): Promise<KeylessRequestResult> {
    assertMayAsk(session);
    const asked = this.#read(params, as);
    await this.#tables.refresh();
    const known = this.#tables.devices.get(asked.deviceId);
    if (known !== undefined && isGranted(known, asked.role, asked.scopes)) return this.#handOver(known, asked);
    const outcome = await this.#devices.request(askOf(session, params, asked, known));
    if (outcome === undefined) throw new RequestRefused(refuseForNow.error);
    const { requestId, resolution, ts } = outcome.request;
    if (resolution?.decision === "rejected") {
      return { status: "rejected", ...asked, requestId, ...optional("reason", resolution.note) };
    }
    this.#waiting.set(asked.deviceId, { session, requestId });
    this.tellResolved(); // also of those that are gone
    return { status: "pending", ...asked, requestId, expiresAtMs: ts + pairingRequestLifeMs };
  }

  #read({ claim: given, role: named, scopes: wanted }: KeylessRequestParams, as: RpcRole): Asked {
    const claim = given ?? Buffer.from(this.#runtime.random(32)).toString("base64url");
    const rpcRole = named === "operator" ? "control" : (named ?? as);
    const role = roleOf(rpcRole);
    const read = role === "node" && wanted === undefined ? { scopes: [] } : keylessScopes(wanted, mostOf[rpcRole]);
    if ("problem" in read) throw invalidRequest(`invalid node.pair.request params: scopes: ${read.problem}`);
    return { claim, deviceId: keylessDeviceId(claim), role, scopes: read.scopes };
  }

  /** What was approved while nobody was there to be told. */
  async #handOver(device: DeviceRecord, asked: Asked): Promise<KeylessRequestResult> {
    const { role, deviceId } = asked;
    if (hasUsedToken(device, role)) {
      throw invalidRequest("this device has its token already; without it, ask anew (without a claim)", {
        code: "TOKEN_IN_USE",
        deviceId,
      });
    }
    const { token } = await this.#tokens.tokenFor(device, role, undefined);
    await this.#noteTold(deviceId, role);
    return { status: "approved", ...asked, scopes: role === "operator" ? device.scopes : [], token };
  }

  async #tell(session: Session, request: DeviceRequestRecord, decision: "approved" | "rejected"): Promise<void> {
    const { requestId, deviceId, role } = request;
    const facts = { requestId, nodeId: deviceId, deviceId, role, decision, ts: this.#runtime.now() };
    if (decision === "rejected") {
      session.event("node.pair.resolved", { ...facts, ...optional("reason", request.resolution?.note) });
      await this.#noteRejectionTold(requestId);
      return;
    }
    const device = this.#tables.devices.get(deviceId);
    if (device === undefined || !device.roles.includes(role)) return; // taken back meanwhile
    const { token } = await this.#tokens.tokenFor(device, role, undefined);
    const scopes = role === "operator" ? device.scopes : [];
    // One that is gone by now asks again with its claim.
    if (session.event("node.pair.resolved", { ...facts, scopes, token })) await this.#noteTold(deviceId, role);
  }

  async #noteTold(deviceId: string, role: string): Promise<void> {
    await this.#tables.change((change) => change.audit({ action: "token.told", device: deviceId, role }));
    this.#runtime.log("info", "keyless device was told its token", { device: deviceId, role });
  }

  async #noteRejectionTold(requestId: string): Promise<void> {
    await this.#tables.change((change) => {
      const request = change.deviceRequests.get(requestId);
      if (request?.resolution === undefined) return;
      change.deviceRequests.put(requestId, { ...request, resolution: { ...request.resolution, wasTold: true } });
    });
  }
}

/** Who has a key asks by connecting; who only looks at an invite has not shown that it may ask. */
function assertMayAsk({ facts }: Session): void {
  if (facts.deviceId !== undefined) {
    throw invalidRequest("this client is a device already; it asks for more by connecting with more scopes");
  }
  if (facts.authenticatedBy === "bootstrap-token")
    throw invalidRequest("an invite does not pair clients without a key");
}

function askOf(
  { facts }: Session,
  { displayName = facts.displayName, platform, deviceFamily }: KeylessRequestParams,
  { deviceId, role, scopes }: Asked,
  known: DeviceRecord | undefined,
): DeviceAsk {
  const stated = platform ?? (facts.platform === unstatedPlatform ? undefined : facts.platform);
  return {
    deviceId,
    publicKey: "",
    keyless: true,
    ...optional("displayName", displayName),
    ...optional("platform", stated),
    ...optional("deviceFamily", deviceFamily ?? facts.deviceFamily),
    clientId: jsonRpcClientId,
    clientMode: role === "node" ? "node" : "backend",
    remoteIp: facts.remoteAddress,
    role,
    scopes,
    reason: known === undefined ? "not-paired" : known.roles.includes(role) ? "scope-upgrade" : "role-upgrade",
    isRepair: known !== undefined,
  };
}
