/** The tokens of devices: handed out, replaced, ended; and with them the sessions that hang on them. */
import { createSecretKey, type KeyObject } from "node:crypto";
import type { DeviceRecord } from "../../pairing/records.ts";
import { noteUsed, type Overlap, rotationState } from "../../pairing/token-handover.ts";
import { issueToken, reissuableToken, revokeToken, widenToken } from "../../pairing/tokens.ts";
import { optional } from "../../pairing/requests.ts";
import { closeCodes } from "../../protocol/close.ts";
import { invalidRequest, type RequestRefused } from "../../protocol/wire-error.ts";
import type { Runtime } from "../../runtime.ts";
import { auditFields, type Decider, knownDevice } from "./change-parts.ts";
import type { ShownToken } from "../gatehouse.ts";
import type { Session } from "../session.ts";
import type { Sessions } from "../sessions.ts";
import type { Tables } from "./tables.ts";
import { TokenHandovers } from "./token-handovers.ts";

export interface DeviceTokensOptions {
  readonly tables: Tables;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  /** What tokens are derived with. */
  readonly tokenKey: Uint8Array;
  /** True while a session owes somebody an answer. */
  readonly isBusy: (session: Session) => boolean;
}

export class DeviceTokens {
  /** How devices move from one generation to the next. */
  readonly handovers: TokenHandovers;
  readonly #tables: Tables;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;
  readonly #tokenKey: KeyObject;

  constructor({ tables, sessions, runtime, tokenKey, isBusy }: DeviceTokensOptions) {
    const tokenOf = (device: DeviceRecord, role: string) => reissuableToken(this.#tokenKey, device, role);
    this.handovers = new TokenHandovers({ tables, sessions, runtime, tokenOf, isBusy });
    this.#tables = tables;
    this.#sessions = sessions;
    this.#runtime = runtime;
    this.#tokenKey = createSecretKey(tokenKey);
  }

  /**
   * Replaces a role's token. After the reply is out, `closeSessions` ends the sessions that hang on the old one, or `handovers.begin` gives
   * them the new one.
   */
  rotate(
    deviceId: string,
    role: string,
    scopes: readonly string[] | undefined,
    by: Decider,
    overlap?: Overlap,
  ): Promise<{ readonly device: DeviceRecord; readonly token: string; readonly rotatedAtMs: number }> {
    return this.#tables.change((change) => {
      const device = knownDevice(change, deviceId);
      const current = device.tokens[role];
      if (current === undefined || !device.roles.includes(role)) throw deniedToken("rotation", deviceId, role);
      const salt = this.#salt();
      const issued = issueToken(device, {
        gatewayKey: this.#tokenKey,
        role,
        scopes: scopes ?? current.scopes,
        salt,
        nowMs: change.nowMs,
        overlap,
      });
      change.devices.put(deviceId, issued.device);
      change.audit({
        action: "token.rotate",
        device: deviceId,
        role,
        ...optional("overlapMs", overlap?.overlapMs),
        ...auditFields(by),
      });
      return { device: issued.device, token: issued.token, rotatedAtMs: change.nowMs };
    });
  }

  /** Ends a role of a device: its token is void and the role has to be approved again. */
  async revoke(deviceId: string, role: string, by: Decider): Promise<number> {
    return this.#tables.change((change) => {
      const device = knownDevice(change, deviceId);
      if (device.tokens[role] === undefined) throw deniedToken("revocation", deviceId, role);
      change.devices.put(deviceId, revokeToken(device, role, change.nowMs));
      change.audit({ action: "token.revoke", device: deviceId, role, ...auditFields(by) });
      return change.nowMs;
    });
  }

  /** Closes what a rotated or revoked token had opened. */
  closeSessions(deviceId: string, role: string): void {
    this.#sessions.closeDevice(deviceId, role, closeCodes.credentialChanged, "device removed");
  }

  /**
   * The token to tell a device in hello-ok: the one it has already, the one that followed on it, or a first one for a role that has none.
   * `shown` is the one that it came with, if it did; its use ends the generations before it.
   */
  async tokenFor(
    known: DeviceRecord,
    role: string,
    shown: ShownToken | undefined,
  ): Promise<{ readonly token: string; readonly issuedAtMs: number }> {
    const device = shown === undefined ? known : await this.#used(known, role, shown);
    const record = device.tokens[role];
    const isOlder = shown !== undefined && record?.handover !== undefined && shown.hash !== record.hash;
    const existing = (isOlder ? undefined : shown?.token) ?? reissuableToken(this.#tokenKey, device, role);
    if (existing !== undefined && record !== undefined) {
      return { token: existing, issuedAtMs: record.rotatedAtMs ?? record.createdAtMs };
    }
    return this.#tables.change((change) => {
      const renewed = this.#issueFor(knownDevice(change, device.deviceId), role, change.nowMs);
      change.devices.put(device.deviceId, renewed);
      const token = reissuableToken(this.#tokenKey, renewed, role) ?? "";
      return { token, issuedAtMs: change.nowMs };
    });
  }

  /** The device with a token for `role` that holds what the device is approved for, as part of a change that is being made. */
  grantFor(device: DeviceRecord, role: string, nowMs: number): DeviceRecord {
    return widenToken(device, role, scopesFor(device, role)) ?? this.#issueFor(device, role, nowMs);
  }

  #issueFor(device: DeviceRecord, role: string, nowMs: number): DeviceRecord {
    const scopes = scopesFor(device, role);
    const handover = device.tokens[role]?.handover;
    // What lives beside a token that cannot be derived any more is all that the device has.
    const overlap =
      handover === undefined || handover.previous.length === 0
        ? undefined
        : { overlapMs: Math.max(1, handover.validUntilMs - nowMs), isCritical: handover.isCritical };
    return issueToken(device, { gatewayKey: this.#tokenKey, role, scopes, salt: this.#salt(), nowMs, overlap }).device;
  }

  /** The device after it came with this token, written down where that says something about a rotation. */
  async #used(device: DeviceRecord, role: string, { hash }: ShownToken): Promise<DeviceRecord> {
    if (device.tokens[role]?.handover === undefined) return device;
    const { deviceId } = device;
    if (noteUsed(device.tokens[role], hash, this.#runtime.now()) === undefined) return device;
    const used = await this.#tables.change((change) => {
      const present = knownDevice(change, deviceId);
      const token = present.tokens[role];
      const noted = token === undefined ? undefined : noteUsed(token, hash, change.nowMs);
      if (noted === undefined) return present;
      const after = { ...present, tokens: { ...present.tokens, [role]: noted } };
      change.devices.put(deviceId, after);
      change.audit({ action: "token.used", device: deviceId, role, ...optional("state", rotationState(noted)) });
      return after;
    });
    this.handovers.closeVoid(deviceId);
    return used;
  }

  #salt(): string {
    return Buffer.from(this.#runtime.random(16)).toString("base64url");
  }
}

function scopesFor(device: DeviceRecord, role: string): readonly string[] {
  return role === "operator" ? device.scopes : [];
}

function deniedToken(what: "rotation" | "revocation", deviceId: string, role: string): RequestRefused {
  return invalidRequest(`device token ${what} denied: ${deviceId} has no ${role} token`, {
    code: "UNKNOWN_DEVICE",
    deviceId,
    role,
  });
}
