/** device.pair.* and device.token.*: who is known, who waits, whose token is which. protocol.md § 6. */
import { lacksToGrant } from "../../pairing/scopes.ts";
import type { MethodHandlers } from "../../protocol/methods.ts";
import { holdsScopes } from "../../protocol/vocabulary.ts";
import { invalidRequest, missingScope, RequestRefused } from "../../protocol/wire-error.ts";
import type { CallContext } from "../dispatch.ts";
import type { Session } from "../session.ts";
import { deviceSummary, endOf } from "../records/summaries.ts";
import { assertOwnDevice, deciderOf, isLimitedToOwnDevice, rotatesOwnToken } from "./callers.ts";
import type { MethodHouse } from "./house.ts";

type DeviceMethods = Pick<
  MethodHandlers<CallContext>,
  | "device.pair.list"
  | "device.pair.lookup"
  | "device.pair.approve"
  | "device.pair.reject"
  | "device.pair.remove"
  | "device.pair.rename"
  | "device.token.rotate"
  | "device.token.revoke"
  | "device.token.progress"
  | "device.token.watch"
  | "device.token.delivered"
>;

export function deviceMethods({ tables, devices, tokens, sessions, runtime }: MethodHouse): DeviceMethods {
  return {
    "device.pair.list": async ({ session }) => {
      await tables.refresh();
      const mine = (deviceId: string) => !isLimitedToOwnDevice(session) || deviceId === session.facts.deviceId;
      const pending = devices.open(runtime.now()).filter(({ deviceId }) => mine(deviceId));
      const paired = [...tables.devices.values()].filter(({ deviceId }) => mine(deviceId));
      return {
        pending: pending.map((request) => devices.shown(request)),
        paired: paired
          .toSorted((a, b) => b.approvedAtMs - a.approvedAtMs)
          .map((device) => deviceSummary(device, sessions.isConnected(device.deviceId))),
      };
    },

    "device.pair.lookup": async ({ session }, { request: wanted }) => {
      await tables.refresh();
      const found = devices.lookUp(wanted);
      const mine = found.every(({ deviceId }) => !isLimitedToOwnDevice(session) || deviceId === session.facts.deviceId);
      const nowMs = runtime.now();
      return {
        requests: mine ? found.map((request) => ({ ...devices.shown(request), ...endOf(request, nowMs) })) : [],
      };
    },

    "device.pair.approve": async ({ session }, { requestId }) => {
      const device = await devices.approve(requestId, "owner", deciderOf(session), ({ deviceId, role, scopes }) => {
        assertOwnDevice(session, deviceId);
        assertMayGrant(session, role, scopes, "device pairing approval denied: ");
      });
      return { requestId, device: deviceSummary(device, sessions.isConnected(device.deviceId)) };
    },

    "device.pair.reject": async ({ session }, { requestId, reason }) => {
      const mayReject = (request: { readonly deviceId: string }) => assertOwnDevice(session, request.deviceId);
      const { deviceId } = await devices.reject(requestId, reason, deciderOf(session), mayReject);
      return { requestId, deviceId };
    },

    "device.pair.remove": async ({ session, afterReply }, { deviceId }) => {
      assertOwnDevice(session, deviceId);
      const close = await devices.remove(deviceId, deciderOf(session));
      afterReply(close);
      return { deviceId };
    },

    "device.pair.rename": async ({ session }, { deviceId, label }) => {
      assertOwnDevice(session, deviceId);
      await devices.rename(deviceId, label, deciderOf(session));
      return { deviceId, label };
    },

    "device.token.rotate": async ({ session, afterReply }, { deviceId, role, scopes, overlapMs, critical = false }) => {
      assertOwnDevice(session, deviceId);
      const device = tables.devices.get(deviceId);
      const present = device?.tokens[role]?.scopes ?? [];
      const isOwn = rotatesOwnToken(session, { deviceId, role });
      // Its own token may be replaced by one that does no more, also in a session that has asked for less.
      if (!isOwn || !holdsScopes(present, scopes ?? [])) assertMayGrant(session, role, scopes ?? present);
      if (scopes !== undefined && !holdsScopes(role === "operator" ? (device?.scopes ?? []) : [], scopes)) {
        throw invalidRequest("device token rotation denied: the scopes are wider than the device is approved for", {
          code: "SCOPES_NOT_APPROVED",
          approvedScopes: device?.scopes ?? [],
        });
      }
      const overlap = overlapMs === undefined ? undefined : { overlapMs, isCritical: critical };
      const rotated = await tokens.rotate(deviceId, role, scopes, deciderOf(session), overlap);
      afterReply(() => {
        if (overlap === undefined) tokens.closeSessions(deviceId, role);
        else tokens.handovers.begin(deviceId, role);
      });
      const isPushed = overlap !== undefined && tokens.handovers.canPush(deviceId, role);
      const record = rotated.device.tokens[role];
      return {
        deviceId,
        role,
        scopes: record?.scopes ?? [],
        rotatedAtMs: rotated.rotatedAtMs,
        tokenDelivery: isOwn ? "in-band" : "withheld-cross-device",
        ...(isOwn ? { token: rotated.token } : {}),
        ...(record?.handover === undefined
          ? {}
          : { overlapUntilMs: record.handover.validUntilMs, state: "pending" as const, pushed: isPushed }),
      };
    },

    "device.token.progress": async ({ session }) => {
      await tables.refresh();
      const mine = (deviceId: string) => !isLimitedToOwnDevice(session) || deviceId === session.facts.deviceId;
      return { rotations: tokens.handovers.progress().filter(({ deviceId }) => mine(deviceId)) };
    },

    "device.token.watch": ({ session, afterReply }) => {
      afterReply(() => tokens.handovers.watch(session));
      return { ok: true };
    },

    "device.token.delivered": async ({ session }, { tokenHash }) =>
      (await tokens.handovers.delivered(session, tokenHash)) ? { ok: true } : { ok: true, ignored: true },

    "device.token.revoke": async ({ session, afterReply }, { deviceId, role }) => {
      assertOwnDevice(session, deviceId);
      assertMayGrant(session, role, tables.devices.get(deviceId)?.tokens[role]?.scopes ?? []);
      const revokedAtMs = await tokens.revoke(deviceId, role, deciderOf(session));
      afterReply(() => tokens.closeSessions(deviceId, role));
      return { deviceId, role, revokedAtMs };
    },
  };
}

function assertMayGrant(session: Session, role: string, scopes: readonly string[], denied = ""): void {
  const lacking = lacksToGrant(session.facts.scopes, role, scopes);
  if (lacking === undefined) return;
  const { wire } = missingScope(lacking);
  throw new RequestRefused({ ...wire, message: `${denied}${wire.message}` });
}
