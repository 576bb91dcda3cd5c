/** All forwards of a tunnel: what listens over which SSH connection, and what becomes of a port that cannot be had. */
import { isFailure } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "../ssh/connect.ts";
import type { ForwardDirection, ForwardSpec } from "../ssh/destination.ts";
import { Forward } from "./forward.ts";
import { isForbidden, listenPatiently } from "./held-port.ts";
import type { ConnectionLimits } from "./limits.ts";
import type { ListeningEnd } from "./listening-end.ts";
import { LocalForward } from "./local-forward.ts";
import { Probes } from "./probe.ts";
import { RemoteForward, serveRemoteForwards } from "./remote-forward.ts";
import type { ConnectionRow, ForwardCheck } from "./report.ts";
import { chance } from "./retry-delay.ts";

export interface ForwardSetOptions {
  readonly forwards: readonly ForwardSpec[];
  readonly limits: ConnectionLimits | undefined;
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
  /** Called when a forward stops listening, and when it listens again. */
  readonly changed: (forward: Forward) => void;
}

export interface Arrival {
  /** True until the forwards have listened for the first time: a port that cannot be had is then the end. */
  readonly isFirst: boolean;
  /** Tells the server's processes behind connections that were lost to end: they may still hold our ports. */
  readonly takeBack: () => void;
  /** How long to go on asking for a port that is held, before that is done beside the forwards that work; in milliseconds. */
  readonly patienceMs: number;
}

const slowRetryMs = 1_000;
const firstLooksMs = 1_000;

export class ForwardSet implements AsyncDisposable {
  readonly #options: ForwardSetOptions;
  readonly #probes: Probes;
  readonly #forwards: readonly Forward[];
  readonly #remotes: readonly RemoteForward[];
  readonly #locals: readonly LocalForward[];

  constructor(options: ForwardSetOptions) {
    const { forwards, limits, runtime, changed } = options;
    const around = { runtime, limits, changed };
    this.#options = options;
    this.#probes = new Probes(runtime);
    this.#forwards = forwards.map((spec) => new Forward(spec));
    this.#remotes = this.#those("remote").map((forward) => new RemoteForward(forward, around, this.#probes));
    this.#locals = this.#those("local").map((forward) => new LocalForward(forward, around));
  }

  /** In the order they were asked for. */
  get forwards(): readonly Forward[] {
    return this.#forwards;
  }

  connections(): ConnectionRow[] {
    return this.#forwards.flatMap((forward) => forward.connections());
  }

  async check(): Promise<ForwardCheck[]> {
    const rows: ForwardCheck[] = [];
    for (const end of this.#ends()) rows.push(await end.check());
    return rows;
  }

  /** To be called for every connection before anything is asked of it: what the server passes on is served from then on. */
  serve(connection: SshConnection): void {
    serveRemoteForwards(connection, this.#remotes);
  }

  /**
   * Lets every forward listen over a connection. Throws what ends the connection, and what cannot heal: at first every refusal, later
   * only that of a port that nobody holds.
   */
  async listen(connection: SshConnection, arrival: Arrival): Promise<void> {
    let hasAsked = false;
    const takeBack = () => {
      if (!hasAsked) arrival.takeBack();
      hasAsked = true;
    };
    const listen = (end: ListeningEnd) => this.#listenOne(end, connection, { ...arrival, takeBack });
    const listenThere = () => Promise.all(this.#remotes.map(listen));
    const listenHere = async () => {
      for (const end of this.#locals) await listen(end);
    };
    // What listens here need not wait for a port over there. At first it does: when that cannot be had there is no tunnel.
    if (!arrival.isFirst) return void (await Promise.all([listenThere(), listenHere()]));
    await listenThere();
    await listenHere();
    await this.#look();
  }

  /** Lets every forward listen over another connection while the first one works. When one of them may not, all stay where they were. */
  async move(before: SshConnection, connection: SshConnection): Promise<void> {
    try {
      for (const end of this.#ends()) await end.move(connection);
    } catch (error) {
      if (before.isOpen) for (const end of this.#ends()) await end.move(before).catch(() => {});
      throw error;
    }
  }

  /** The connection is gone, and there is no other yet. */
  lost(): void {
    for (const end of this.#ends()) end.lost();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#ends().map((end) => end[Symbol.asyncDispose]()));
  }

  /** Nobody is to be told of a port before it is known whether anybody would answer there; what takes its time is waited for a second. */
  async #look(): Promise<void> {
    const { runtime, signal } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = runtime.after(firstLooksMs, resolve);
    await Promise.race([promise, Promise.all(this.#ends().map((end) => end.looked()))]);
    cancel();
    signal.throwIfAborted();
  }

  async #listenOne(end: ListeningEnd, connection: SshConnection, { isFirst, ...arrival }: Arrival): Promise<void> {
    const { runtime, signal, changed } = this.#options;
    const { forward } = end;
    const parts = { connection, forward, probes: this.#probes, runtime, signal, ...arrival };
    try {
      await listenPatiently(() => end.listen(connection), parts);
    } catch (error) {
      if (isFirst || isForbidden(error) || !isFailure(error, "ssh-forward", "port-in-use")) throw error;
      forward.is("refused", error.hint === undefined ? error.message : `${error.message} (${error.hint})`);
      changed(forward);
      void this.#listenLater(end, connection);
    }
  }

  async #listenLater(end: ListeningEnd, connection: SshConnection): Promise<void> {
    const { runtime, signal, changed } = this.#options;
    for (;;) {
      await runtime.sleep(slowRetryMs * (0.5 + chance(runtime)), signal).catch(() => {});
      if (signal.aborted || !connection.isOpen || end.forward.state !== "refused") return;
      try {
        await end.listen(connection);
        return changed(end.forward);
      } catch (error) {
        if (!isFailure(error, "ssh-forward", "port-in-use")) return; // the connection is lost, which is told elsewhere
      }
    }
  }

  #ends(): readonly ListeningEnd[] {
    return [...this.#remotes, ...this.#locals];
  }

  #those(direction: ForwardDirection): readonly Forward[] {
    return this.#forwards.filter(({ spec }) => spec.direction === direction);
  }
}
