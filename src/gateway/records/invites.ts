/**
 * Invites as this gateway keeps them: made, looked at, withdrawn, used. The use is one change: the invite is bound, the device and its
 * first command list are approved and its token exists, or nothing of it has happened.
 */
import { coversSurface, type DeclaredSurface } from "../../pairing/command-policy.ts";
import {
  defaultInviteLifeMs,
  endOf,
  findInvite,
  type InviteBearer,
  invitedSurface,
  inviteEnd,
  type InviteRecord,
  type InviteVerdict,
  isForgettableInvite,
  judgeInvite,
  maxOpenInvites,
} from "../../pairing/invites.ts";
import type { DeviceRecord } from "../../pairing/records.ts";
import { approveDevice, type DeviceAsk, isOpen, optional } from "../../pairing/requests.ts";
import type { InviteSummary } from "../../protocol/methods.ts";
import { invalidRequest } from "../../protocol/wire-error.ts";
import type { Runtime } from "../../runtime.ts";
import { type CredentialDigest, hashSecret } from "../../secret.ts";
import { auditFields, type Decider } from "./change-parts.ts";
import type { DeviceTokens } from "./device-tokens.ts";
import type { Sessions } from "../sessions.ts";
import type { Change, Tables } from "./tables.ts";

export interface InvitesOptions {
  readonly tables: Tables;
  readonly tokens: DeviceTokens;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
}

/** What an invite is to be; its id, secret and times are made here. */
export interface InviteAsk extends Pick<
  InviteRecord,
  "url" | "tlsFingerprint" | "displayName" | "forDeviceId" | "commands"
> {
  readonly lifeMs?: number | undefined;
}

/** A device that comes with an invite, and what it offers, cut to the policy. */
export interface Guest {
  readonly ask: DeviceAsk;
  readonly declared: DeclaredSurface;
}

type Used = { readonly ok: true; readonly device: DeviceRecord } | (InviteVerdict & { readonly ok: false });

export class Invites {
  readonly #tables: Tables;
  readonly #tokens: DeviceTokens;
  readonly #sessions: Sessions;
  readonly #runtime: Runtime;

  constructor({ tables, tokens, sessions, runtime }: InvitesOptions) {
    this.#tables = tables;
    this.#tokens = tokens;
    this.#sessions = sessions;
    this.#runtime = runtime;
  }

  /** Makes an invite; its secret, 32 random bytes in base64url, is in the answer and nowhere else. */
  async mint(ask: InviteAsk, by: Decider): Promise<{ readonly invite: InviteRecord; readonly secret: string }> {
    const secret = Buffer.from(this.#runtime.random(32)).toString("base64url");
    const { lifeMs = defaultInviteLifeMs, ...wanted } = ask;
    const invite = await this.#tables.change((change) => {
      const open = pruned(change).filter((other) => endOf(other, change.nowMs) === undefined);
      if (open.length >= maxOpenInvites) {
        throw invalidRequest(
          `${open.length} invites wait to be used already; withdraw some, or wait until they expire`,
        );
      }
      const made: InviteRecord = {
        ...wanted,
        inviteId: this.#runtime.uuid(),
        secretHash: hashSecret(secret),
        role: "node",
        createdAtMs: change.nowMs,
        expiresAtMs: change.nowMs + lifeMs,
      };
      change.invites.put(made.inviteId, made);
      change.audit({
        action: "invite.make",
        invite: made.inviteId,
        role: made.role,
        expiresAtMs: made.expiresAtMs,
        ...optional("forDevice", made.forDeviceId),
        ...optional("commands", made.commands?.join(",")),
        ...auditFields(by),
      });
      return made;
    });
    this.#runtime.log("info", "invite made", { invite: invite.inviteId, role: invite.role, by: by.connId });
    return { invite, secret };
  }

  /** What the invite with this secret does for its bearer. Nothing is changed. */
  judge(shown: CredentialDigest, bearer: InviteBearer, device: DeviceRecord | undefined): InviteVerdict {
    return judgeInvite(findInvite(this.#tables.invites.values(), shown), bearer, device, this.#runtime.now());
  }

  /**
   * Uses an invite for a device whose proof held. Whether it may is decided once more inside the change: of two devices that come with
   * one invite at the same moment one gets in.
   */
  async use(inviteId: string, { ask, declared }: Guest, by: Decider): Promise<Used> {
    const bearer: InviteBearer = { deviceId: ask.deviceId, role: "node", scopes: [] };
    const used = await this.#tables.change((change) => {
      const known = change.devices.get(ask.deviceId);
      const verdict = judgeInvite(change.invites.get(inviteId), bearer, known, change.nowMs);
      if (!verdict.ok) return verdict;
      if (verdict.use !== "first" && known !== undefined) return { ok: true, device: known } as const;
      return { ok: true, ...this.#enrol(change, verdict.invite, { ask, declared }, by) } as const;
    });
    if (used.ok && "resolved" in used) this.#tellUsed(used.invite, used.device, used.resolved);
    return used;
  }

  /** Makes an invite that was not used yet unusable. Fails like a method for one that does not exist or has ended. */
  async withdraw(inviteId: string, by: Decider): Promise<number> {
    const withdrawnAtMs = await this.#tables.change((change) => {
      const invite = change.invites.get(inviteId) ?? unknownInvite(inviteId);
      const end = endOf(invite, change.nowMs);
      if (end !== undefined)
        throw invalidRequest(inviteEnd(invite, end), { code: "INVITE_ENDED", setupId: inviteId, end });
      change.invites.put(inviteId, { ...invite, withdrawnAtMs: change.nowMs });
      change.audit({ action: "invite.withdraw", invite: inviteId, ...auditFields(by) });
      return change.nowMs;
    });
    this.#runtime.log("info", "invite withdrawn", { invite: inviteId, by: by.connId });
    return withdrawnAtMs;
  }

  /** The invite with this id. Fails like a method when there is none. */
  find(inviteId: string): InviteRecord {
    return this.#tables.invites.get(inviteId) ?? unknownInvite(inviteId);
  }

  /** Everything that is remembered, newest first. */
  list(): readonly InviteSummary[] {
    const all = [...this.#tables.invites.values()].toSorted((a, b) => b.createdAtMs - a.createdAtMs);
    return all.map((invite) => inviteSummary(invite, this.#runtime.now()));
  }

  /** True for the secret of an invite that is remembered, dead or not: what the HTTP upgrade may ask before it knows the device. */
  knows(shown: CredentialDigest): boolean {
    return findInvite(this.#tables.invites.values(), shown) !== undefined;
  }

  /** Everything that the use of an invite brings about, in the change that it is part of. */
  #enrol(change: Change, invite: InviteRecord, { ask, declared }: Guest, by: Decider) {
    const { nowMs } = change;
    const known = change.devices.get(ask.deviceId);
    const request = { ...ask, requestId: "", createdAtMs: nowMs, ts: nowMs };
    const approved = this.#tokens.grantFor(approveDevice(known, request, "bootstrap", nowMs), ask.role, nowMs);
    const surface = {
      ...invitedSurface(declared, invite),
      createdAtMs: known?.surface?.createdAtMs ?? nowMs,
      approvedAtMs: nowMs,
    };
    const label = optional("operatorLabel", invite.displayName ?? known?.operatorLabel);
    const device: DeviceRecord = { ...approved, surface, ...label };
    change.devices.put(device.deviceId, device);
    const name = optional("usedByName", device.operatorLabel ?? device.displayName);
    const used: InviteRecord = { ...invite, usedAtMs: nowMs, usedBy: device.deviceId, ...name };
    change.invites.put(invite.inviteId, used);
    auditUse(change, used, device, by);
    const waiting = resolveWaiting(change, device, ask.role);
    return {
      device,
      invite: used,
      resolved: {
        device: waiting.deviceRequest ?? this.#runtime.uuid(),
        surface: waiting.surfaceRequest ?? this.#runtime.uuid(),
      },
    };
  }

  #tellUsed(
    { inviteId, usedAtMs: ts }: InviteRecord,
    device: DeviceRecord,
    resolved: { readonly device: string; readonly surface: string },
  ): void {
    const { deviceId } = device;
    this.#runtime.log("info", "invite used", { invite: inviteId, device: deviceId });
    const decided = { decision: "approved", ts };
    const tell = (event: string, payload: object) => this.#sessions.tellOperators("operator.pairing", event, payload);
    tell("device.pair.resolved", { requestId: resolved.device, deviceId, ...decided });
    tell("node.pair.resolved", { requestId: resolved.surface, nodeId: deviceId, ...decided });
    const name = device.operatorLabel ?? device.displayName;
    tell("device.pair.setup.completed", {
      setupId: inviteId,
      deviceId,
      ...optional("deviceName", name),
      access: "node",
      ts,
    });
  }
}

/** What the device had asked for before and now has, resolved. */
function resolveWaiting(change: Change, { deviceId, surface }: DeviceRecord, role: string) {
  const resolution = { decision: "approved", atMs: change.nowMs } as const;
  const asked = change.deviceRequests
    .all()
    .find((request) => request.deviceId === deviceId && request.role === role && isOpen(request, change.nowMs));
  if (asked !== undefined) change.deviceRequests.put(asked.requestId, { ...asked, resolution });
  const list = change.surfaceRequests
    .all()
    .find((one) => one.nodeId === deviceId && one.resolution === undefined && coversSurface(surface, one));
  if (list !== undefined) change.surfaceRequests.put(list.requestId, { ...list, resolution });
  return { deviceRequest: asked?.requestId, surfaceRequest: list?.requestId };
}

function auditUse(
  change: Change,
  { inviteId, role }: InviteRecord,
  { deviceId, surface }: DeviceRecord,
  by: Decider,
): void {
  const common = { device: deviceId, invite: inviteId, ...auditFields(by) };
  change.audit({ action: "invite.use", ...common });
  change.audit({ action: "device.enrol", via: "bootstrap", role, ...common });
  change.audit({ action: "surface.approve", via: "bootstrap", commands: surface?.commands.join(","), ...common });
}

/** An invite as the methods show it: never its secret or the hash of it. */
export function inviteSummary(invite: InviteRecord, nowMs: number): InviteSummary {
  const { inviteId, secretHash: _hash, ...shown } = invite;
  return { setupId: inviteId, ...shown, state: endOf(invite, nowMs) ?? "open" };
}

function pruned(change: Change): readonly InviteRecord[] {
  const all = change.invites.all();
  for (const invite of all) if (isForgettableInvite(invite, change.nowMs)) change.invites.delete(invite.inviteId);
  return all;
}

function unknownInvite(setupId: string): never {
  throw invalidRequest("unknown setupId", { code: "UNKNOWN_INVITE", setupId });
}
