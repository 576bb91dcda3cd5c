/** Local forwards (`-L`): a port here whose connections are passed on to targets the server can reach (RFC 4254 § 7.2). */
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { OpenClawError, isFailure, systemCode } from "../errors.ts";
import { reset } from "../ssh/bridge.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { bracketed, formatTarget, reachableAt } from "../ssh/destination.ts";
import { FarTarget } from "./far-target.ts";
import type { Forward } from "./forward.ts";
import type { ListeningEnd, Surroundings } from "./listening-end.ts";
import type { ForwardCheck } from "./report.ts";

const refusedAgainMs = 1_000;
const checkPatienceMs = 5_000;

/**
 * Keeps its port from the first SSH connection to the last, so that nobody else can take it; while there is none, who dials it is reset at
 * once. Only while the target is gone it lets go, so that who dials is refused.
 */
export class LocalForward implements ListeningEnd {
  readonly forward: Forward;
  readonly #around: Surroundings;
  readonly #sockets = new Set<Socket>();
  readonly #target: FarTarget;
  /** The first look at the target since a connection is there. */
  #look = Promise.resolve();
  /** Listening and letting go happen one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #server: Server | undefined;
  /** Connections that are made here to see whether they come through, by their own port. */
  readonly #checks = new Map<number, (problem: string | undefined) => void>();

  constructor(forward: Forward, around: Surroundings) {
    this.forward = forward;
    this.#around = around;
    this.#target = new FarTarget(forward.spec.target, around.runtime, () => this.#follow());
  }

  /**
   * Listens unless it does, or the target was gone before and nobody would answer; sets the forward's port to the real one. Throws
   * `port-in-use` or `ssh-forward`.
   */
  async listen(connection: SshConnection): Promise<void> {
    const { isThere } = this.#target;
    if (isThere) await this.#inTurn(() => this.#listen());
    if (isThere) this.forward.is("listening");
    else this.forward.isWithoutTarget();
    this.#look = this.#target.reachOver(connection);
  }

  /** Throws `ssh-forward` when it turned out that the server's policy forbids the target. */
  async looked(): Promise<void> {
    await this.#look;
    await this.#turn;
    const { forbidden } = this.#target;
    if (forbidden !== undefined) throw forbidden;
  }

  lost(): void {
    this.#target.lost();
    this.forward.is("waiting");
  }

  async move(connection: SshConnection): Promise<void> {
    this.#target.move(connection);
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
    this.#target.lost();
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
    const { connection } = this.#target;
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
      this.#target.suspect(byTarget);
    };
    const { remoteAddress = "127.0.0.1", remotePort = 0 } = socket;
    this.#target.open(connection, [remoteAddress, remotePort], (error, channel) => {
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
    const target = this.#target;
    if (target.connection === undefined) return;
    if (target.forbidden !== undefined || !target.isThere) {
      void this.#letGo();
      if (target.forbidden === undefined) forward.isWithoutTarget();
      else forward.is("refused", target.forbidden.message);
      return this.#around.changed(forward);
    }
    if (forward.state === "listening") return;
    try {
      await this.#listen();
      if (target.connection === undefined) return; // lost meanwhile: the port stays ours
      forward.is("listening");
    } catch (error) {
      if (target.connection === undefined) return;
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

function portOf(address: AddressInfo | string | null): number {
  return typeof address === "object" && address !== null ? address.port : 0;
}
