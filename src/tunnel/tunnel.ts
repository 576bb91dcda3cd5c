/** A tunnel: forwards over an SSH connection that is replaced whenever it is lost, until it is closed or refused. */
import { OpenClawError, isFailure } from "../errors.ts";
import { systemRuntime } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { connectSsh, defaultKeepaliveMs } from "./connect.ts";
import type { SshConnection, SshOptions } from "./connect.ts";
import { formatDestination } from "./destination.ts";
import type { ForwardDirection, ForwardSpec } from "./destination.ts";
import { Forward } from "./forward.ts";
import type { ForwardRow } from "./forward.ts";
import { LocalListener } from "./local-forward.ts";
import { requestRemoteForward, serveRemoteForwards } from "./remote-forward.ts";

export interface TunnelOptions {
  readonly ssh: Omit<SshOptions, "runtime">;
  readonly forwards: readonly ForwardSpec[];
  /** What people call it; its destination when absent. */
  readonly name?: string;
  /** False: the first loss is the end. */
  readonly reconnect?: boolean;
  readonly onEvent?: (event: TunnelEvent) => void;
  /** Ends the tunnel, whatever it is doing. */
  readonly signal?: AbortSignal;
  readonly runtime?: Runtime;
}

export type TunnelEvent =
  | { readonly event: "connecting"; readonly destination: string }
  | {
      readonly event: "forward";
      readonly direction: ForwardDirection;
      readonly bind: string;
      readonly port: number;
      readonly target: string;
    }
  | { readonly event: "ready"; readonly name: string; readonly pid: number; readonly forwards: readonly ForwardRow[] }
  /** Also after a try to come back that failed. Without `retryInMs` there is no further one. */
  | { readonly event: "disconnected"; readonly reason: string; readonly retryInMs?: number }
  | { readonly event: "reconnected"; readonly downMs: number }
  | { readonly event: "stopped" };

export interface Tunnel extends AsyncDisposable {
  readonly name: string;
  forwards(): ForwardRow[];
  /** Resolves after `close` or the signal; rejects with what cannot heal: `ssh-auth`, `host-key-changed`, or `ssh` without reconnects. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

const firstRetryMs = 250;
const slowestRetryMs = 30_000;
const steadyMs = 10_000;
const heldPortRetryMs = 500;
// How long one connection asks for a held port before that is reported and the slower retries take over.
const heldPortKeepalives = 4;

/**
 * Opens a tunnel. Resolves once connected and every forward listens; from then on lost connections are replaced. Until
 * then every failure is thrown, so that a typing error is seen: see `connectSsh`, `ssh-forward`, `port-in-use`.
 */
export async function openTunnel(options: TunnelOptions): Promise<Tunnel> {
  const tunnel = new SshTunnel(options);
  await tunnel.open();
  return tunnel;
}

/**
 * Delay before retry number `attempt` (from 0), in milliseconds: anywhere between nothing and a ceiling that doubles up
 * to 30 s, so that the clients of a restarted server do not come back together. `chance` is in [0, 1).
 */
export function retryDelay(attempt: number, chance: number): number {
  return Math.round(chance * Math.min(slowestRetryMs, firstRetryMs * 2 ** attempt));
}

class SshTunnel implements Tunnel {
  readonly name: string;
  readonly #options: TunnelOptions;
  readonly #runtime: Runtime;
  readonly #destination: string;
  readonly #forwards: readonly Forward[];
  readonly #listeners: readonly LocalListener[];
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #closed = Promise.withResolvers<void>();
  #attempt = 0;
  #upSinceMs = 0;

  constructor(options: TunnelOptions) {
    const { ssh, forwards, signal, runtime = systemRuntime } = options;
    this.#options = options;
    this.#runtime = runtime;
    this.#destination = formatDestination(ssh);
    this.name = options.name ?? this.#destination;
    this.#forwards = forwards.map((spec) => new Forward(spec));
    const local = this.#forwards.filter((forward) => forward.spec.direction === "local");
    this.#listeners = local.map((forward) => new LocalListener(forward, runtime));
    this.#signal = AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])]);
    // Nobody has to wait for the end.
    this.#closed.promise.catch(() => {});
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  forwards(): ForwardRow[] {
    return this.#forwards.map((forward) => forward.row());
  }

  async open(): Promise<void> {
    const connection = await this.#connect();
    try {
      await this.#requestForwards(connection);
      for (const listener of this.#listeners) await listener.listen();
      this.#signal.throwIfAborted();
      this.#use(connection);
      this.#tellReady();
    } catch (error) {
      await this.#release(connection);
      throw error;
    }
    this.#upSinceMs = this.#runtime.now();
    this.#keepUp(connection).then(this.#closed.resolve, this.#closed.reject);
  }

  async close(): Promise<void> {
    this.#closing.abort(new OpenClawError("failed", "the tunnel is closed"));
    await this.#closed.promise.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Replaces the connection for as long as that makes sense; returns when asked to stop, throws what cannot heal. */
  async #keepUp(first: SshConnection): Promise<void> {
    let connection: SshConnection | undefined = first;
    try {
      while (connection !== undefined) {
        const reason = await this.#lost(connection);
        if (reason === undefined) return;
        this.#use(undefined);
        connection = await this.#replace(reason);
      }
    } catch (error) {
      if (!this.#signal.aborted) throw error;
    } finally {
      await this.#release(connection);
      this.#emit({ event: "stopped" });
    }
  }

  /** Why the connection was lost, or undefined when the tunnel is to stop first. */
  async #lost(connection: SshConnection): Promise<OpenClawError | undefined> {
    const { promise: stop, resolve } = Promise.withResolvers<undefined>();
    const onAbort = () => resolve(undefined);
    this.#signal.addEventListener("abort", onAbort);
    if (this.#signal.aborted) onAbort();
    try {
      return await Promise.race([connection.closed, stop]);
    } finally {
      this.#signal.removeEventListener("abort", onAbort);
    }
  }

  /** Tries until there is a connection again. */
  async #replace(lost: OpenClawError): Promise<SshConnection> {
    const downSinceMs = this.#runtime.now();
    if (this.#options.reconnect === false) {
      this.#emit({ event: "disconnected", reason: lost.message });
      throw lost;
    }
    // A server that takes us in only to drop us again is not a server that is back.
    if (downSinceMs - this.#upSinceMs >= steadyMs) this.#attempt = 0;
    for (let reason = lost.message; ;) {
      const retryInMs = retryDelay(this.#attempt++, this.#chance());
      this.#emit({ event: "disconnected", reason, retryInMs });
      await this.#runtime.sleep(retryInMs, this.#signal);
      try {
        const connection = await this.#reconnect();
        this.#upSinceMs = this.#runtime.now();
        this.#emit({ event: "reconnected", downMs: this.#upSinceMs - downSinceMs });
        return connection;
      } catch (error) {
        if (this.#signal.aborted || !mayHeal(error)) throw error;
        reason = error.message;
      }
    }
  }

  async #reconnect(): Promise<SshConnection> {
    const connection = await this.#connect();
    try {
      await this.#requestForwards(connection, this.#heldPortPatienceMs());
      this.#use(connection);
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  async #connect(): Promise<SshConnection> {
    this.#emit({ event: "connecting", destination: this.#destination });
    const connection = await connectSsh({ ...this.#options.ssh, runtime: this.#runtime }, this.#signal);
    serveRemoteForwards(connection, this.#forwards, this.#runtime);
    return connection;
  }

  async #requestForwards(connection: SshConnection, patienceMs = 0): Promise<void> {
    const remote = this.#forwards.filter((forward) => forward.spec.direction === "remote");
    await Promise.all(remote.map((forward) => this.#requestForward(connection, forward, patienceMs)));
  }

  /**
   * The server grants a port it granted before unless a session of ours, dead but not yet noticed there, still holds it.
   * So it is asked again on the same connection for a while, and never by dialling the port: that keeps it alive.
   */
  async #requestForward(connection: SshConnection, forward: Forward, patienceMs: number): Promise<void> {
    const giveUpAtMs = this.#runtime.now() + patienceMs;
    for (;;) {
      try {
        return await requestRemoteForward(connection, forward);
      } catch (error) {
        if (!isFailure(error, "ssh-forward") || this.#runtime.now() >= giveUpAtMs) throw error;
      }
      await this.#runtime.sleep(heldPortRetryMs * (0.5 + this.#chance()), this.#signal);
    }
  }

  #heldPortPatienceMs(): number {
    return heldPortKeepalives * (this.#options.ssh.keepaliveMs ?? defaultKeepaliveMs);
  }

  #use(connection: SshConnection | undefined): void {
    for (const listener of this.#listeners) listener.use(connection);
  }

  async #release(connection: SshConnection | undefined): Promise<void> {
    this.#use(undefined);
    const parts = this.#listeners.map((listener) => listener[Symbol.asyncDispose]());
    await Promise.all([connection?.close(), ...parts]);
  }

  #tellReady(): void {
    for (const { direction, bind, port, target } of this.forwards()) {
      this.#emit({ event: "forward", direction, bind, port, target });
    }
    this.#emit({ event: "ready", name: this.name, pid: process.pid, forwards: this.forwards() });
  }

  /** A number in [0, 1). */
  #chance(): number {
    return Buffer.from(this.#runtime.random(4)).readUInt32BE(0) / 2 ** 32;
  }

  #emit(event: TunnelEvent): void {
    this.#options.onEvent?.(event);
  }
}

/** Broken networks and held ports pass; refused credentials, changed host keys and unusable files do not. */
function mayHeal(error: unknown): error is OpenClawError {
  return isFailure(error, "ssh", "ssh-forward");
}
