/** What a tunnel remembers of its past: connections and losses, failures, how fast the server answers. Bounded, for tunnels that live for months. */
import type { HistoryRow, RoundTrip, TunnelReport } from "./report.ts";
import type { Runtime } from "../runtime.ts";

const rowsKept = 50;
const samplesKept = 100;

export class Journal {
  readonly startedAtMs: number;
  readonly #runtime: Runtime;
  readonly #history: HistoryRow[] = [];
  readonly #errors: { atMs: number; message: string }[] = [];
  readonly #roundTripsMs: number[] = [];
  #reconnects = 0;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
    this.startedAtMs = runtime.now();
  }

  note(row: Omit<HistoryRow, "atMs">): void {
    if (row.what === "reconnected") this.#reconnects++;
    keep(this.#history, { atMs: this.#runtime.now(), ...row }, rowsKept);
    if (row.what === "lost" || row.what === "failed") this.failed(row.reason ?? row.what);
  }

  failed(message: string): void {
    keep(this.#errors, { atMs: this.#runtime.now(), message }, rowsKept);
  }

  /** Milliseconds that the server took to answer. */
  answered(ms: number): void {
    keep(this.#roundTripsMs, ms, samplesKept);
  }

  pages(): Pick<TunnelReport, "startedAtMs" | "uptimeMs" | "reconnects" | "history" | "errors" | "roundTrip"> {
    const roundTrip = this.#roundTrip();
    return {
      startedAtMs: this.startedAtMs,
      uptimeMs: this.#runtime.now() - this.startedAtMs,
      reconnects: this.#reconnects,
      history: [...this.#history],
      errors: [...this.#errors],
      ...(roundTrip === undefined ? {} : { roundTrip }),
    };
  }

  #roundTrip(): RoundTrip | undefined {
    const lastMs = this.#roundTripsMs.at(-1);
    if (lastMs === undefined) return undefined;
    const sorted = this.#roundTripsMs.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? lastMs;
    return { lastMs, p50Ms: at(0.5), p95Ms: at(0.95), samples: sorted.length };
  }
}

function keep<Row>(rows: Row[], row: Row, most: number): void {
  rows.push(row);
  if (rows.length > most) rows.shift();
}
