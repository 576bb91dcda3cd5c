/** Who tries too many wrong secrets is not listened to for a while (auth.md § 5). One of these counts one kind of credential. */
import type { Runtime } from "../runtime.ts";

export interface AttemptLimits {
  /** Wrong attempts of one address within the window. */
  readonly maxAttempts: number;
  readonly attemptWindowMs: number;
  /** How long the address is locked out after that. */
  readonly lockoutMs: number;
}

/** Addresses that are counted at once: who comes from ever new ones cannot make the table grow. */
const maxAddresses = 1024;

interface Attempts {
  readonly count: number;
  readonly sinceMs: number;
  readonly lockedUntilMs: number;
}

export class AttemptLimit {
  readonly #limits: AttemptLimits;
  readonly #runtime: Runtime;
  readonly #byAddress = new Map<string, Attempts>();

  constructor(limits: AttemptLimits, runtime: Runtime) {
    this.#limits = limits;
    this.#runtime = runtime;
  }

  /** Milliseconds for which this address is not listened to, or undefined. */
  lockedForMs(address: string): number | undefined {
    const leftMs = (this.#byAddress.get(address)?.lockedUntilMs ?? 0) - this.#runtime.now();
    return leftMs > 0 ? leftMs : undefined;
  }

  /** Counts a wrong attempt. */
  wrong(address: string): void {
    const { maxAttempts, attemptWindowMs, lockoutMs } = this.#limits;
    const nowMs = this.#runtime.now();
    const known = this.#byAddress.get(address);
    const isRunning = known !== undefined && nowMs - known.sinceMs < attemptWindowMs;
    const count = (isRunning ? known.count : 0) + 1;
    const lockedUntilMs = count >= maxAttempts ? nowMs + lockoutMs : 0;
    this.#byAddress.delete(address);
    this.#byAddress.set(address, { count, sinceMs: isRunning ? known.sinceMs : nowMs, lockedUntilMs });
    const [oldest] = this.#byAddress.keys();
    if (this.#byAddress.size > maxAddresses && oldest !== undefined) this.#byAddress.delete(oldest);
  }

  /** A right one takes the wrong ones back. */
  right(address: string): void {
    this.#byAddress.delete(address);
  }
}
