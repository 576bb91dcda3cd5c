/** Time, chance and log: the only things our long-lived objects take from the world without being handed them. */
import { randomBytes } from "node:crypto";
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

/** The real clock, the system's randomness, and a log that says nothing until it is given a voice. */
export const systemRuntime: Runtime = {
  now: () => Date.now(),
  random: (size) => randomBytes(size),
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
