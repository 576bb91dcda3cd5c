/** Local forwards (`-L`): a port here whose connections are passed on to targets the server can reach (RFC 4254 § 7.2). */
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { ClientChannel } from "../ssh/ssh2.ts";
import { OpenClawError, isFailure, systemCode } from "../errors.ts";
import { reset } from "../ssh/bridge.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { bracketed, formatTarget, reachableAt } from "../ssh/destination.ts";
import type { ForwardTarget } from "../ssh/destination.ts";
import type { ServerShell } from "../ssh/server-shell.ts";
import type { Forward } from "./forward.ts";
import { isListeningThere } from "./listening.ts";
import type { ListeningEnd, Surroundings } from "./listening-end.ts";
import { openFailure } from "./probe.ts";
import type { ForwardCheck } from "./report.ts";
import { TargetWatch, faraway } from "./target-watch.ts";

const refusedAgainMs = 1_000;
const checkPatienceMs = 5_000;
/** Where connections come from that nobody dialled. */
const ownOrigin = ["127.0.0.1", 0] as const;
/** How long a server's shell may take to start before the target is dialled instead of looked for. */
const shellPatienceMs = 500;

/**
 * Keeps its port from the first SSH connection to the last, so that nobody else can take it; while there is none, who dials it is reset at
 * once. Only while the target is gone it lets go, so that who dials is refused.
 */
export class LocalForward implements ListeningEnd {
  readonly forward: Forward;
  readonly #around: Surroundings;
  readonly #sockets = new Set<Socket>();
  readonly #target: TargetWatch;
  /** The first look at the target since a connection is there. */
  #look: Promise<void> | undefined;
  /** The shell whose first answer is waited for. */
  #awaited: ServerShell | undefined;
  /** Says that the server may not pass on to the target, which holds for as long as the connection. */
  #forbidden: OpenClawError | undefined;
  /** Listening and letting go happen one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #server: Server | undefined;
  #connection: SshConnection | undefined;
  /** Connections that are made here to see whether they come through, by their own port. */
  readonly #checks = new Map<number, (problem: string | undefined) => void>();

  constructor(forward: Forward, around: Surroundings) {
    this.forward = forward;
    this.#around = around;
    const reach = { glance: () => this.#glance(), knock: () => this.#knock(), pace: faraway };
    this.#target = new TargetWatch(reach, around.runtime, () => this.#follow());
  }

  /**
   * Listens unless it does, or the target was gone before and nobody would answer; sets the forward's port to the real one. Throws
   * `port-in-use` or `ssh-forward`.
   */
  async listen(connection: SshConnection): Promise<void> {
    const { isThere } = this.#target;
    if (isThere) await this.#inTurn(() => this.#listen());
    this.#connection = connection;
    this.#forbidden = undefined;
    if (isThere) this.forward.is("listening");
    else this.forward.isWithoutTarget();
    this.#look = this.#watch(connection, this.#look === undefined);
  }

  /** Throws `ssh-forward` when it turned out that the server's policy forbids the target. */
  async looked(): Promise<void> {
    await this.#look;
    await this.#turn;
    if (this.#forbidden !== undefined) throw this.#forbidden;
  }

  lost(): void {
    this.#connection = undefined;
    this.#target.stop();
    this.forward.is("waiting");
  }

  async move(connection: SshConnection): Promise<void> {
    this.#connection = connection;
    if (this.#forbidden === undefined) return;
    this.#forbidden = undefined;
    this.#follow();
  }

  async check(): Promise<ForwardCheck> {
    const row = this.forward.address();
    const { state, problem } = this.forward.row();
    if (state !== "listening") return { ...row, ok: false, problem: problem ?? state };
    const startedAtMs = performance.now();
    const failure = await this.#dialOneself();
    const latencyMs = Math.round((performance.now() - startedAtMs) * 1000) / 1000;
    return failure === undefined ? { ...row, ok: true, latencyMs } : { ...row, ok: false, problem: failure };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#target.stop();
    const closed = this.#inTurn(() => this.#letGo());
    for (const socket of this.#sockets) reset(socket);
    await closed;
  }

  async #listen(): Promise<void> {
    if (this.#server !== undefined) return;
    const { bind } = this.forward.spec;
    const { port } = this.forward;
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).once("listening", resolve);
    server.listen({ port, ...(bind !== "*" && { host: bind }) });
    try {
      await promise;
    } catch (error) {
      throw cannotListen(`${bracketed(bind)}:${port}`, error);
    }
    this.#server = server;
    this.forward.port = portOf(server.address());
  }

  /** Stops listening; who is connected stays. Resolves when the last of them is gone. */
  async #letGo(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    const { limits, runtime } = this.#around;
    this.#sockets.add(socket);
    socket.on("error", () => {}).once("close", () => this.#sockets.delete(socket));
    const connection = this.#connection;
    if (connection === undefined) return reset(socket);
    const admission = limits?.admit();
    if (admission?.ok === false) {
      this.forward.refuse();
      return reset(socket);
    }
    const settled = connection.bridges.hold();
    const release = () => admission?.release();
    const closed = (byTarget: boolean) => {
      release();
      this.#target.suspect(byTarget); // what closes its connections may be gone
    };
    const { remoteAddress = "127.0.0.1", remotePort = 0 } = socket;
    const { target } = this.forward.spec;
    this.#open(connection, target, [remoteAddress, remotePort], (error, channel) => {
      const checked = this.#checks.get(remotePort);
      checked?.(error?.message);
      if (error !== undefined) {
        release();
        this.#refuse(socket, error);
      } else if (socket.destroyed || checked !== undefined) {
        release();
        channel.close();
        socket.destroy();
      } else {
        const from = `${bracketed(remoteAddress)}:${remotePort}`;
        this.#target.reached();
        connection.bridges.join(socket, channel, this.forward.count(from, runtime.now(), closed));
      }
      settled();
    });
  }

  #refuse(socket: Socket, error: Error): void {
    const target = formatTarget(this.forward.spec.target);
    this.#around.runtime.log("warn", "the server cannot reach a forward's target", { target, reason: error.message });
    this.forward.refuse();
    reset(socket);
    if (openFailure(error) === "connect-failed") this.#target.missed();
    else if (this.#isForbiddenBy(error)) this.#follow();
  }

  /** A channel to a target. A connection that is on its way out answers with an error like any other. */
  #open(
    { client }: SshConnection,
    target: ForwardTarget,
    [fromAddress, fromPort]: readonly [string, number],
    opened: (...result: [error: Error, channel: undefined] | [error: undefined, channel: ClientChannel]) => void,
  ): void {
    const answered = (error: Error | undefined, channel: ClientChannel) =>
      error === undefined ? opened(undefined, channel) : opened(error, undefined);
    try {
      if (target.type === "unix") client.openssh_forwardOutStreamLocal(target.path, answered);
      else client.forwardOut(fromAddress, fromPort, target.host, target.port, answered);
    } catch (error) {
      opened(error instanceof Error ? error : new Error("the SSH connection is lost"), undefined);
    }
  }

  /** Looks at the target from now on. At first the server's shell is waited for, so that the target need not be dialled. */
  async #watch(connection: SshConnection, isFirst: boolean): Promise<void> {
    const { ready } = connection.shell;
    if (isFirst) await this.#inTime(ready);
    if (this.#connection !== connection) return;
    await this.#target.start();
    if (isFirst && this.#target.isThere && (await this.#mayBeForbidden(connection))) await this.#knock();
  }

  /** Whether the server's policy lets us dial anything but this target, asked of where nothing can listen. Where it does not, only the target tells. */
  #mayBeForbidden(connection: SshConnection): Promise<boolean> {
    const { target } = this.forward.spec;
    const nothing: ForwardTarget =
      target.type === "unix" ? { ...target, path: `${target.path}/nothing` } : { ...target, port: 0 };
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#open(connection, nothing, ownOrigin, (error, channel) => {
      channel?.close();
      resolve(error !== undefined && openFailure(error) === "prohibited");
    });
    return promise;
  }

  /** Whether this is the server's policy, which is noted. */
  #isForbiddenBy(error: Error): boolean {
    const isForbidden = openFailure(error) === "prohibited";
    if (isForbidden) this.#forbidden = forbids(formatTarget(this.forward.spec.target), error);
    return isForbidden;
  }

  async #inTime(ready: Promise<unknown>): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#around.runtime.after(shellPatienceMs, resolve);
    await Promise.race([ready, late]);
    cancel();
  }

  /** Asks the server's own system, if it has a shell for us by now. Looks again when it has. */
  async #glance(): Promise<boolean | undefined> {
    const shell = this.#connection?.shell;
    if (shell?.isReady === true) return isListeningThere(shell, this.forward.spec.target);
    if (shell !== undefined && shell !== this.#awaited) {
      this.#awaited = shell;
      void shell.ready.then(() => this.#target.suspect(false));
    }
    return undefined;
  }

  #knock(): Promise<boolean> {
    const connection = this.#connection;
    if (connection === undefined) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#open(connection, this.forward.spec.target, ownOrigin, (error, channel) => {
      channel?.close();
      if (error === undefined) return resolve(true);
      // What the server may not or cannot try says nothing about the target.
      if (this.#isForbiddenBy(error)) this.#follow();
      resolve(openFailure(error) === "connect-failed" ? false : this.#target.isThere);
    });
    return promise;
  }

  /** Dials the own listening port; resolves with why the target was not reached, or undefined when it was. */
  async #dialOneself(): Promise<string | undefined> {
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const { bind } = this.forward.spec;
    const cancel = this.#around.runtime.after(checkPatienceMs, () =>
      resolve(`nothing came back in ${checkPatienceMs} ms`),
    );
    const socket = connect({ port: this.forward.port, host: reachableAt(bind) });
    socket.once("error", (error) => resolve(error.message));
    socket.once("connect", () => this.#checks.set(socket.localPort ?? 0, resolve));
    try {
      return await promise;
    } finally {
      cancel();
      this.#checks.delete(socket.localPort ?? 0);
      socket.destroy();
    }
  }

  #follow(): void {
    void this.#inTurn(() => this.#listenForTarget());
  }

  /** Listens exactly while there is somebody to pass on to. */
  async #listenForTarget(): Promise<void> {
    const { forward } = this;
    if (this.#connection === undefined) return;
    if (this.#forbidden !== undefined || !this.#target.isThere) {
      void this.#letGo();
      if (this.#forbidden === undefined) forward.isWithoutTarget();
      else forward.is("refused", this.#forbidden.message);
      return this.#around.changed(forward);
    }
    if (forward.state === "listening") return;
    try {
      await this.#listen();
      if (this.#connection === undefined) return; // lost meanwhile: the port stays ours
      forward.is("listening");
    } catch (error) {
      if (this.#connection === undefined) return;
      forward.is("refused", isFailure(error, "port-in-use", "ssh-forward") ? error.message : "cannot listen");
      this.#around.runtime.after(refusedAgainMs, () => this.#follow());
    }
    this.#around.changed(forward);
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(action);
    this.#turn = result.catch(() => {});
    return result;
  }
}

function cannotListen(address: string, cause: unknown): OpenClawError {
  const code = systemCode(cause);
  if (code === "EADDRINUSE") {
    return new OpenClawError("port-in-use", `${address} is already in use on this machine`, {
      hint: "choose another port, or 0 to have one chosen",
      cause,
    });
  }
  return new OpenClawError("ssh-forward", `cannot listen on ${address}: ${code ?? "unknown error"}`, { cause });
}

function forbids(target: string, cause: Error): OpenClawError {
  return new OpenClawError("ssh-forward", `the server forbids connecting to ${target}: ${cause.message}`, {
    hint: "see AllowTcpForwarding and PermitOpen in its sshd_config, permitopen in authorized_keys",
    details: { direction: "local", target },
    cause,
  });
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === "object" && address !== null ? address.port : 0;
}
