/**
 * Rotations as an operator makes them: which tokens, what is said before somebody is cut off, and how the devices move to their new tokens
 * while the old ones still work.
 */
import { handsOver } from "../client/token-follower.ts";
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import type { Role } from "../protocol/vocabulary.ts";
import type { MethodResults, PairedDevice } from "../protocol/methods.ts";
import type { Context } from "./context.ts";
import { CutOffAgreement } from "./cut-off-agreement.ts";
import { findDevice, listDevices } from "./device-directory.ts";
import { asOperator, asPairingOperator } from "./operator.ts";
import { fetchOwnNodeToken, keepOwnToken, rotateOwnToken } from "./own-token.ts";
import { assertCriticalMoved, follow } from "./rotation-progress.ts";
import type { TargetFlags } from "./target-options.ts";
import { onlyRoleOf, readRole } from "./token-choice.ts";

/** What the new tokens are to be; without scopes they may do what the old ones could. */
export interface RotationOrder {
  readonly role: Role | undefined;
  readonly scopes: readonly string[] | undefined;
  /** Milliseconds that the old tokens work beside new ones that were not used yet. */
  readonly overlapMs: number;
  /** The same for devices that are not connected, which have to come first. */
  readonly overlapAwayMs: number;
  /** A person asked for the overlap: a gateway that has none is not good enough. */
  readonly mustOverlap: boolean;
  /** Devices whose old token stays until they have moved, as a person calls them. */
  readonly critical: readonly string[];
  /** A person agreed that devices may be cut off. */
  readonly isAgreed: boolean;
}

/** A token that was rotated, and how far its device has come. */
export type MovedToken = MethodResults["device.token.rotate"] & {
  readonly name?: string | undefined;
  readonly isCritical: boolean;
  /** It is this machine's own, and is on its disk. */
  readonly isOwn: boolean;
};

/** A token that is to be rotated. */
export interface Target {
  readonly device: PairedDevice;
  readonly role: Role;
  readonly isCritical: boolean;
  readonly isOwn: boolean;
}

const everything = ["operator.pairing", "operator.admin"] as const;

/** This machine's own token, stored and proven before this resolves. */
export async function rotateSelf(context: Context, flags: TargetFlags, order: RotationOrder): Promise<MovedToken> {
  const { deviceId } = await context.identity();
  if (order.role === "node") return rotateOwnNode(context, flags, order, deviceId);
  if (order.critical.length > 0) {
    throw new OpenClawError("usage", "--critical is for other devices: --self is proven before it reports success");
  }
  const rotated = await rotateOwnToken(context, flags, order.role ?? "operator", order);
  return { ...rotated, isCritical: false, isOwn: true };
}

/** A node that runs here takes the new token in; for one that does not, it is fetched now, while the old one still works. */
async function rotateOwnNode(
  context: Context,
  flags: TargetFlags,
  order: RotationOrder,
  deviceId: string,
): Promise<MovedToken> {
  const overlapMs = Math.max(order.overlapMs, ownOverlapMs);
  const moved = await rotateDevice(context, flags, { ...order, overlapMs, overlapAwayMs: overlapMs }, deviceId);
  if (moved.state === undefined || moved.state === "confirmed") return moved;
  await fetchOwnNodeToken(context, flags);
  return { ...moved, state: "confirmed", isOwn: true };
}

/** The least that a token of ours works beside the one that takes its place: until that one is written down and proven. */
const ownOverlapMs = 60_000;

/** One device's token. Resolves when it has moved, cannot move now, or had its time. */
export async function rotateDevice(
  context: Context,
  flags: TargetFlags,
  order: RotationOrder,
  wanted: string,
): Promise<MovedToken> {
  const agreement = new CutOffAgreement(context, order);
  const [moved] = await asPairingOperator(context, flags, async (session) => {
    const { paired } = await listDevices(session);
    const device = findDevice(wanted, paired);
    const ownId = await ownDeviceId(context, session);
    const target = { device, role: order.role ?? onlyRoleOf(device), ...marksOf(device, order, paired, ownId) };
    assertAllMeant(order, paired, [target]);
    await agree(session, [target], order, agreement);
    return [await rotateTarget(context, flags, session, order, target)];
  });
  if (moved === undefined) throw new OpenClawError("not-found", `${wanted} has no token`);
  const [followed = moved] = await follow(context, flags, order, [moved]);
  assertCriticalMoved(context, [followed]);
  return followed;
}

/** Every token of every device, of one role if it is named. One that cannot be rotated keeps nobody else's from it, and is told at the end. */
export async function rotateAll(
  context: Context,
  flags: TargetFlags,
  order: RotationOrder,
): Promise<readonly MovedToken[]> {
  const agreement = new CutOffAgreement(context, order);
  const { moved, failed } = await asOperator(context, flags, everything, async (session) => {
    const { paired } = await listDevices(session);
    const ownId = await ownDeviceId(context, session);
    const targets = paired.flatMap((device) =>
      device.tokens
        .filter(({ role, revokedAtMs }) => revokedAtMs === undefined && (order.role ?? role) === role)
        .map(({ role }) => readRole(role))
        .map((role) => ({ device, role, ...marksOf(device, order, paired, ownId) })),
    );
    assertAllMeant(order, paired, targets);
    // One's own comes last: a gateway without overlap ends this very session with it.
    const inOrder = targets.toSorted((a, b) => Number(isCallersOwn(a)) - Number(isCallersOwn(b)));
    return rotateTargets(context, flags, session, order, inOrder, agreement);
  });
  const followed = await follow(context, flags, order, moved);
  assertAllRotated(followed, failed);
  assertCriticalMoved(context, followed);
  return followed;
}

/** True for the token that this very session may hang on, which the gateway hands to nobody else. */
function isCallersOwn({ isOwn, role }: Target): boolean {
  return isOwn && role === "operator";
}

function marksOf(
  device: PairedDevice,
  { critical }: RotationOrder,
  paired: readonly PairedDevice[],
  ownId: string | undefined,
): Pick<Target, "isCritical" | "isOwn"> {
  const isCritical = critical.some((name) => findDevice(name, paired).deviceId === device.deviceId);
  return { isCritical, isOwn: device.deviceId === ownId };
}

/** A device that is named as critical and not rotated is a mistake that is better found now. */
function assertAllMeant(
  { critical }: RotationOrder,
  paired: readonly PairedDevice[],
  targets: readonly Target[],
): void {
  for (const name of critical) {
    const { deviceId } = findDevice(name, paired);
    if (targets.some(({ device }) => device.deviceId === deviceId)) continue;
    throw new OpenClawError("usage", `--critical names ${name}, which is not among the devices to rotate`);
  }
}

/** Who this session is by its device token; undefined for the gateway's own callers. */
async function ownDeviceId(context: Context, { hello }: GatewaySession): Promise<string | undefined> {
  return hello.auth?.method === "device-token" ? (await context.identity()).deviceId : undefined;
}

async function rotateTargets(
  context: Context,
  flags: TargetFlags,
  session: GatewaySession,
  order: RotationOrder,
  targets: readonly Target[],
  agreement: CutOffAgreement,
): Promise<{ readonly moved: readonly MovedToken[]; readonly failed: readonly FailedRotation[] }> {
  await agree(session, targets, order, agreement);
  const moved: MovedToken[] = [];
  const failed: FailedRotation[] = [];
  for (const target of targets) {
    try {
      moved.push(await rotateTarget(context, flags, session, order, target));
    } catch (reason) {
      // Nothing was rotated yet: whoever asked can do something about it and begin again.
      if (!isFailure(reason) || moved.length + failed.length === 0) throw reason;
      failed.push({ target, reason });
    }
  }
  return { moved, failed };
}

function overlapOf({ overlapMs, overlapAwayMs }: RotationOrder, { connected }: PairedDevice): number {
  return connected === false ? overlapAwayMs : overlapMs;
}

/** Asks first where devices would be cut off: by a gateway that cannot hand over, or because they are away and get no time. */
async function agree(
  session: GatewaySession,
  targets: readonly Target[],
  order: RotationOrder,
  agreement: CutOffAgreement,
): Promise<void> {
  const others = targets.filter((target) => !isCallersOwn(target));
  if (!handsOver(session)) return agreement.reach(session, others);
  if (order.overlapMs === 0) await agreement.reachForAway(others.filter(({ device }) => device.connected === false));
}

async function rotateTarget(
  context: Context,
  flags: TargetFlags,
  session: GatewaySession,
  order: RotationOrder,
  target: Target,
): Promise<MovedToken> {
  const { device, role, isCritical } = target;
  const isGentle = handsOver(session);
  const rotated = await session.call("device.token.rotate", {
    deviceId: device.deviceId,
    role,
    ...(order.scopes === undefined ? {} : { scopes: [...order.scopes] }),
    ...(isGentle ? { overlapMs: overlapOf(order, device), ...(isCritical ? { critical: true } : {}) } : {}),
  });
  const isOwn = isCallersOwn(target) && rotated.token !== undefined;
  const state = isOwn ? await keepOwnToken(context, flags, session, rotated) : rotated.state;
  return { ...rotated, ...(state === undefined ? {} : { state }), name: nameOf(device), isCritical, isOwn };
}

/** A token of a fleet that is as it was, and why. */
interface FailedRotation {
  readonly target: Target;
  readonly reason: OpenClawError;
}

/** Fails with all of the fleet in `details` when a part of it could not be rotated. */
function assertAllRotated(moved: readonly MovedToken[], failed: readonly FailedRotation[]): void {
  const [first] = failed;
  if (first === undefined) return;
  const names = failed.map(
    ({ target: { device, role }, reason }) => `${nameOf(device) ?? device.deviceId} (${role}): ${reason.message}`,
  );
  const total = moved.length + failed.length;
  throw new OpenClawError(
    first.reason.code,
    `${failed.length} of ${total} tokens were not rotated: ${names.join("; ")}`,
    {
      hint: `their old tokens work as before; the other ${moved.length} were rotated`,
      details: {
        devices: [
          ...moved.map(({ deviceId, role, state }) => ({ deviceId, role, state: state ?? "pending" })),
          ...failed.map(({ target: { device, role }, reason }) => ({
            deviceId: device.deviceId,
            role,
            state: "failed",
            code: reason.code,
          })),
        ],
      },
      cause: first.reason,
    },
  );
}

function nameOf({ operatorLabel, displayName }: PairedDevice): string | undefined {
  return operatorLabel ?? displayName;
}
