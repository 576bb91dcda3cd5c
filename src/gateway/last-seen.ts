/** When devices were last here: gathered in memory, written in batches, so that no handshake waits for it. */
import type { Runtime } from "../runtime.ts";
import type { Devices } from "./devices.ts";
import type { Session } from "./session.ts";

export class LastSeen {
  readonly #devices: Devices;
  readonly #runtime: Runtime;
  #seen = new Map<string, { readonly atMs: number; readonly role: string; readonly reason: string }>();

  constructor(devices: Devices, runtime: Runtime) {
    this.#devices = devices;
    this.#runtime = runtime;
  }

  note({ facts }: Session, reason: "connect" | "disconnect"): void {
    if (facts.deviceId === undefined) return;
    this.#seen.set(facts.deviceId, { atMs: this.#runtime.now(), role: facts.role, reason });
  }

  /** Writes what has come together. What could not be written is kept for the next time. */
  async write(): Promise<void> {
    if (this.#seen.size === 0) return;
    const seen = this.#seen;
    this.#seen = new Map();
    try {
      await this.#devices.noteSeen(seen);
    } catch (error) {
      this.#seen = new Map([...seen, ...this.#seen]);
      throw error;
    }
  }
}
