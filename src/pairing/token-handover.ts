/**
 * From one generation of a token to the next without a moment in which the device holds none that works. A rotation with an overlap keeps
 * the older generations: until the new one was used, which shows that the device has it, or until the overlap is over.
 */
import type { RotationState } from "../protocol/methods.ts";
import type { DeviceRecord, TokenHandover, TokenRecord } from "./records.ts";

export interface Overlap {
  /** Milliseconds that the older generations still work; 0 ends them at once. */
  readonly overlapMs: number;
  /** They work until the new one was used, however long that takes. */
  readonly isCritical: boolean;
}

/** Generations that are kept: more come together only when a device stays away from many rotations. */
const maxPrevious = 8;

/** What stands beside the generation that follows on `token`. */
export function beginHandover(token: TokenRecord, { overlapMs, isCritical }: Overlap, nowMs: number): TokenHandover {
  const isLive = token.revokedAtMs === undefined && overlapMs > 0;
  const known = isLive ? [...(withoutExpired(token, nowMs).handover?.previous ?? []), token.hash] : [];
  // Which of them the device holds is not known: the first, if it was never there, or one of the last.
  const previous = known.length <= maxPrevious ? known : [...known.slice(0, 1), ...known.slice(1 - maxPrevious)];
  return { previous, validUntilMs: nowMs + overlapMs, isCritical: isCritical && isLive };
}

/** The hashes of every generation that opens sessions, oldest first; the present one is the last. */
export function liveHashes({ hash, handover }: TokenRecord): readonly string[] {
  return handover === undefined ? [hash] : [...handover.previous, hash];
}

/** How far the present generation has come; undefined when it was not made by a rotation with an overlap. */
export function rotationState({ handover }: TokenRecord): RotationState | undefined {
  if (handover === undefined) return undefined;
  if (handover.confirmedAtMs !== undefined) return "confirmed";
  return handover.deliveredAtMs === undefined ? "pending" : "delivered";
}

/** The token without the generations whose time is over; the very same object when there are none. */
export function withoutExpired(token: TokenRecord, nowMs: number): TokenRecord {
  const { handover } = token;
  if (handover === undefined || handover.previous.length === 0) return token;
  if (handover.isCritical || nowMs < handover.validUntilMs) return token;
  return { ...token, handover: { ...handover, previous: [] } };
}

/** The device with only those generations of its tokens that work now; the very same object when all of them do. */
export function atTime(device: DeviceRecord, nowMs: number): DeviceRecord {
  const tokens = Object.entries(device.tokens);
  if (tokens.every(([, token]) => withoutExpired(token, nowMs) === token)) return device;
  return { ...device, tokens: Object.fromEntries(tokens.map(([role, token]) => [role, withoutExpired(token, nowMs)])) };
}

/** The token after the device said that it wrote the generation of this hash down; undefined when that changes nothing. */
export function noteDelivered(token: TokenRecord, hash: string, nowMs: number): TokenRecord | undefined {
  const { handover } = token;
  if (handover === undefined || token.hash !== hash || handover.deliveredAtMs !== undefined) return undefined;
  return { ...token, handover: { ...handover, deliveredAtMs: nowMs } };
}

/**
 * The token after the device came with the generation of this hash: those before it are void, for it needs them no more. Undefined when
 * that changes nothing.
 */
export function noteUsed(token: TokenRecord, hash: string, nowMs: number): TokenRecord | undefined {
  const { handover } = token;
  if (handover === undefined) return undefined;
  if (token.hash !== hash) {
    const at = handover.previous.indexOf(hash);
    return at > 0 ? { ...token, handover: { ...handover, previous: handover.previous.slice(at) } } : undefined;
  }
  if (handover.confirmedAtMs !== undefined) return undefined;
  const deliveredAtMs = handover.deliveredAtMs ?? nowMs;
  return { ...token, handover: { ...handover, previous: [], deliveredAtMs, confirmedAtMs: nowMs } };
}

/** True when a session stays open although the token was rotated since: it hangs on a generation that works, or on none at all. */
export function outlivesRotation(token: TokenRecord, sessionHash: string | undefined): boolean {
  const { handover, rotatedAtMs = 0 } = token;
  if (sessionHash !== undefined) return liveHashes(token).includes(sessionHash);
  return handover !== undefined && handover.validUntilMs > rotatedAtMs;
}
