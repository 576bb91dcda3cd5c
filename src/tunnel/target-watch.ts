/** Notices that the target of a forward is gone, and that it is back. */
import type { Runtime } from "../runtime.ts";

export interface Reach {
  /** Whether the target is there, asked without disturbing it; undefined where only a connection would tell. */
  readonly glance: () => Promise<boolean | undefined>;
  /** Makes a connection, to see whether one can be made. */
  readonly knock: () => Promise<boolean>;
  /** How often glances may be taken. */
  readonly pace: Pace;
}

/** What a look takes bounds how often there is one: the pause after it is at least so many times as long. */
interface Pace {
  readonly pausePerGlance: number;
  /** The same while the target is gone and somebody waits for it. */
  readonly pausePerMiss: number;
  /** A target that is gone is glanced at no less often than that, whatever a look takes. */
  readonly slowestMs: number;
}

/** A glance on this machine reads tables that may be long: what it takes, it costs. */
export const nearby: Pace = { pausePerGlance: 50, pausePerMiss: 20, slowestMs: 250 };
/** A glance across a network is mostly waiting. */
export const faraway: Pace = { pausePerGlance: 10, pausePerMiss: 5, slowestMs: 1_000 };

const glanceMs = 1_000;
const firstLookMs = 50;
const slowestKnockMs = 1_000;
/** Glances in a row that missed a target which answers, after which they are not believed. */
const mostWrongGlances = 2;
/** A target that glances miss may still be there: so many of them, and it is knocked at. */
const missesPerKnock = 20;

/**
 * A target counts as there until something failed. While it is there it is only glanced at; while it is gone, and no glance tells, it
 * is knocked at, ever more slowly.
 */
export class TargetWatch {
  readonly #reach: Reach;
  readonly #runtime: Runtime;
  readonly #changed: (isThere: boolean) => void;
  #isThere = true;
  #wasLookedAt = false;
  #canGlance = false;
  #wrongGlances = 0;
  /** A connection failed, and no glance has said so since: a glance that says otherwise is not believed. */
  #isRefuted = false;
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

  /** What was seen last; true before anything was. */
  get isThere(): boolean {
    return this.#isThere;
  }

  /** Goes on from what was seen last. Resolves when it has looked: at first by a knock where no glance tells. */
  async start(): Promise<void> {
    this.stop();
    this.#isWatching = true;
    this.#wrongGlances = 0;
    const isFirst = !this.#wasLookedAt;
    this.#wasLookedAt = true;
    await this.#look(isFirst);
  }

  stop(): void {
    this.#cancel();
    this.#round++;
    this.#isWatching = false;
    this.#misses = 0;
  }

  /** A connection could not be made: the target is gone until a look says otherwise. */
  missed(): void {
    if (!this.#isWatching || !this.#isThere) return;
    this.#round++; // a look that is under way may have seen it while it was still there
    this.#isRefuted = true;
    this.#tell(false);
    this.#lookIn(firstLookMs);
  }

  /** A connection was made, which tells as much as a look, and what a busy target needs no look for. */
  reached(): void {
    if (this.#isThere) this.#lookedAtMs = this.#runtime.now();
  }

  /** The target may just have gone: looks now, or a moment after the last look. When it hung up itself, with a knock where no glance tells. */
  suspect(hungUp: boolean): void {
    if (!this.#isWatching || !this.#isThere) return;
    const untilNextMs = this.#reach.pace.slowestMs - Math.abs(this.#runtime.now() - this.#lookedAtMs);
    if (untilNextMs > 0) this.#lookIn(untilNextMs, hungUp);
    else void this.#look(hungUp);
  }

  async #look(mayKnock: boolean): Promise<void> {
    this.#cancel();
    const round = ++this.#round;
    this.#lookedAtMs = this.#runtime.now();
    const isThere = await this.#see(mayKnock).catch(() => false);
    if (round !== this.#round) return;
    this.#lookTookMs = Math.max(0, this.#runtime.now() - this.#lookedAtMs);
    this.#saw(isThere);
  }

  async #see(mayKnock: boolean): Promise<boolean | undefined> {
    const glance = this.#wrongGlances < mostWrongGlances ? await this.#reach.glance() : undefined;
    this.#canGlance = glance !== undefined;
    if (glance === undefined) return mayKnock || !this.#isThere ? await this.#reach.knock() : undefined;
    if (glance) {
      this.#wrongGlances = 0;
      return !this.#isRefuted || (await this.#reach.knock());
    }
    this.#isRefuted = false;
    if (!this.#isThere && (this.#misses + 1) % missesPerKnock !== 0) return false;
    // Tables are handed out in parts, and a row may be missed between two of them; and what passes connections on need not be in them.
    const isThere = await this.#reach.knock();
    if (isThere) this.#wrongGlances++;
    return isThere;
  }

  #saw(isThere: boolean | undefined): void {
    const { pausePerGlance, pausePerMiss, slowestMs } = this.#reach.pace;
    if (isThere !== undefined && isThere !== this.#isThere) this.#tell(isThere);
    const soonMs = Math.min(this.#canGlance ? slowestMs : slowestKnockMs, firstLookMs * 2 ** this.#misses);
    if (!this.#isThere) {
      this.#misses++;
      this.#lookIn(Math.max(soonMs, pausePerMiss * this.#lookTookMs));
    } else if (this.#canGlance) this.#lookIn(Math.max(glanceMs, pausePerGlance * this.#lookTookMs));
  }

  #tell(isThere: boolean): void {
    this.#isThere = isThere;
    if (isThere) this.#isRefuted = false;
    this.#misses = 0;
    this.#changed(isThere);
  }

  #lookIn(ms: number, mayKnock = false): void {
    this.#cancel();
    this.#cancel = this.#runtime.after(ms, () => void this.#look(mayKnock));
  }
}
