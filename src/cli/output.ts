/** The only voice of the CLI: the answer on stdout, the talk on stderr. */
import type { Writable } from "node:stream";
import type { FailureReport } from "./failure.ts";

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

export interface Streams {
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
}

/** A column of a table. `keep` columns are ids: they are never cut. */
export interface Column {
  readonly title: string;
  readonly keep?: boolean;
}

export class Output {
  readonly options: OutputOptions;
  readonly #streams: Streams;
  /** Lines of the text that the next frame takes the place of. */
  #frameLines = 0;

  constructor(streams: Streams, options: OutputOptions) {
    this.#streams = streams;
    this.options = options;
  }

  /** The answer of a one-shot command: `{"ok":true, …}` under --json, otherwise the sentence or table that `human` makes of it. */
  result<Value extends object>(value: Value, human: (value: Value) => string): void {
    const text = this.options.json ? JSON.stringify({ ok: true, ...value }) : harmless(human(value));
    if (text !== "") this.#streams.stdout.write(`${text}\n`);
  }

  /** One event of a long-running command: a line of JSON, or the sentence that `human` makes of it (none when it is undefined). */
  event<Event extends object>(event: Event, human: (event: Event) => string | undefined): void {
    if (this.options.json) this.#streams.stdout.write(`${JSON.stringify(event)}\n`);
    else {
      const said = human(event);
      const text = said === undefined ? undefined : harmless(said);
      if (text !== undefined && !this.options.quiet) this.#streams.stdout.write(`${text}\n`);
    }
  }

  /** One state of something that changes: a line of JSON, or on a terminal the text in place of the one before. */
  frame<Value extends object>(value: Value, human: (value: Value) => string): void {
    if (this.options.json) return void this.#streams.stdout.write(`${JSON.stringify(value)}\n`);
    const { stdout } = this.#streams;
    const text = harmless(human(value));
    // Back to where the last one began, and nothing left of it (ECMA-48 § 8.3.20, § 8.3.39).
    const back = stdout.isTTY === true && this.#frameLines > 0 ? `\u001b[${this.#frameLines}F\u001b[J` : "";
    this.#frameLines = text.split("\n").length;
    stdout.write(`${back}${text}\n${stdout.isTTY === true ? "" : "\n"}`);
  }

  /** The answer as it is, for output that other programs read: completion scripts, a token that was asked for with --show. */
  raw(text: string): void {
    this.#streams.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
  }

  /** Talk that the answer does not need. */
  note(text: string): void {
    if (!this.options.quiet) this.#streams.stderr.write(`${harmless(text)}\n`);
  }

  /** Talk for who asked for more. */
  detail(text: string): void {
    if (this.options.verbose) this.#streams.stderr.write(`${harmless(text)}\n`);
  }

  warn(text: string): void {
    this.#streams.stderr.write(`warning: ${harmless(text)}\n`);
  }

  /** The failure, in the one form that the caller reads. */
  failure({ error, lines }: FailureReport): void {
    if (this.options.json) this.#streams.stdout.write(`${JSON.stringify({ ok: false, error })}\n`);
    if (lines.length > 0) this.#streams.stderr.write(`${harmless(lines.join("\n"))}\n`);
  }

  /** A table that fits the terminal; piped output is not cut. */
  table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
    const { stdout } = this.#streams;
    return formatTable(columns, rows, stdout.isTTY === true ? stdout.columns || 80 : Infinity);
  }

  /** True when a spinner may move. */
  get isLively(): boolean {
    return this.#streams.stderr.isTTY === true && !this.options.json && !this.options.quiet;
  }
}

const gap = 2;

/** What other machines call themselves must not steer this terminal: control and direction characters show as what they are. */
function harmless(text: string, keep = /[\n\t]/u): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (char) =>
    keep.test(char) ? char : `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** Aligned columns; when `width` is too small the widest column that may be cut gives way, down to six characters. */
export function formatTable(columns: readonly Column[], cells: readonly (readonly string[])[], width: number): string {
  const nothing = /(?!)/u;
  const rows = cells.map((row) => row.map((cell) => harmless(cell, nothing)));
  const widths = columns.map((column, at) =>
    Math.max(column.title.length, ...rows.map((row) => (row[at] ?? "").length)),
  );
  const total = () => widths.reduce((sum, one) => sum + one + gap, -gap);
  while (total() > width) {
    const cuttable = columns.map((column, at) => (column.keep === true ? 0 : (widths[at] ?? 0)));
    const widest = cuttable.indexOf(Math.max(...cuttable));
    if ((cuttable[widest] ?? 0) <= 6) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => fit(cell, widths[at] ?? 0))
      .join(" ".repeat(gap))
      .trimEnd();
  return [line(columns.map(({ title }) => title)), ...rows.map(line)].join("\n");
}

function fit(cell: string, width: number): string {
  return cell.length <= width ? cell.padEnd(width) : `${cell.slice(0, Math.max(1, width - 1))}…`;
}
