/** Small things as people read them. */

/** `3 s ago`, `5 min ago`, `2 h ago`, `4 d ago`; `never` for no time at all. */
export function ago(atMs: number | undefined, nowMs: number): string {
  if (atMs === undefined) return "never";
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** `none`, or the words with commas. */
export function list(words: readonly string[]): string {
  return words.length === 0 ? "none" : words.join(", ");
}
