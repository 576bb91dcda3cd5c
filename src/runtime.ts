/** Time, chance and log: the only things our long-lived objects take from the world without being handed them. */
import { setTimeout as delay } from "node:timers/promises";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Facts of one log line. Values that could be secrets never come here; a digest does. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export type Log = (level: LogLevel, message: string, fields?: LogFields) => void;

export interface Runtime {
  /** Milliseconds since the epoch. */
  now(): number;
  /** `size` bytes nobody can guess. */
  random(size: number): Uint8Array;
  /** Resolves after `ms` milliseconds, or rejects with the signal's reason as soon as it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Runs `action` once after `ms` milliseconds; the returned function takes it back. Does not keep the process alive. */
  after(ms: number, action: () => void): () => void;
  readonly log: Log;
}

/** Drawing 4 KiB costs hardly more than drawing 16 bytes, and every connection needs a few times 16. */
const poolBytes = 4096;
let pool: Buffer = Buffer.alloc(0);

/** From the global, which is made at its first use: node:crypto would be loaded by whoever imports this file. */
function fresh(size: number): Buffer<ArrayBuffer> {
  return crypto.getRandomValues(Buffer.alloc(size));
}

/** `size` bytes that are handed out once; a copy, so that what is kept does not keep the pool, and nobody reads ahead in it. */
function randomPool(size: number): Uint8Array {
  if (size > poolBytes / 16) return fresh(size);
  if (pool.length < size) pool = fresh(poolBytes);
  const drawn = Uint8Array.from(pool.subarray(0, size));
  pool.fill(0, 0, size);
  pool = pool.subarray(size);
  return drawn;
}

/** The real clock, the system's randomness, and a log that says nothing until it is given a voice. */
export const systemRuntime: Runtime = {
  now: () => Date.now(),
  random: (size) => randomPool(size),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      throw signal?.aborted === true ? signal.reason : error;
    }
  },
  after(ms, action) {
    const timer = setTimeout(action, ms).unref();
    return () => clearTimeout(timer);
  },
  log: () => {},
};

/** The same runtime with another log. */
export function withLog(runtime: Runtime, log: Log): Runtime {
  return { ...runtime, log };
}

/** A fresh random UUID (version 4, RFC 9562 § 5.4) from the runtime's randomness. */
export function randomUuid(runtime: Pick<Runtime, "random">): string {
  const bytes = Buffer.from(runtime.random(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
