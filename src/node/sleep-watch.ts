/** Whether this process has been asleep: stopped, suspended with its machine, or busy for so long that nobody was answered. */
import type { Runtime } from "../runtime.ts";

/** Milliseconds between two looks at the clock. */
const beatMs = 500;

/**
 * Looks at the clock now and then. After a sleep, what had arrived meanwhile is heard before the next look is taken, so that the
 * time since the last one says for how long it may have been lying there. The clock is the wall clock: a steady one may stand still while
 * the machine is suspended.
 */
export class SleepWatch implements Disposable {
  readonly #runtime: Pick<Runtime, "now" | "after">;
  #lookedAtMs: number;
  #cancel: () => void;

  constructor(runtime: Pick<Runtime, "now" | "after">) {
    this.#runtime = runtime;
    this.#lookedAtMs = runtime.now();
    this.#cancel = runtime.after(beatMs, () => this.#look());
  }

  /** Milliseconds that the next look is overdue: 0 in a process that is awake. */
  sleptMs(): number {
    return Math.max(0, this.#runtime.now() - this.#lookedAtMs - beatMs);
  }

  [Symbol.dispose](): void {
    this.#cancel();
  }

  #look(): void {
    this.#lookedAtMs = this.#runtime.now();
    this.#cancel = this.#runtime.after(beatMs, () => this.#look());
  }
}
