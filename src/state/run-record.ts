/**
 * What of ours is running on this machine: one small file for each process, tied to the process by its pid and start time, so that a
 * crashed owner or a pid used again is never taken for a live one.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import type { Runtime } from "../runtime.ts";
import { writeTextFile } from "../store/atomic-file.ts";

const recordShape = v.object({
  kind: v.string(),
  pid: v.number(),
  /** What the system says about when the process began; empty where it does not say. */
  processStart: v.string(),
  startedAtMs: v.number(),
  gateway: v.string(),
  state: v.string(),
});
export type RunFacts = v.InferOutput<typeof recordShape>;

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
    facts: Pick<RunFacts, "gateway" | "state">,
    runtime: Runtime,
  ): Promise<RunRecord> {
    const record = new RunRecord(join(directory, `${kind}-${process.pid}.json`), {
      kind,
      pid: process.pid,
      processStart: (await processStart(process.pid)) ?? "",
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
    const read = v.safeParse(
      v.pipe(v.string(), v.parseJson(), recordShape),
      await readFile(path, "utf8").catch(() => ""),
    );
    if (!read.success) continue;
    if (await isAlive(read.output)) live.push(read.output);
    else await rm(path, { force: true });
  }
  return live;
}

async function isAlive({ pid, processStart: recorded }: RunFacts): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return recorded === "" || (await processStart(pid)) === recorded;
}

/** Field 22 of /proc/<pid>/stat: clock ticks from boot to the process's start (proc(5)). Undefined where there is no /proc. */
async function processStart(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // The command name in parentheses may hold spaces and parentheses itself.
  return text?.slice(text.lastIndexOf(")") + 2).split(" ")[19];
}
