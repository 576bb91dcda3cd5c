/** A tunnel: forwards over an SSH connection that is replaced whenever it is lost, until it is closed or refused. */
import { OpenClawError, isFailure } from "../errors.ts";
import { systemRuntime } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { startCommand } from "../ssh/command.ts";
import { connectSsh, defaultKeepaliveMs, defaultReadyTimeoutMs } from "../ssh/connect.ts";
import type { SshConnection, SshOptions } from "../ssh/connect.ts";
import { formatDestination } from "../ssh/destination.ts";
import type { ForwardSpec } from "../ssh/destination.ts";
import type { Forward, ForwardRow } from "./forward.ts";
import { ForwardSet } from "./forward-set.ts";
import { isForbidden } from "./held-port.ts";
import { Journal } from "./journal.ts";
import type { ConnectionLimits } from "./limits.ts";
import type { ForwardCheck, SshReport, TunnelReport, TunnelState, TunnelSummary } from "./report.ts";
import { chance, retryDelay } from "./retry-delay.ts";
import { askRoundTrip, endSession, type ServerSession } from "../ssh/server-session.ts";
import type { ClientChannel } from "../ssh/ssh2.ts";
import { SpareConnection } from "./spare-connection.ts";
import type { TunnelEvent } from "./tunnel-event.ts";
import { watchForRenewal } from "./renewal-watch.ts";
import { describeSsh } from "./ssh-report.ts";

export type { TunnelEvent } from "./tunnel-event.ts";

export interface TunnelOptions {
  readonly ssh: Omit<SshOptions, "runtime">;
  readonly forwards: readonly ForwardSpec[];
  /** What people call it; its destination when absent. */
  readonly name?: string;
  /** False: the first loss is the end. */
  readonly reconnect?: boolean;
  /** True: a second connection stands by, authenticated, and takes over when the first one is lost. */
  readonly hotSpare?: boolean;
  /** How many connections may pass, and how fast they may come. */
  readonly limits?: ConnectionLimits;
  /** A connection that is open already, to begin with; the tunnel ends it. */
  readonly first?: SshConnection;
  /** Looks at the server before anything listens there, once. What it throws is the end. */
  readonly beforeListening?: (connection: SshConnection) => Promise<void>;
  readonly onEvent?: (event: TunnelEvent) => void;
  /** Ends the tunnel, whatever it is doing. */
  readonly signal?: AbortSignal;
  readonly runtime?: Runtime;
}

export interface Tunnel extends AsyncDisposable {
  readonly name: string;
  forwards(): ForwardRow[];
  summary(): TunnelSummary;
  report(): TunnelReport;
  /**
   * Replaces the connection while it works: the second one comes up first, new streams go over it, those that are open end on the first.
   * Throws what the second connection met; the first one then goes on.
   */
  reopen(reason: string): Promise<void>;
  /** Tries every forward from its listening end to its target. */
  check(): Promise<ForwardCheck[]>;
  /** Starts a command over there; it ends with the connection that it was started over. Throws `ssh`. */
  start(command: string): Promise<ClientChannel>;
  /** Resolves after `close` or the signal; rejects with what cannot heal: `ssh-auth`, `host-key-changed`, or `ssh` without reconnects. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

/** A server that drops us sooner than this is not a server that is back. */
const steadyMs = 1_000;
/** Sessions that are remembered. Each takes one of the ten channels for commands that sshd grants a connection (MaxSessions). */
const mostStale = 4;
/** How long at least a server that was lost gets to shake hands; one that has begun to gets twice as long the next time. */
const shortestHandshakeMs = 3_000;

/**
 * Opens a tunnel. Resolves once connected and every forward listens; from then on lost connections are replaced. Until
 * then every failure is thrown, so that a typing error is seen: see `connectSsh`, `ssh-forward`, `port-in-use`.
 */
export async function openTunnel(options: TunnelOptions): Promise<Tunnel> {
  const tunnel = new SshTunnel(options);
  await tunnel.open();
  return tunnel;
}

class SshTunnel implements Tunnel {
  readonly name: string;
  readonly #options: TunnelOptions;
  readonly #runtime: Runtime;
  readonly #destination: string;
  readonly #forwards: ForwardSet;
  readonly #journal: Journal;
  readonly #spare: SpareConnection | undefined;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #closed = Promise.withResolvers<void>();
  /** The connection that new streams go over. */
  #current: SshConnection | undefined;
  /** Connections that were replaced while they worked, for as long as something still passes over them. */
  readonly #draining = new Set<SshConnection>();
  /** The server's processes behind connections that were lost, which may still hold our ports. */
  readonly #stale = new Set<ServerSession>();
  #renewal: Promise<void> | undefined;
  /** Resolved when another connection takes over from one that works. */
  #renewed = Promise.withResolvers<undefined>();
  #stopWatching = () => {};
  #attempt = 0;
  #upSinceMs = 0;
  #isOver = false;

  constructor(options: TunnelOptions) {
    const { ssh, forwards, signal, limits, runtime = systemRuntime } = options;
    this.#options = options;
    this.#runtime = runtime;
    this.#destination = formatDestination(ssh);
    this.name = options.name ?? this.#destination;
    this.#journal = new Journal(runtime);
    this.#signal = AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])]);
    const changed = (forward: Forward) => this.#upSinceMs > 0 && this.#tellChanged(forward);
    this.#forwards = new ForwardSet({ forwards, limits, runtime, signal: this.#signal, changed });
    if (options.hotSpare === true) this.#spare = new SpareConnection(() => this.#connect(), runtime, this.#signal);
    // Nobody has to wait for the end.
    this.#closed.promise.catch(() => {});
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  forwards(): ForwardRow[] {
    return this.#forwards.forwards.map((forward) => forward.row());
  }

  summary(): TunnelSummary {
    const { uptimeMs, reconnects } = this.#journal.pages();
    const { name } = this;
    const destination = this.#destination;
    return {
      name,
      destination,
      state: this.#state(),
      pid: process.pid,
      uptimeMs,
      reconnects,
      forwards: this.forwards(),
    };
  }

  report(): TunnelReport {
    return {
      ...this.summary(),
      ...this.#journal.pages(),
      ...(this.#current === undefined ? {} : { ssh: this.#describe(this.#current) }),
      draining: [...this.#draining].reduce((sum, { bridges }) => sum + bridges.size, 0),
      connections: this.#forwards.connections(),
    };
  }

  check(): Promise<ForwardCheck[]> {
    return this.#forwards.check();
  }

  start(command: string): Promise<ClientChannel> {
    return startCommand(this.#connected("run a command over"), command);
  }

  async open(): Promise<void> {
    try {
      await this.#come(await this.#connectFirst(), 0);
    } catch (error) {
      await this.#release();
      throw error;
    }
    this.#tellReady();
    this.#keepUp().then(this.#closed.resolve, this.#closed.reject);
    void this.#measure();
  }

  async reopen(reason: string): Promise<void> {
    const current = this.#connected("replace");
    this.#renewal ??= this.#renew(current, reason).finally(() => (this.#renewal = undefined));
    await this.#renewal;
  }

  async close(): Promise<void> {
    this.#closing.abort(new OpenClawError("failed", "the tunnel is closed"));
    await this.#closed.promise.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Replaces the connection for as long as that makes sense; returns when asked to stop, throws what cannot heal. */
  async #keepUp(): Promise<void> {
    try {
      for (;;) {
        const lost = await this.#lost();
        if (lost === undefined) return;
        await this.#replace(lost);
      }
    } catch (error) {
      if (!this.#signal.aborted) throw error;
    } finally {
      await this.#release();
      this.#emit({ event: "stopped" });
    }
  }

  /** Why the connection in use was lost, or undefined when the tunnel is to stop first. */
  async #lost(): Promise<OpenClawError | undefined> {
    const { promise: stop, resolve } = Promise.withResolvers<undefined>();
    const onAbort = () => resolve(undefined);
    this.#signal.addEventListener("abort", onAbort);
    if (this.#signal.aborted) onAbort();
    try {
      for (;;) {
        const connection = this.#current;
        if (connection === undefined || this.#signal.aborted) return undefined;
        const reason = await Promise.race([connection.closed, this.#renewed.promise, stop]);
        await this.#renewal?.catch(() => {});
        if (this.#signal.aborted) return undefined;
        if (this.#current === connection) return reason;
      }
    } finally {
      this.#signal.removeEventListener("abort", onAbort);
    }
  }

  /** Tries until there is a connection again. */
  async #replace(lost: OpenClawError): Promise<void> {
    const downSinceMs = this.#runtime.now();
    this.#leave(lost);
    if (this.#options.reconnect === false) {
      this.#emit({ event: "disconnected", reason: lost.message });
      throw lost;
    }
    if (downSinceMs - this.#upSinceMs >= steadyMs) this.#attempt = 0;
    const shortestMs = Math.max(shortestHandshakeMs, 2 * this.#keepaliveMs);
    let handshakeMs = shortestMs;
    for (let reason = lost.message; ;) {
      const retryInMs = this.#spare?.isReady === true ? 0 : retryDelay(this.#attempt++, chance(this.#runtime));
      this.#emit({ event: "disconnected", reason, retryInMs });
      if (retryInMs > 0) await this.#runtime.sleep(retryInMs, this.#signal);
      try {
        // A port that is held is asked for as long as a dead connection may take to be noticed; then slower, beside the forwards that work.
        await this.#come(this.#spare?.take() ?? (await this.#connect(handshakeMs)), this.#keepaliveMs);
        const downMs = this.#runtime.now() - downSinceMs;
        this.#journal.note({ what: "reconnected", downMs });
        return this.#emit({ event: "reconnected", downMs });
      } catch (error) {
        if (this.#signal.aborted || !mayHeal(error)) throw error;
        reason = error.message;
        handshakeMs = error.details?.["hasAnswered"] === true ? 2 * handshakeMs : shortestMs;
        this.#journal.note({ what: "failed", reason });
      }
    }
  }

  /** Lets every forward listen over a new connection, which is in use from then on. Closes it when that fails. */
  async #come(connection: SshConnection, patienceMs: number): Promise<void> {
    const isFirst = this.#upSinceMs === 0;
    try {
      await this.#forwards.listen(connection, { isFirst, patienceMs, takeBack: () => this.#takeBack(connection) });
      this.#signal.throwIfAborted();
      if (!connection.isOpen) throw await connection.closed;
    } catch (error) {
      this.#forwards.lost();
      await connection.close();
      throw error;
    }
    if (this.#forwards.forwards.every(({ state }) => state !== "refused")) this.#stale.clear();
    this.#use(connection);
    if (isFirst) this.#journal.note({ what: "connected" });
  }

  /** Second connection up, new streams over it, the first one ends with its last stream. */
  async #renew(before: SshConnection, reason: string): Promise<void> {
    // Not the spare: what has changed since it came up may be the reason.
    const connection = await this.#connect();
    try {
      await this.#forwards.move(before, connection);
      this.#signal.throwIfAborted();
    } catch (error) {
      await connection.close();
      throw error;
    }
    const draining = before.bridges.size;
    await this.#spare?.take()?.close();
    this.#use(connection);
    this.#renewed.resolve(undefined);
    this.#renewed = Promise.withResolvers<undefined>();
    this.#journal.note({ what: "replaced", reason });
    this.#emit({ event: "renewed", reason, draining });
    this.#draining.add(before);
    void before.bridges.drained().then(() => before.close());
    void before.closed.then(() => this.#draining.delete(before));
  }

  #use(connection: SshConnection): void {
    this.#current = connection;
    this.#watchForRenewal(connection);
    this.#upSinceMs = this.#runtime.now();
    this.#spare?.keep();
  }

  #watchForRenewal({ socket }: SshConnection): void {
    const ends = "localAddress" in socket ? { local: socket.localAddress, remote: socket.remoteAddress } : {};
    const { identityFiles = [] } = this.#options.ssh.credentials.options;
    const runtime = this.#runtime;
    this.#stopWatching();
    this.#stopWatching = watchForRenewal(
      { ends, files: identityFiles, everyMs: this.#keepaliveMs, runtime },
      (reason) => {
        this.reopen(reason).catch((error: unknown) => {
          // What works goes on; the next sign of a change is the loss itself.
          this.#journal.failed(error instanceof Error ? error.message : String(error));
        });
      },
    );
  }

  /** Notes what is lost with a connection. */
  #leave(lost: OpenClawError): void {
    const connection = this.#current;
    this.#current = undefined;
    this.#stopWatching();
    this.#forwards.lost();
    this.#journal.note({ what: "lost", reason: lost.message });
    if (connection?.serverSession !== undefined) this.#stale.add(connection.serverSession);
    for (const session of [...this.#stale].slice(0, -mostStale)) this.#stale.delete(session);
  }

  /** Nobody waits for the answers: a person's start files may make every command there take seconds. Who did not answer is told again next time. */
  #takeBack({ client }: SshConnection): void {
    for (const session of this.#stale) {
      void endSession(client, session).then((isOver) => isOver && this.#stale.delete(session));
    }
  }

  #connected(what: string): SshConnection {
    if (this.#current !== undefined) return this.#current;
    throw new OpenClawError("ssh", `the tunnel ${this.name} has no connection to ${what}`, {
      hint: "it is reconnecting by itself; openclaw tunnel inspect shows why",
    });
  }

  async #connectFirst(): Promise<SshConnection> {
    const { first } = this.#options;
    if (first !== undefined) this.#forwards.serve(first);
    const connection = first ?? (await this.#connect());
    try {
      await this.#options.beforeListening?.(connection);
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** `atMostMs` bounds the handshake, where less than usual is enough. */
  async #connect(atMostMs = Infinity): Promise<SshConnection> {
    this.#emit({ event: "connecting", destination: this.#destination });
    const { ssh } = this.#options;
    const readyTimeoutMs = Math.min(atMostMs, ssh.readyTimeoutMs ?? defaultReadyTimeoutMs);
    const connection = await connectSsh({ ...ssh, readyTimeoutMs, runtime: this.#runtime }, this.#signal);
    this.#forwards.serve(connection);
    return connection;
  }

  /** Asks the server for a sign of life now and then, and notes how long it took. */
  async #measure(): Promise<void> {
    while (!this.#isOver) {
      const roundTripMs = this.#current === undefined ? undefined : await askRoundTrip(this.#current.client);
      if (roundTripMs !== undefined) this.#journal.answered(Math.round(roundTripMs * 1000) / 1000);
      await this.#runtime.sleep(this.#keepaliveMs, this.#signal).catch(() => {});
      if (this.#signal.aborted) return;
    }
  }

  get #keepaliveMs(): number {
    return this.#options.ssh.keepaliveMs ?? defaultKeepaliveMs;
  }

  #state(): TunnelState {
    if (this.#isOver) return "down";
    return this.#current === undefined ? "reconnecting" : "up";
  }

  #describe(connection: SshConnection): SshReport {
    return describeSsh(connection, this.#spare?.isReady === true);
  }

  async #release(): Promise<void> {
    this.#isOver = true;
    this.#stopWatching();
    const connections = [this.#current, this.#spare?.take(), ...this.#draining];
    this.#current = undefined;
    this.#forwards.lost();
    const closing = connections.map((connection) => connection?.close());
    await Promise.all([...closing, this.#forwards[Symbol.asyncDispose]()]);
  }

  #tellReady(): void {
    for (const forward of this.#forwards.forwards) this.#emit({ event: "forward", ...forward.address() });
    this.#emit({ event: "ready", name: this.name, pid: process.pid, forwards: this.forwards() });
    for (const forward of this.#forwards.forwards) if (forward.state !== "listening") this.#tellChanged(forward);
  }

  #tellChanged(forward: Forward): void {
    const { state, problem } = forward.row();
    if (problem !== undefined) this.#journal.failed(problem);
    const why = problem === undefined ? {} : { problem };
    this.#emit({ event: "forward-changed", ...forward.address(), state, ...why });
  }

  #emit(event: TunnelEvent): void {
    this.#options.onEvent?.(event);
  }
}

/** Broken networks and held ports pass; refused credentials, changed host keys and unusable files do not. */
function mayHeal(error: unknown): error is OpenClawError {
  return isFailure(error, "ssh", "ssh-forward") && !isForbidden(error);
}
