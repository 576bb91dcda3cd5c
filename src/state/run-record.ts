/**
 * What of ours is running on this machine: one small file for each process, tied to the process by its pid and start time, so that a
 * crashed owner or a pid used again is never taken for a live one.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Runtime } from "../runtime.ts";
import { writeTextFile } from "../store/atomic-file.ts";
import { isAlive, ownMark, type ProcessMark } from "../store/process-life.ts";

export interface RunFacts extends ProcessMark {
  readonly kind: string;
  readonly startedAtMs: number;
  readonly gateway: string;
  readonly state: string;
  /** Where on this machine the gateway is dialled, when that is the near end of a tunnel, and the only certificate to accept there. */
  readonly dialPort?: number | undefined;
  readonly tlsFingerprint?: string | undefined;
}

export class RunRecord implements AsyncDisposable {
  readonly #path: string;
  #facts: RunFacts;
  #lastWrite: Promise<void> = Promise.resolve();

  private constructor(path: string, facts: RunFacts) {
    this.#path = path;
    this.#facts = facts;
  }

  /** Writes a record for this process; it is removed with `await using`. */
  static async write(
    directory: string,
    kind: string,
    facts: Pick<RunFacts, "gateway" | "state" | "dialPort" | "tlsFingerprint">,
    runtime: Runtime,
  ): Promise<RunRecord> {
    const record = new RunRecord(join(directory, `${kind}-${process.pid}.json`), {
      kind,
      ...(await ownMark()),
      startedAtMs: runtime.now(),
      ...facts,
    });
    await record.#save();
    return record;
  }

  /** Notes a new state, in order, without anybody waiting for it. A record that cannot be written stops nothing. */
  note(state: string | undefined): void {
    if (state === undefined || state === this.#facts.state) return;
    this.#facts = { ...this.#facts, state };
    this.#lastWrite = this.#lastWrite.then(() => this.#save()).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lastWrite;
    await rm(this.#path, { force: true });
  }

  #save(): Promise<void> {
    return writeTextFile(this.#path, `${JSON.stringify(this.#facts)}\n`);
  }
}

/** The records of `kind` whose processes live. Files left behind by dead ones are removed on the way; others are not touched. */
export async function liveRecords(directory: string, kind: string): Promise<readonly RunFacts[]> {
  const names = await readdir(directory).catch(() => []);
  const live: RunFacts[] = [];
  for (const name of names.filter((one) => one.startsWith(`${kind}-`) && one.endsWith(".json"))) {
    const path = join(directory, name);
    const facts = readFacts(await readFile(path, "utf8").catch(() => ""));
    if (facts === undefined) continue;
    if (await isAlive(facts)) live.push(facts);
    else await rm(path, { force: true });
  }
  return live;
}

/** The record in a text, or undefined when it is none. By hand: a process that looks once should not hold a validator ever after. */
function readFacts(text: string): RunFacts | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isFacts(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isFacts(value: unknown): value is RunFacts {
  if (typeof value !== "object" || value === null) return false;
  const {
    kind,
    pid,
    processStart,
    startedAtMs,
    gateway,
    state,
    dialPort,
    tlsFingerprint,
  }: Partial<Record<keyof RunFacts, unknown>> = value;
  const texts = [kind, processStart, gateway, state];
  return (
    texts.every((text) => typeof text === "string") &&
    [pid, startedAtMs].every((one) => typeof one === "number") &&
    (dialPort === undefined || typeof dialPort === "number") &&
    (tlsFingerprint === undefined || typeof tlsFingerprint === "string")
  );
}
