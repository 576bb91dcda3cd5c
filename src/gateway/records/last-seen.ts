/** When devices were last here: gathered in memory, written in batches, so that no handshake waits for it. */
import type { Runtime } from "../../runtime.ts";
import type { Devices } from "./devices.ts";
import type { Session } from "../session.ts";

interface Seen {
  readonly atMs: number;
  readonly role: string;
  readonly reason: "connect" | "disconnect";
}

export class LastSeen {
  readonly #devices: Devices;
  readonly #runtime: Runtime;
  /** Sessions that came since the last write: they know themselves when that was. */
  #came = new Set<Session>();
  /** Devices that left, by their id. */
  #left = new Map<string, Seen>();

  constructor(devices: Devices, runtime: Runtime) {
    this.#devices = devices;
    this.#runtime = runtime;
  }

  note(session: Session, reason: Seen["reason"]): void {
    const { deviceId, role } = session.facts;
    if (deviceId === undefined) return;
    if (reason === "connect") this.#came.add(session);
    else if (session.facts.clientMode !== "probe") {
      this.#came.delete(session);
      this.#left.set(deviceId, { atMs: this.#runtime.now(), role, reason });
    }
  }

  /** Writes what has come together. What could not be written is kept for the next time. */
  async write(): Promise<void> {
    const [came, left] = [this.#came, this.#left];
    if (came.size === 0 && left.size === 0) return;
    this.#came = new Set();
    this.#left = new Map();
    const seen = new Map(left);
    // Whoever left and came back is here.
    for (const { facts } of came) {
      const { deviceId = "", role, connectedAtMs: atMs } = facts;
      seen.set(deviceId, { atMs, role, reason: "connect" });
    }
    try {
      await this.#devices.noteSeen(seen);
    } catch (error) {
      this.#came = new Set([...came, ...this.#came]);
      this.#left = new Map([...left, ...this.#left]);
      throw error;
    }
  }
}
