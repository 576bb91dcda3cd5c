/** Durations as a person types and reads them: `500ms`, `10s`, `1h30m`. Milliseconds everywhere else. */
import { OpenClawError } from "../errors.ts";

const units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

type Unit = keyof typeof units;
const unitNames: readonly Unit[] = ["d", "h", "m", "s", "ms"];

/**
 * Milliseconds of a typed duration: a whole number with one of the units ms, s, m, h, d, several of them from large to small
 * (`1h30m`), or a bare number of milliseconds. Anything else is `usage`; `what` names where it was typed.
 */
export function parseDuration(text: string, what = "duration"): number {
  const durationMs = /^\d+$/.test(text) ? Number(text) : sumOfParts(text);
  if (durationMs !== undefined && Number.isSafeInteger(durationMs)) return durationMs;
  throw new OpenClawError("usage", `${what} ${JSON.stringify(text)} is not a duration`, {
    hint: "write a whole number and a unit, such as 500ms, 10s, 5m, 24h or 7d",
  });
}

/** The two largest units of a duration in milliseconds (`1h30m`), cut off below them: for people, not for sums. */
export function formatDuration(durationMs: number): string {
  let restMs = Math.max(0, Math.round(durationMs));
  const largest = unitNames.findIndex((unit) => restMs >= units[unit]);
  if (largest === -1) return "0ms";
  let text = "";
  for (const unit of unitNames.slice(largest, largest + 2)) {
    const count = Math.floor(restMs / units[unit]);
    restMs -= count * units[unit];
    if (count > 0) text += `${count}${unit}`;
  }
  return text;
}

function sumOfParts(text: string): number | undefined {
  const found = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/.exec(text);
  if (found === null || text === "") return undefined;
  return unitNames.reduce((sumMs, unit, index) => sumMs + Number(found[index + 1] ?? 0) * units[unit], 0);
}
