/** How devices move to their new tokens, as the operator watches it. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import type { RotationProgress } from "../protocol/methods.ts";
import type { Context } from "./context.ts";
import { asOperator } from "./operator.ts";
import type { MovedToken, RotationOrder } from "./rotation.ts";
import type { TargetFlags } from "./target-options.ts";

/** Milliseconds between two looks at how far the devices have come. */
const lookMs = 150;
/** The share of the command's time that may go into waiting for devices: the rest is for the answer. */
const waitingShare = 0.8;
/** Timers end at 2^31 ms. */
const maxWaitMs = 2_000_000_000;

/**
 * Watches how far the devices have come: connected ones take a moment, critical ones have the whole window. Resolves with what is known
 * when all have moved, or the time is over. A gateway that goes away meanwhile is asked again: it knows all of it from its store.
 */
export async function follow(
  context: Context,
  flags: TargetFlags,
  { overlapMs }: RotationOrder,
  moved: readonly MovedToken[],
): Promise<readonly MovedToken[]> {
  if (!moved.some(isAwaited)) return moved;
  const { runtime } = context;
  if (moved.some(({ isCritical }) => isCritical)) {
    context.extendTimeout(Math.min(maxWaitMs, Math.ceil(overlapMs / waitingShare)));
  }
  const waitMs = Math.floor(context.timeoutMs * waitingShare);
  const stopAtMs = runtime.now() + (overlapMs === 0 ? waitMs : Math.min(waitMs, overlapMs));
  let known = moved;
  const isDone = () => runtime.now() >= stopAtMs || !known.some(isAwaited);
  const pause = () => runtime.sleep(lookMs, context.oneShotSignal);
  for (const one of moved) if (isAwaited(one)) tell(context, one);
  const look = async (session: GatewaySession) => {
    while (!isDone()) {
      const { rotations } = await session.call("device.token.progress", {});
      known = known.map((one) => advance(context, one, rotations));
      if (!isDone()) await pause();
    }
  };
  while (!isDone()) {
    try {
      await asOperator(context, flags, ["operator.pairing"], look);
    } catch (error) {
      if (!isFailure(error, "unreachable", "starting") || context.oneShotSignal.aborted) throw error;
      await pause();
    }
  }
  return known;
}

/** Only who is connected and takes the new token, or must not be left behind, is waited for. */
function isAwaited({ state, isOwn, isCritical, pushed }: MovedToken): boolean {
  return state !== undefined && state !== "confirmed" && !isOwn && (isCritical || pushed === true);
}

/** The token as the gateway knows it now. A rotation that another one followed stays as it was. */
function advance(context: Context, moved: MovedToken, rotations: readonly RotationProgress[]): MovedToken {
  const { deviceId, role, rotatedAtMs } = moved;
  const found = rotations.find((one) => one.deviceId === deviceId && one.role === role);
  if (found === undefined || found.rotatedAtMs !== rotatedAtMs || found.state === moved.state) return moved;
  const advanced = { ...moved, state: found.state };
  tell(context, advanced);
  return advanced;
}

/** For who watches the terminal; who reads the answer finds it there. */
function tell({ output }: Context, { name, deviceId, role, state }: MovedToken): void {
  if (output.isLively) output.note(`${name ?? deviceId} (${role}): ${state ?? "pending"}`);
}

/** Fails when a critical device still has to move: its old token stays valid meanwhile. */
export function assertCriticalMoved(context: Context, moved: readonly MovedToken[]): void {
  const left = moved.filter(({ isCritical, state }) => isCritical && state !== "confirmed");
  if (left.length === 0) return;
  const names = left.map(({ name, deviceId, role, state }) => `${name ?? deviceId} (${role}, ${state ?? "pending"})`);
  throw new OpenClawError("failed", `did not move to the new token in time: ${names.join(", ")}`, {
    hint: "the old token of each stays valid until it has moved; a node that is started again moves by itself",
    fix: context.pasteable("openclaw devices list"),
    details: {
      devices: moved.map(({ deviceId, role, state, isCritical }) => ({
        deviceId,
        role,
        state: state ?? "pending",
        critical: isCritical,
        oldTokenValid: isCritical && state !== "confirmed",
      })),
    },
  });
}
