/** Small things as people read them. */

/** `3 s ago`, `5 min ago`, `2 h ago`, `4 d ago`; `never` for no time at all. */
export function ago(atMs: number | undefined, nowMs: number): string {
  return atMs === undefined ? "never" : `${span(nowMs - atMs)} ago`;
}

/** A time as long as it matters: `3 s`, `5 min`, `2 h`, `4 d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** `512 B`, `1.5 KiB`, `20 MiB`, `3.1 GiB`. */
export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, count)) / 10)));
  const amount = count / 1024 ** power;
  return `${power === 0 || amount >= 10 ? Math.round(amount) : amount.toFixed(1)} ${units[power]}`;
}

/** `none`, or the words with commas. */
export function list(words: readonly string[]): string {
  return words.length === 0 ? "none" : words.join(", ");
}
