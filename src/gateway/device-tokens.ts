/** The tokens of devices: handed out, replaced, ended; and with them the sessions that hang on them. */
import { createSecretKey, type KeyObject } from "node:crypto";
import type { DeviceRecord } from "../pairing/records.ts";
import { issueToken, reissuableToken, revokeToken, widenToken } from "../pairing/tokens.ts";
import { closeCodes } from "../protocol/close.ts";
import { invalidRequest, type RequestRefused } from "../protocol/wire-error.ts";
import type { Runtime } from "../runtime.ts";
import { auditFields, type Decider, knownDevice } from "./change-parts.ts";
import type { Sessions } from "./sessions.ts";
import type { Tables } from "./tables.ts";

export interface DeviceTokensOptions {
  readonly tables: Tables;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  /** What tokens are derived with. */
  readonly tokenKey: Uint8Array;
}

export class DeviceTokens {
  readonly #tables: Tables;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;
  readonly #tokenKey: KeyObject;

  constructor({ tables, sessions, runtime, tokenKey }: DeviceTokensOptions) {
    this.#tables = tables;
    this.#sessions = sessions;
    this.#runtime = runtime;
    this.#tokenKey = createSecretKey(tokenKey);
  }

  /** Replaces a role's token. The sessions that hang on the old one are closed by `closeSessions`, after the reply is out. */
  rotate(
    deviceId: string,
    role: string,
    scopes: readonly string[] | undefined,
    by: Decider,
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
      });
      change.devices.put(deviceId, issued.device);
      change.audit({ action: "token.rotate", device: deviceId, role, ...auditFields(by) });
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
   * The token to tell a device in hello-ok: the one it has already, or a first one for a role that has none. `shown` is the one that it
   * came with, if it did.
   */
  async tokenFor(
    device: DeviceRecord,
    role: string,
    shown: string | undefined,
  ): Promise<{ readonly token: string; readonly issuedAtMs: number }> {
    const existing = shown ?? reissuableToken(this.#tokenKey, device, role);
    const record = device.tokens[role];
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
    return issueToken(device, { gatewayKey: this.#tokenKey, role, scopes, salt: this.#salt(), nowMs }).device;
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
