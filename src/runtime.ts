/** Time, chance and log: the only things our long-lived objects take from the world without being handed them. */

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Facts of one log line. Values that could be secrets never come here; a digest does. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export type Log = (level: LogLevel, message: string, fields?: LogFields) => void;

export interface Runtime {
  /** Milliseconds since the epoch. */
  now(): number;
  /** `size` bytes nobody can guess. */
  random(size: number): Uint8Array;
  /** A fresh random UUID (version 4, RFC 9562 § 5.4). */
  uuid(): string;
  /** Resolves after `ms` milliseconds, or rejects with the signal's reason as soon as it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Runs `action` once after `ms` milliseconds; the returned function takes it back. Does not keep the process alive. */
  after(ms: number, action: () => void): () => void;
  readonly log: Log;
}

/** The real clock, the system's randomness, and a log that says nothing until it is given a voice. */
export const systemRuntime: Runtime = {
  now: () => Date.now(),
  // From the global, which is made at its first use: node:crypto would be loaded by whoever imports this file.
  random: (size) => crypto.getRandomValues(new Uint8Array(size)),
  uuid: () => crypto.randomUUID(),
  async sleep(ms, signal) {
    const { setTimeout: delay } = await import("node:timers/promises"); // most commands never sleep
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
