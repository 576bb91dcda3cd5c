/** Notices that the target of a forward is gone, and that it is back. */
import type { Runtime } from "../runtime.ts";

export interface Reach {
  /** Whether the target is there, asked without disturbing it; undefined where only a connection would tell. */
  readonly glance: () => Promise<boolean | undefined>;
  /** Makes a connection, to see whether one can be made. */
  readonly knock: () => Promise<boolean>;
}

const glanceMs = 1_000;
/** A glance reads tables that may be long: pauses between glances are this many times as long as the last one took. */
const pausePerGlance = 200;
/** The same while it is gone and somebody waits for it. */
const pausePerMiss = 20;
const firstLookMs = 50;
const slowestGlanceMs = 250;
const slowestKnockMs = 1_000;

/**
 * A target counts as there until something failed. While it is there it is only glanced at; while it is gone, and no glance tells, it
 * is knocked at, ever more slowly.
 */
export class TargetWatch {
  readonly #reach: Reach;
  readonly #runtime: Runtime;
  readonly #changed: (isThere: boolean) => void;
  #isThere = true;
  #canGlance = false;
  #lookedAtMs = 0;
  #lookTookMs = 0;
  #misses = 0;
  /** Counts starts and stops, so that a look that was under way when it was stopped says nothing any more. */
  #round = 0;
  #isWatching = false;
  #cancel = () => {};

  constructor(reach: Reach, runtime: Runtime, changed: (isThere: boolean) => void) {
    this.#reach = reach;
    this.#runtime = runtime;
    this.#changed = changed;
  }

  get isThere(): boolean {
    return this.#isThere;
  }

  /** Starts anew: the target counts as there. */
  start(): void {
    this.stop();
    this.#isWatching = true;
    this.#look();
  }

  stop(): void {
    this.#cancel();
    this.#round++;
    this.#isWatching = false;
    this.#isThere = true;
    this.#misses = 0;
  }

  /** A connection could not be made: the target is gone until a look says otherwise. */
  missed(): void {
    if (!this.#isWatching || !this.#isThere) return;
    this.#round++; // a look that is under way may have seen it while it was still there
    this.#tell(false);
    this.#lookIn(firstLookMs);
  }

  /** A connection was made, which tells as much as a look, and what a busy target needs no look for. */
  reached(): void {
    if (this.#isThere) this.#lookedAtMs = this.#runtime.now();
  }

  /** The target may just have gone: looks now, or a moment after the last look. */
  suspect(): void {
    if (!this.#isWatching || !this.#isThere) return;
    const untilNextMs = slowestGlanceMs - Math.abs(this.#runtime.now() - this.#lookedAtMs);
    if (untilNextMs > 0) this.#lookIn(untilNextMs);
    else this.#look();
  }

  #look(): void {
    this.#cancel();
    const round = ++this.#round;
    this.#lookedAtMs = this.#runtime.now();
    const seen = (isThere: boolean | undefined) => {
      if (round !== this.#round) return;
      this.#lookTookMs = Math.max(0, this.#runtime.now() - this.#lookedAtMs);
      this.#saw(isThere);
    };
    this.#see().then(seen, () => seen(false));
  }

  async #see(): Promise<boolean | undefined> {
    const glance = await this.#reach.glance();
    this.#canGlance = glance !== undefined;
    // Linux hands out its tables in parts, and a row may be missed between two of them. Nobody is disturbed by a knock where nobody is.
    if (glance === false && this.#isThere) return await this.#reach.knock();
    return glance ?? (this.#isThere ? undefined : await this.#reach.knock());
  }

  #saw(isThere: boolean | undefined): void {
    if (isThere !== undefined && isThere !== this.#isThere) this.#tell(isThere);
    const slowestMs = this.#canGlance ? slowestGlanceMs : slowestKnockMs;
    const soonMs = Math.min(slowestMs, firstLookMs * 2 ** this.#misses);
    if (!this.#isThere) {
      this.#misses++;
      this.#lookIn(Math.max(soonMs, pausePerMiss * this.#lookTookMs));
    } else if (isThere !== undefined) this.#lookIn(Math.max(glanceMs, pausePerGlance * this.#lookTookMs));
  }

  #tell(isThere: boolean): void {
    this.#isThere = isThere;
    this.#misses = 0;
    this.#changed(isThere);
  }

  #lookIn(ms: number): void {
    this.#cancel();
    this.#cancel = this.#runtime.after(ms, () => this.#look());
  }
}
