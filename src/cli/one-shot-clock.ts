/** The time that a one-shot command has as a whole (`--timeout`). It starts when something first asks for its signal. */
import { OpenClawError } from "../errors.ts";

const defaultTimeoutMs = 10_000;

export class OneShotClock {
  #timeoutMs = defaultTimeoutMs;
  #deadline: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;

  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** Aborted with `timeout` when the time is used up. */
  get signal(): AbortSignal {
    if (this.#deadline === undefined) {
      this.#deadline = new AbortController();
      this.#arm(this.#deadline);
    }
    return this.#deadline.signal;
  }

  /** Sets the time; a clock that runs starts again with it. */
  set(timeoutMs: number): void {
    this.#timeoutMs = timeoutMs;
    if (this.#deadline !== undefined) this.#arm(this.#deadline);
  }

  /** Begins anew, for a command that does one thing after another; what asked before has no deadline any more. */
  restart(): void {
    this.stop();
    this.#deadline = undefined;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(deadline: AbortController): void {
    clearTimeout(this.#timer);
    const timeoutMs = this.#timeoutMs;
    this.#timer = setTimeout(() => {
      deadline.abort(
        new OpenClawError("timeout", `the command did not finish within ${timeoutMs} ms`, {
          hint: "give it longer with --timeout 30s",
          details: { timeoutMs },
        }),
      );
    }, timeoutMs);
  }
}
