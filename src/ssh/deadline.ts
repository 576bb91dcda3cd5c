/** A limit on how long machines may take, which stands still while a person thinks. */
import type { Runtime } from "../runtime.ts";

export class Deadline implements Disposable {
  readonly #runtime: Runtime;
  readonly #limitMs: number;
  readonly #failure: () => Error;
  readonly #controller = new AbortController();
  #stop: () => void = () => {};

  /** After `limitMs` milliseconds `signal` is aborted with what `failure` makes. */
  constructor(runtime: Runtime, limitMs: number, failure: () => Error) {
    this.#runtime = runtime;
    this.#limitMs = limitMs;
    this.#failure = failure;
    this.#start();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Asks `question` off the clock; the whole time is given again afterwards. Undefined stays undefined. */
  offTheClock<Q extends unknown[], A>(question: ((...args: Q) => Promise<A>) | undefined) {
    if (question === undefined) return undefined;
    return async (...args: Q): Promise<A> => {
      this.#stop();
      try {
        return await question(...args);
      } finally {
        this.#start();
      }
    };
  }

  [Symbol.dispose](): void {
    this.#stop();
  }

  #start(): void {
    this.#stop = this.#runtime.after(this.#limitMs, () => this.#controller.abort(this.#failure()));
  }
}
