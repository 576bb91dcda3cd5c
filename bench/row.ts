/** A result beside its goal: what every benchmark ends in, and how it is shown. */

export interface Row {
  /** Says what is compared with what, and which way is good. */
  readonly name: string;
  /** Null when it could not be measured here; the detail says what is missing. */
  readonly value: number | null;
  /** Null when none is set for what is installed here: the value is for information. */
  readonly goal: number | null;
  /** Null where there is no goal to meet. What could not be measured is not met. */
  readonly ok: boolean | null;
  /** A ratio of two measurements of the same run, or memory. */
  readonly unit: Unit;
  /** The measurements behind the value. */
  readonly detail: string;
}

export type Unit = "ratio" | "MiB";

/** A row whose value must not be above its goal. */
export function atMost(goal: number, name: string, value: number, detail: string, unit: Unit = "ratio"): Row {
  return { name: `${name} (<=)`, value: rounded(value), goal, ok: value <= goal, unit, detail };
}

/** A row whose value must not be below its goal. */
export function atLeast(goal: number, name: string, value: number, detail: string): Row {
  return { name: `${name} (>=)`, value: rounded(value), goal, ok: value >= goal, unit: "ratio", detail };
}

/** A row that is only told, because no goal holds here. */
export function withoutGoal(name: string, value: number, detail: string): Row {
  return { name, value: rounded(value), goal: null, ok: null, unit: "ratio", detail };
}

/** A row whose value must not be above its goal, but of which nothing is known here. */
export function notMeasured(goal: number, name: string, missing: string): Row {
  return { name: `${name} (<=)`, value: null, goal, ok: false, unit: "ratio", detail: missing };
}

/** The rows as a table for people. */
export function formatTable(rows: readonly Row[]): string {
  const width = Math.max(0, ...rows.map(({ name }) => name.length));
  const line = (row: Row) =>
    `${verdict(row)}  ${row.name.padEnd(width)}  ${shown(row.value)}  goal ${shown(row.goal)}  ${row.detail}`;
  return rows.map(line).join("\n");
}

function verdict({ value, ok }: Row): string {
  if (value === null) return "ABSENT";
  if (ok === null) return "      ";
  return ok ? "ok    " : "MISSED";
}

function shown(number: number | null): string {
  return (number === null ? "-" : number.toFixed(number < 0.1 ? 3 : 2)).padStart(6);
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
