/** A second connection that stands by: authenticated, carrying nothing, ready when the first one is lost. */
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { chance, retryDelay } from "./retry-delay.ts";

export class SpareConnection {
  readonly #connect: () => Promise<SshConnection>;
  readonly #runtime: Runtime;
  readonly #signal: AbortSignal;
  #connection: SshConnection | undefined;
  #isMaking = false;

  constructor(connect: () => Promise<SshConnection>, runtime: Runtime, signal: AbortSignal) {
    this.#connect = connect;
    this.#runtime = runtime;
    this.#signal = signal;
  }

  get isReady(): boolean {
    return this.#connection?.isOpen === true;
  }

  /** Hands the connection over; undefined when there is none. */
  take(): SshConnection | undefined {
    const connection = this.#connection;
    this.#connection = undefined;
    return connection?.isOpen === true ? connection : undefined;
  }

  /** Makes one unless there is one, and another whenever it is lost. Without hurry, and without an end: it is only a spare. */
  keep(): void {
    if (this.#isMaking || this.isReady || this.#signal.aborted) return;
    this.#isMaking = true;
    void this.#make().finally(() => (this.#isMaking = false));
  }

  async #make(): Promise<void> {
    for (let attempt = 0; !this.#signal.aborted; attempt++) {
      try {
        const connection = await this.#connect();
        this.#connection = connection;
        void connection.closed.then((lost) => {
          if (this.#connection !== connection) return;
          this.#connection = undefined;
          if (lost !== undefined) this.keep();
        });
        if (this.#signal.aborted) await connection.close();
        return;
      } catch {
        await this.#runtime.sleep(retryDelay(attempt, chance(this.#runtime)), this.#signal).catch(() => {});
      }
    }
  }
}
