/** The target of a local forward, which only the server can reach: dialled, looked at and judged through it. */
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { type ForwardTarget, formatTarget } from "../ssh/destination.ts";
import type { ServerShell } from "../ssh/server-shell.ts";
import type { ClientChannel } from "../ssh/ssh2.ts";
import { isListeningThere } from "./listening.ts";
import { openFailure } from "./probe.ts";
import { TargetWatch, faraway } from "./target-watch.ts";

/** Who dials: address and port. */
type Origin = readonly [address: string, port: number];
type Opened = (...result: [error: Error, channel: undefined] | [error: undefined, channel: ClientChannel]) => void;

/** Where connections come from that nobody dialled. */
const ownOrigin: Origin = ["127.0.0.1", 0];
/** How long a server's shell may take to start before the target is dialled instead of looked for. */
const shellPatienceMs = 500;

export class FarTarget {
  readonly #target: ForwardTarget;
  readonly #runtime: Runtime;
  readonly #changed: () => void;
  readonly #watch: TargetWatch;
  #connection: SshConnection | undefined;
  #wasReached = false;
  /** The shell whose first answer is waited for. */
  #awaited: ServerShell | undefined;
  #forbidden: OpenClawError | undefined;

  /** `changed` is called when it is gone, when it is back, and when it turns out to be forbidden. */
  constructor(target: ForwardTarget, runtime: Runtime, changed: () => void) {
    this.#target = target;
    this.#runtime = runtime;
    this.#changed = changed;
    const reach = { glance: () => this.#glance(), knock: () => this.#knock(), pace: faraway };
    this.#watch = new TargetWatch(reach, runtime, changed);
  }

  /** What was seen last; true before anything was. */
  get isThere(): boolean {
    return this.#watch.isThere;
  }

  /** `ssh-forward`: the server may not pass on to it, which holds for as long as the connection. */
  get forbidden(): OpenClawError | undefined {
    return this.#forbidden;
  }

  get connection(): SshConnection | undefined {
    return this.#connection;
  }

  /**
   * Reached over this connection from now on. Resolves when it has been looked at; at first the server's shell is waited for, so that the
   * target need not be dialled.
   */
  async reachOver(connection: SshConnection): Promise<void> {
    const isFirst = !this.#wasReached;
    this.#wasReached = true;
    this.#connection = connection;
    this.#forbidden = undefined;
    if (isFirst) await this.#inTime(connection.shell.ready);
    if (this.#connection !== connection) return;
    await this.#watch.start();
    await this.#askPolicy(connection);
  }

  /** Reached over another connection while the first one works. */
  move(connection: SshConnection): void {
    this.#connection = connection;
    void this.#askPolicy(connection);
    if (this.#forbidden === undefined) return;
    this.#forbidden = undefined;
    this.#changed();
  }

  /** There is no connection any more. */
  lost(): void {
    this.#connection = undefined;
    this.#watch.stop();
  }

  /** A channel to it. What comes of that is noted after `opened` has been told. */
  open(connection: SshConnection, origin: Origin, opened: Opened): void {
    this.#dial(connection, this.#target, origin, (...[error, channel]) => {
      if (error === undefined) {
        this.#watch.reached();
        return opened(undefined, channel);
      }
      opened(error, undefined);
      if (openFailure(error) === "connect-failed") this.#watch.missed();
      else this.#judge(error);
    });
  }

  /** A connection to it has ended: what closes its connections may be gone. */
  suspect(hungUp: boolean): void {
    this.#watch.suspect(hungUp);
  }

  /** A connection that is on its way out answers with an error like any other. */
  #dial({ client }: SshConnection, target: ForwardTarget, [address, port]: Origin, opened: Opened): void {
    const answered = (error: Error | undefined, channel: ClientChannel) =>
      error === undefined ? opened(undefined, channel) : opened(error, undefined);
    try {
      if (target.type === "unix") client.openssh_forwardOutStreamLocal(target.path, answered);
      else client.forwardOut(address, port, target.host, target.port, answered);
    } catch (error) {
      opened(error instanceof Error ? error : new Error("the SSH connection is lost"), undefined);
    }
  }

  /** Asks the server's own system, if it has a shell for us by now. Looks again when it has. */
  async #glance(): Promise<boolean | undefined> {
    const shell = this.#connection?.shell;
    if (shell?.isReady === true) return isListeningThere(shell, this.#target);
    if (shell !== undefined && shell !== this.#awaited) {
      this.#awaited = shell;
      void shell.ready.then(() => this.#watch.suspect(false));
    }
    return undefined;
  }

  async #knock(): Promise<boolean> {
    if (this.#connection === undefined) return false;
    const error = await this.#try(this.#connection, this.#target);
    if (error === undefined) return true;
    this.#judge(error);
    // What the server may not or cannot try says nothing about the target.
    return openFailure(error) !== "connect-failed" && this.isThere;
  }

  /** Finds out whether the server's policy forbids a target that seems to be there. */
  async #askPolicy(connection: SshConnection): Promise<void> {
    const isInDoubt = this.isThere && this.#forbidden === undefined && (await this.#forbidsOthers(connection));
    if (isInDoubt && this.#connection === connection) await this.#knock();
  }

  /** Whether the server's policy forbids to dial where nothing can listen. Only where it does, the target itself has to be dialled to tell. */
  async #forbidsOthers(connection: SshConnection): Promise<boolean> {
    const target = this.#target;
    const nothing = target.type === "unix" ? { ...target, path: `${target.path}/nothing` } : { ...target, port: 0 };
    const error = await this.#try(connection, nothing);
    return error !== undefined && openFailure(error) === "prohibited";
  }

  /** Why a channel cannot be opened; undefined when it can, and was closed again. */
  #try(connection: SshConnection, target: ForwardTarget): Promise<Error | undefined> {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.#dial(connection, target, ownOrigin, (error, channel) => {
      channel?.close();
      resolve(error);
    });
    return promise;
  }

  #judge(error: Error): void {
    if (openFailure(error) !== "prohibited") return;
    this.#forbidden = forbids(formatTarget(this.#target), error);
    this.#changed();
  }

  async #inTime(ready: Promise<unknown>): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#runtime.after(shellPatienceMs, resolve);
    await Promise.race([ready, late]);
    cancel();
  }
}

function forbids(target: string, cause: Error): OpenClawError {
  return new OpenClawError("ssh-forward", `the server forbids connecting to ${target}: ${cause.message}`, {
    hint: "see AllowTcpForwarding and PermitOpen in its sshd_config, permitopen in authorized_keys",
    details: { direction: "local", target },
    cause,
  });
}
