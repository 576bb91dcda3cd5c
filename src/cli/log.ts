/** One log line as text: time, level, message, then the facts as `name=value`. */
import type { LogFields, LogLevel } from "../runtime.ts";

/** Values with blanks or quotes are quoted, and control characters escaped: a peer's header must not be able to fake a line. */
export function textLog(nowMs: number, level: LogLevel, message: string, fields: LogFields = {}): string {
  const facts = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${quoted(String(value))}`);
  return [new Date(nowMs).toISOString(), level, message, ...facts].join(" ");
}

function quoted(value: string): string {
  // eslint-disable-next-line no-control-regex
  return /^[^\s"\\\u0000-\u001f\u007f]+$/u.test(value) ? value : JSON.stringify(value);
}
