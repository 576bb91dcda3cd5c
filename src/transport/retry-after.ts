/** How long an HTTP answer asks us to wait. */

/**
 * Milliseconds of a `Retry-After` header (RFC 9110 § 10.2.3): whole seconds, or a date, which is measured by the answer's own `Date`
 * where it has one, since the clocks may differ, and by `nowMs` where it has none. Undefined for anything else.
 */
export function retryAfterMs(
  retryAfter: string | undefined,
  date: string | undefined,
  nowMs: number,
): number | undefined {
  const text = retryAfter?.trim() ?? "";
  if (/^\d+$/u.test(text)) return Number(text) * 1000;
  const untilMs = httpDateMs(text);
  if (untilMs === undefined) return undefined;
  return Math.max(0, untilMs - (httpDateMs(date ?? "") ?? nowMs));
}

const months = new Set(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]);

/** The three forms of RFC 9110 § 5.6.7, all of them in GMT: IMF-fixdate, that of RFC 850, and asctime's. */
const forms = [
  /^\w{3}, (?<day>\d{2}) (?<month>\w{3}) (?<year>\d{4}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/u,
  /^\w{6,9}, (?<day>\d{2})-(?<month>\w{3})-(?<year>\d{2}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/u,
  /^\w{3} (?<month>\w{3}) (?<day>[ \d]\d) (?<time>\d{2}:\d{2}:\d{2}) (?<year>\d{4})$/u,
];

/** Milliseconds since the epoch, or undefined. */
function httpDateMs(text: string): number | undefined {
  for (const form of forms) {
    const { day, month = "", year = "", time } = form.exec(text)?.groups ?? {};
    if (day === undefined || !months.has(month)) continue;
    const atMs = Date.parse(`${day.trim()} ${month} ${year.length === 2 ? `20${year}` : year} ${time} GMT`);
    return Number.isNaN(atMs) ? undefined : atMs;
  }
  return undefined;
}
