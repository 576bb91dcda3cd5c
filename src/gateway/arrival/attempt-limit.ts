/** Who tries too many wrong credentials is not listened to for a while (auth.md § 5): counted by client address and kind of credential. */
import { isIPv6 } from "node:net";
import type { Runtime } from "../../runtime.ts";

export interface AttemptLimits {
  /** Wrong attempts of one address, with one kind of credential, within the window. */
  readonly maxAttempts: number;
  readonly attemptWindowMs: number;
  /** How long the address is locked out after that. */
  readonly lockoutMs: number;
}

/** The kinds of credentials, as the client presents them. */
export type CredentialClass = "token" | "password" | "device-token" | "bootstrap-token";

/** Rows of either kind: who comes from ever new addresses cannot make the tables grow, nor free somebody who is locked out by it. */
const maxRows = 4096;

interface Attempts {
  readonly count: number;
  readonly sinceMs: number;
  readonly lockedUntilMs: number;
}

export class AttemptLimit {
  #limits: AttemptLimits;
  readonly #runtime: Runtime;
  readonly #rows = new Map<string, Attempts>();
  /** Those that are locked out. */
  readonly #locked = new Map<string, Attempts>();

  constructor(limits: AttemptLimits, runtime: Runtime) {
    this.#limits = limits;
    this.#runtime = runtime;
  }

  /** From now on; who is locked out stays so. */
  limitTo(limits: AttemptLimits): void {
    this.#limits = limits;
  }

  /** Milliseconds for which none of these credentials of this address is listened to, or undefined. */
  lockedForMs(address: string, classes: readonly CredentialClass[]): number | undefined {
    if (this.#locked.size === 0) return undefined;
    const nowMs = this.#runtime.now();
    const left = classes.map((kind) => (this.#locked.get(rowOf(address, kind))?.lockedUntilMs ?? 0) - nowMs);
    const longest = Math.max(0, ...left);
    return longest > 0 ? longest : undefined;
  }

  /** Counts a wrong attempt. */
  wrong(address: string, kind: CredentialClass): void {
    const { maxAttempts, attemptWindowMs, lockoutMs } = this.#limits;
    const nowMs = this.#runtime.now();
    const row = rowOf(address, kind);
    const known = this.#rows.get(row) ?? this.#locked.get(row);
    const isRunning = known !== undefined && nowMs - known.sinceMs < attemptWindowMs;
    const count = (isRunning ? known.count : 0) + 1;
    const isLocked = count >= maxAttempts;
    this.#rows.delete(row);
    this.#locked.delete(row);
    const attempts = {
      count,
      sinceMs: isRunning ? known.sinceMs : nowMs,
      lockedUntilMs: isLocked ? nowMs + lockoutMs : 0,
    };
    const rows = isLocked ? this.#locked : this.#rows;
    rows.set(row, attempts);
    const [oldest] = rows.keys();
    if (rows.size > maxRows && oldest !== undefined) rows.delete(oldest);
  }

  /** A right one takes the wrong ones of its kind back. */
  right(address: string, kind: CredentialClass): void {
    const row = rowOf(address, kind);
    this.#rows.delete(row);
    this.#locked.delete(row);
  }

  /** Rows that are kept now. */
  get size(): number {
    return this.#rows.size + this.#locked.size;
  }
}

function rowOf(address: string, kind: CredentialClass): string {
  return `${networkOf(address)} ${kind}`;
}

/** What an address is counted as: whoever has one IPv6 address has all of its /64. */
export function networkOf(address: string): string {
  if (!address.includes(":") || !isIPv6(address)) return address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === "" ? 0 : tail.split(":").length);
  const whole = [...groups, ...Array.from({ length: missing }, () => "0"), ...(tail ?? "").split(":")];
  return `${whole.slice(0, 4).join(":")}::/64`;
}
