/** A result beside its goal: what every benchmark ends in, and how it is shown. */

export interface Row {
  /** Says what is compared with what, and which way is good. */
  readonly name: string;
  /** A ratio of two measurements of the same run. */
  readonly value: number;
  readonly goal: number;
  readonly ok: boolean;
  readonly unit: "ratio";
  /** The measurements behind the ratio. */
  readonly detail: string;
}

/** A row whose value must not be above its goal. */
export function atMost(goal: number, name: string, value: number, detail: string): Row {
  return { name: `${name} (<=)`, value: rounded(value), goal, ok: value <= goal, unit: "ratio", detail };
}

/** A row whose value must not be below its goal. */
export function atLeast(goal: number, name: string, value: number, detail: string): Row {
  return { name: `${name} (>=)`, value: rounded(value), goal, ok: value >= goal, unit: "ratio", detail };
}

/** The rows as a table for people. */
export function formatTable(rows: readonly Row[]): string {
  const width = Math.max(0, ...rows.map(({ name }) => name.length));
  const line = ({ name, value, goal, ok, detail }: Row) =>
    `${ok ? "ok    " : "MISSED"}  ${name.padEnd(width)}  ${value.toFixed(2).padStart(5)}  goal ${goal.toFixed(2).padStart(5)}  ${detail}`;
  return rows.map(line).join("\n");
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
