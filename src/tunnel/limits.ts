/** How many connections a tunnel takes: at once, and in a second. Whoever comes on top is turned away before anything is done for them. */
import { OpenClawError } from "../errors.ts";
import { systemRuntime } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";

export interface LimitOptions {
  /** Open at the same time, over all forwards of the tunnel. */
  readonly maxConnections?: number;
  /** New ones; absent: as many as come. */
  readonly maxRate?: Rate;
  readonly runtime?: Runtime;
}

/** So many new connections each second on the long run, and `burst` of them at once after a quiet time. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** `release` is to be called once the connection is over; calling it again does nothing. */
export type Admission =
  | { readonly ok: true; readonly release: () => void }
  | { readonly ok: false; readonly reason: "connections" | "rate" };

/** What is left of a rate's burst, and when that was counted. */
export interface TokenBucket {
  readonly tokens: number;
  readonly atMs: number;
}

/** About what one SSH connection with its 2 MiB windows can carry, and far above what people do. */
const defaultMaxConnections = 1024;
const largestLimit = 1_000_000;
const tellEveryMs = 10_000;

/** The limits of one tunnel and what they count. Refusals are logged together, once in ten seconds at most. */
export class ConnectionLimits {
  readonly maxConnections: number;
  readonly maxRate: Rate | undefined;
  readonly #runtime: Runtime;
  #open = 0;
  #refused = 0;
  #bucket: TokenBucket;
  /** Refusals that no line of the log has told yet; undefined while the next one is told at once. */
  #untold: Record<Refusal, number> | undefined;

  constructor({ maxConnections = defaultMaxConnections, maxRate, runtime = systemRuntime }: LimitOptions = {}) {
    this.maxConnections = maxConnections;
    this.maxRate = maxRate;
    this.#runtime = runtime;
    this.#bucket = { tokens: maxRate?.burst ?? 0, atMs: runtime.now() };
  }

  /** Connections that were admitted and not released. */
  get open(): number {
    return this.#open;
  }

  /** Connections that were turned away so far. */
  get refused(): number {
    return this.#refused;
  }

  /** Asks for one more connection. One that is turned away for their number costs nothing of the rate. */
  admit(): Admission {
    if (this.#open >= this.maxConnections) return this.#refuse("connections");
    if (this.maxRate !== undefined) {
      const { tokens, atMs } = refill(this.#bucket, this.maxRate, this.#runtime.now());
      this.#bucket = { tokens: tokens >= 1 ? tokens - 1 : tokens, atMs };
      if (tokens < 1) return this.#refuse("rate");
    }
    this.#open++;
    let isOpen = true;
    const release = () => {
      if (isOpen) this.#open--;
      isOpen = false;
    };
    return { ok: true, release };
  }

  #refuse(reason: Refusal): Admission {
    this.#refused++;
    if (this.#untold === undefined) {
      this.#tell({ connections: 0, rate: 0, [reason]: 1 });
      this.#tellLater();
    } else {
      this.#untold[reason]++;
    }
    return { ok: false, reason };
  }

  #tellLater(): void {
    this.#untold = { connections: 0, rate: 0 };
    this.#runtime.after(tellEveryMs, () => {
      const untold = this.#untold;
      this.#untold = undefined;
      if (untold === undefined || untold.connections + untold.rate === 0) return;
      this.#tell(untold);
      this.#tellLater();
    });
  }

  #tell({ connections, rate }: Record<Refusal, number>): void {
    this.#runtime.log("warn", "connections were refused: a limit of the tunnel is reached", {
      ...(connections > 0 && { overConnections: connections, maxConnections: this.maxConnections }),
      ...(rate > 0 && { overRate: rate, maxRate: this.maxRate?.perSecond }),
    });
  }
}

type Refusal = "connections" | "rate";

/** The bucket at `nowMs`: `perSecond` tokens for each second that passed, never above `burst`. A clock that was put back adds nothing. */
export function refill({ tokens, atMs }: TokenBucket, { perSecond, burst }: Rate, nowMs: number): TokenBucket {
  const elapsedMs = Math.max(0, nowMs - atMs);
  return { tokens: Math.min(burst, tokens + (elapsedMs / 1000) * perSecond), atMs: nowMs };
}

/** Reads the value of `--max-connections`. Throws `usage`. */
export function parseMaxConnections(text: string): number {
  return readLimit(text, "--max-connections", text);
}

/** Reads the value of `--max-rate`: `perSecond`, or `perSecond:burst`; without a burst it is one second's worth. Throws `usage`. */
export function parseMaxRate(text: string): Rate {
  const [perSecond = "", burst = perSecond, ...more] = text.split(":");
  if (more.length > 0) throw notALimit("--max-rate", text);
  return { perSecond: readLimit(perSecond, "--max-rate", text), burst: readLimit(burst, "--max-rate", text) };
}

function readLimit(digits: string, flag: string, text: string): number {
  const limit = /^\d{1,7}$/.test(digits) ? Number(digits) : 0;
  if (limit >= 1 && limit <= largestLimit) return limit;
  throw notALimit(flag, text);
}

function notALimit(flag: string, text: string): OpenClawError {
  const example = flag === "--max-rate" ? "50, or 50:200 for bursts of up to 200" : "100";
  return new OpenClawError("usage", `${flag} ${JSON.stringify(text)} is not a limit`, {
    hint: `write a whole number from 1 to ${largestLimit}, such as ${example}`,
  });
}
