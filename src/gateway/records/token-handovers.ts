/**
 * How devices move to the new token of a rotation with an overlap. It is pushed over the device's own session (event device.token.rotated),
 * answered when it is on the device's disk (device.token.delivered), and over when a connection came with the new token, or when its time is.
 * Everything that counts is in the store before it is said: whoever dies in between finds it there.
 */
import type { DeviceRecord, TokenRecord } from "../../pairing/records.ts";
import { atTime, liveHashes, noteDelivered, rotationState } from "../../pairing/token-handover.ts";
import { closeCodes } from "../../protocol/close.ts";
import type { RotationProgress } from "../../protocol/methods.ts";
import type { TokenRotated } from "../../protocol/token-rotated.ts";
import type { Runtime } from "../../runtime.ts";
import type { Session } from "../session.ts";
import type { Sessions } from "../sessions.ts";
import type { Tables } from "./tables.ts";

export interface TokenHandoversOptions {
  readonly tables: Tables;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  /** The present token of a device, as far as it can be derived. */
  readonly tokenOf: (device: DeviceRecord, role: string) => string | undefined;
  /** True while a session owes somebody an answer. */
  readonly isBusy: (session: Session) => boolean;
}

/** Milliseconds that a device has to write its new token down when the old one ended at once: a synced write, many times over. */
const writeGraceMs = 2000;
/** Milliseconds that a client has to say that it takes new tokens in, before it counts as one that does not. */
const nudgeAfterMs = 2000;

const replaced = "device token replaced";

export class TokenHandovers {
  readonly #tables: Tables;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;
  readonly #tokenOf: TokenHandoversOptions["tokenOf"];
  readonly #isBusy: TokenHandoversOptions["isBusy"];
  /** Which generation a device was asked to come with: once, for it may have no way to. */
  readonly #askedForProof = new Map<string, string>();

  constructor({ tables, sessions, runtime, tokenOf, isBusy }: TokenHandoversOptions) {
    this.#tables = tables;
    this.#sessions = sessions;
    this.#runtime = runtime;
    this.#tokenOf = tokenOf;
    this.#isBusy = isBusy;
  }

  /** True when a session of the device takes new tokens in. */
  canPush(deviceId: string, role: string): boolean {
    return this.#sessionsOf(deviceId, role).some(({ takesTokens }) => takesTokens);
  }

  /**
   * Gives the new token of a rotation to the sessions of its device and role that take it in. Where nothing of the old one is to live on, the
   * other sessions end at once, and these when they have not moved to the new one in time.
   */
  begin(deviceId: string, role: string): void {
    const token = this.#tables.devices.get(deviceId)?.tokens[role];
    if (token === undefined) return;
    const sessions = this.#sessionsOf(deviceId, role);
    for (const session of sessions) if (session.takesTokens) this.#push(session);
    if (token.handover === undefined || token.handover.previous.length > 0) return;
    this.#endStale(sessions.filter(({ takesTokens }) => !takesTokens));
    this.#runtime.after(writeGraceMs, () => this.#endStale(sessions));
  }

  /** Ends those of the sessions that hang on no token which works now. */
  #endStale(sessions: readonly Session[]): void {
    for (const session of sessions) {
      const { deviceId = "", role } = session.facts;
      const token = this.#tables.devices.get(deviceId)?.tokens[role];
      const isLive =
        token !== undefined && session.tokenHash !== undefined && liveHashes(token).includes(session.tokenHash);
      if (!isLive) session.close(closeCodes.credentialChanged, "device removed");
    }
  }

  /** The session takes new tokens in from now on; one that waits for its device is pushed at once. */
  watch(session: Session): void {
    session.takesTokens = true;
    this.#pushUndelivered(session);
  }

  /** Pushes what another process has rotated. */
  pushUndelivered(): void {
    for (const session of this.#sessions) if (session.takesTokens) this.#pushUndelivered(session);
  }

  /**
   * A device has the generation with this hash on its disk; its session hangs on that one from now on. False when that is not the
   * present one: another rotation followed, and is being told.
   */
  async delivered(session: Session, tokenHash: string): Promise<boolean> {
    const { deviceId = "", role } = session.facts;
    const { isPresent, isLive } = await this.#tables.change((change) => {
      const device = change.devices.get(deviceId);
      const token = device?.tokens[role];
      if (device === undefined || token === undefined) return { isPresent: false, isLive: false };
      const noted = noteDelivered(token, tokenHash, change.nowMs);
      if (noted !== undefined) {
        change.devices.put(deviceId, { ...device, tokens: { ...device.tokens, [role]: noted } });
        change.audit({ action: "token.delivered", device: deviceId, role, by: session.facts.connId });
      }
      return { isPresent: token.hash === tokenHash, isLive: liveHashes(token).includes(tokenHash) };
    });
    if (isLive) session.tokenHash = tokenHash;
    return isPresent;
  }

  /** To be called now and then: ends what is over, and has clients come again that can learn of their new token in no other way. */
  async keepUp(): Promise<void> {
    await this.#endOverlaps();
    this.#nudge();
  }

  async #endOverlaps(): Promise<void> {
    const nowMs = this.#runtime.now();
    const isOver = (device: DeviceRecord) => atTime(device, nowMs) !== device;
    const over = [...this.#tables.devices.values()].filter(isOver).map(({ deviceId }) => deviceId);
    if (over.length === 0) return;
    await this.#tables.change((change) => {
      for (const deviceId of over) {
        const device = change.devices.get(deviceId);
        if (device === undefined || !isOver(device)) continue;
        change.devices.put(deviceId, atTime(device, nowMs));
        change.audit({ action: "token.overlap-end", device: deviceId });
      }
    });
    for (const deviceId of over) this.closeVoid(deviceId);
  }

  /** How far each rotation with an overlap has come. */
  progress(): readonly RotationProgress[] {
    const nowMs = this.#runtime.now();
    return [...this.#tables.devices.values()].flatMap((device) =>
      Object.values(atTime(device, nowMs).tokens).flatMap((token) => progressOf(device.deviceId, token)),
    );
  }

  /** Closes sessions of a device that hang on a generation which works no more. */
  closeVoid(deviceId: string): void {
    const tokens = this.#tables.devices.get(deviceId)?.tokens ?? {};
    for (const session of this.#sessions) {
      const { facts, tokenHash } = session;
      const token = tokens[facts.role];
      if (facts.deviceId !== deviceId || tokenHash === undefined || token === undefined) continue;
      if (!liveHashes(token).includes(tokenHash)) session.close(closeCodes.credentialChanged, replaced);
    }
  }

  /**
   * A node that takes no pushes, such as the product's, learns of its new token in hello-ok: in a calm moment it is told to connect again, as
   * if the gateway were restarting. Otherwise the end of the overlap would cut it off. A critical one is asked once more, to show that it has it.
   */
  #nudge(): void {
    for (const session of this.#sessions) {
      const { deviceId = "", role, connectedAtMs, declared } = session.facts;
      if (declared === undefined || session.tokenHash === undefined || session.takesTokens) continue;
      const token = this.#tables.devices.get(deviceId)?.tokens[role];
      if (token?.handover === undefined || token.hash === session.tokenHash || this.#isBusy(session)) continue;
      const { rotatedAtMs = 0, handover } = token;
      const sinceMs = Math.max(rotatedAtMs, connectedAtMs);
      if (this.#runtime.now() - sinceMs < nudgeAfterMs) continue; // it may still say that it takes them
      const wasTold = connectedAtMs > rotatedAtMs;
      if (wasTold && (!handover.isCritical || this.#askedForProof.get(deviceId) === token.hash)) continue;
      if (wasTold) this.#askedForProof.set(deviceId, token.hash);
      session.close(closeCodes.serviceRestart, "service restart");
    }
  }

  #pushUndelivered(session: Session): void {
    const { deviceId = "", role } = session.facts;
    const token = this.#tables.devices.get(deviceId)?.tokens[role];
    if (token !== undefined && rotationState(token) === "pending") this.#push(session);
  }

  /** Sends a session the present token of its very own device and role. */
  #push(session: Session): void {
    const { deviceId = "", role } = session.facts;
    const device = this.#tables.devices.get(deviceId);
    const record = device?.tokens[role];
    const token = device === undefined ? undefined : this.#tokenOf(device, role);
    if (record === undefined || token === undefined) return;
    const { scopes, rotatedAtMs = record.createdAtMs } = record;
    const rotated: TokenRotated = { role, token, scopes: [...scopes], rotatedAtMs };
    session.event("device.token.rotated", rotated);
  }

  #sessionsOf(deviceId: string, role: string): readonly Session[] {
    return [...this.#sessions].filter(({ facts }) => facts.deviceId === deviceId && facts.role === role);
  }
}

function progressOf(deviceId: string, token: TokenRecord): readonly RotationProgress[] {
  const { role, handover, rotatedAtMs = token.createdAtMs } = token;
  const state = rotationState(token);
  if (handover === undefined || state === undefined) return [];
  const { previous, validUntilMs: overlapUntilMs } = handover;
  return [{ deviceId, role, state, rotatedAtMs, overlapUntilMs, oldIsValid: previous.length > 0 }];
}
