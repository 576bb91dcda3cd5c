/** What a service of ours says of itself, in a small file: its manager knows that it runs, and not whether a gateway took it in. */
import * as v from "valibot";
import type { Runtime } from "../runtime.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { ownMark } from "../store/process-life.ts";

const request = v.object({
  requestId: v.string(),
  deviceId: v.string(),
  fingerprint: v.string(),
  layer: v.picklist(["device", "surface"]),
  sas: v.optional(v.object({ digits: v.string(), words: v.string() })),
  approve: v.string(),
});

const failure = v.object({
  exitCode: v.number(),
  code: v.string(),
  message: v.string(),
  hint: v.optional(v.string()),
  fix: v.optional(v.string()),
  details: v.optional(v.record(v.string(), v.unknown())),
});

const facts = v.object({
  version: v.literal(1),
  pid: v.number(),
  processStart: v.string(),
  startedAtMs: v.number(),
  atMs: v.number(),
  /** `starting`, a state of its run record, `stopped` or `failed`. */
  state: v.string(),
  gateway: v.optional(v.string()),
  request: v.optional(request),
  failure: v.optional(failure),
});

export type ReportFacts = v.InferOutput<typeof facts>;
export type ReportedFailure = v.InferOutput<typeof failure>;
type Told = Pick<ReportFacts, "state"> & Partial<Pick<ReportFacts, "gateway" | "request" | "failure">>;

export class ServiceReport {
  readonly #path: string;
  readonly #runtime: Runtime;
  #facts: ReportFacts;
  #lastWrite: Promise<void> = Promise.resolve();

  private constructor(path: string, runtime: Runtime, begun: ReportFacts) {
    this.#path = path;
    this.#runtime = runtime;
    this.#facts = begun;
  }

  /** A report of this process, which begins with `starting`. */
  static async begin(path: string, runtime: Runtime): Promise<ServiceReport> {
    const nowMs = runtime.now();
    const begun = { version: 1, ...(await ownMark()), startedAtMs: nowMs, atMs: nowMs, state: "starting" } as const;
    const report = new ServiceReport(path, runtime, begun);
    report.note({ state: "starting" });
    return report;
  }

  /** Notes a new state, in order, without anybody waiting for it. A report that cannot be written stops nothing. */
  note({ state, gateway = this.#facts.gateway, request, failure }: Told): void {
    const { version, pid, processStart, startedAtMs } = this.#facts;
    const next = {
      version,
      pid,
      processStart,
      startedAtMs,
      atMs: this.#runtime.now(),
      state,
      gateway,
      request,
      failure,
    };
    this.#facts = next;
    this.#lastWrite = this.#lastWrite
      .then(() => writeTextFile(this.#path, `${JSON.stringify(next)}\n`))
      .catch(() => {});
  }

  /** Resolves when everything noted is written. */
  written(): Promise<void> {
    return this.#lastWrite;
  }
}

/** The report in a file; undefined where there is none, or none of ours: it is only news. */
export async function readReport(path: string): Promise<ReportFacts | undefined> {
  const text = await readTextFile(path).catch(() => undefined);
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), facts), text);
  return read.success ? read.output : undefined;
}
