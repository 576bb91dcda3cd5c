/** Remote forwards (`-R`): the server listens and passes its connections on to targets here (RFC 4254 § 7.1). */
import type { AcceptConnection, ClientChannel, TcpConnectionDetails } from "../ssh/ssh2.ts";
import { OpenClawError, isFailure } from "../errors.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { bracketed, formatTarget } from "../ssh/destination.ts";
import { type Forward, dialTarget } from "./forward.ts";
import { isListeningHere } from "./listening.ts";
import type { ListeningEnd, Surroundings } from "./listening-end.ts";
import type { Probes } from "./probe.ts";
import type { ForwardCheck } from "./report.ts";
import { TargetWatch, nearby } from "./target-watch.ts";

// A target is on this machine or near it: one that does not answer in this time is as good as dead.
const targetTimeoutMs = 10_000;
/** How long a connection may keep quiet while it could be a question of ours. */
const probePatienceMs = 250;
const checkPatienceMs = 5_000;
const refusedAgainMs = 1_000;

export class RemoteForward implements ListeningEnd {
  readonly forward: Forward;
  readonly #around: Surroundings;
  readonly #probes: Probes;
  readonly #target: TargetWatch;
  /** Over which the server listens, or would if the target were there. */
  #connection: SshConnection | undefined;
  /** The first look at the target since a connection is there. */
  #look = Promise.resolve();
  /** The server did not let go of the port when it was asked to, as dropbear never does. */
  #isKept = false;
  /** Asking and taking back happen one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(forward: Forward, around: Surroundings, probes: Probes) {
    this.forward = forward;
    this.#around = around;
    this.#probes = probes;
    const { target } = forward.spec;
    const reach = { glance: () => isListeningHere(target), knock: () => this.#knock(), pace: nearby };
    this.#target = new TargetWatch(reach, around.runtime, (isThere) => this.#follow(isThere));
  }

  /**
   * Asks the server to listen, unless the target was gone before and nobody would answer. Throws `ssh-forward` when the server will not,
   * `ssh` when the connection is lost.
   */
  async listen(connection: SshConnection): Promise<void> {
    const { isThere } = this.#target;
    if (isThere) await this.#inTurn(() => requestRemoteForward(connection, this.forward));
    this.#connection = connection;
    this.#isKept = false;
    if (isThere) this.forward.is("listening");
    else this.forward.isWithoutTarget();
    this.#look = this.#target.start();
  }

  async looked(): Promise<void> {
    await this.#look;
    await this.#turn;
    // The process that sshd makes for a command has the withdrawn port too, until it runs the command.
    if (this.forward.state === "target-down") await this.#connection?.asked;
  }

  lost(): void {
    this.#connection = undefined;
    this.#target.stop();
    this.forward.is("waiting");
  }

  /**
   * Lets the server listen over another connection instead. Between the two requests, one round trip, nobody listens; what was taken in
   * before stays where it is. When the new one is refused the old one is asked again, and the refusal thrown.
   */
  async move(connection: SshConnection): Promise<void> {
    await this.#inTurn(async () => {
      const before = this.#connection;
      if (this.forward.state === "listening" && before !== undefined) {
        await cancelRemoteForward(before, this.forward);
        try {
          await requestRemoteForward(connection, this.forward);
        } catch (error) {
          await requestRemoteForward(before, this.forward);
          throw error;
        }
      }
      this.#connection = connection;
    });
  }

  /** Whether the listening port leads to us, and whether the target can be dialled from here. */
  async check(): Promise<ForwardCheck> {
    const { forward } = this;
    const row = forward.address();
    const { state, problem } = forward.row();
    const connection = this.#connection;
    if (connection === undefined || state !== "listening") return { ...row, ok: false, problem: problem ?? state };
    const startedAtMs = performance.now();
    const holder = await this.#probes.ask(connection, forward, checkPatienceMs);
    const leadsHere = holder === "ours" || holder === "unknown";
    if (!leadsHere)
      return { ...row, ok: false, problem: "a connection made at the server's port does not arrive here" };
    if (!(await this.#knock())) return { ...row, ok: false, problem: `${row.target} does not answer` };
    const latencyMs = Math.round((performance.now() - startedAtMs) * 1000) / 1000;
    const note = "the server does not let this key dial its own port, so only the target was tried";
    return { ...row, ok: true, latencyMs, ...(holder === "unknown" ? { note } : {}) };
  }

  isFor({ destIP, destPort }: TcpConnectionDetails): boolean {
    return addressFor(this.forward.spec.bind) === destIP && this.forward.port === destPort;
  }

  /** Serves a connection that the server passes on. */
  take(
    connection: SshConnection,
    details: TcpConnectionDetails,
    accept: AcceptConnection<ClientChannel>,
    reject: () => void,
  ): void {
    if (!this.#probes.isAny) return this.#admit(connection, details, accept, reject);
    // One that may be a question of ours is heard first.
    const channel = accept();
    const passOn = (heard?: Buffer) => {
      cancel();
      channel.off("data", judge);
      channel.pause();
      if (heard !== undefined) channel.unshift(heard);
      this.#admit(
        connection,
        details,
        () => channel,
        () => channel.close(),
      );
    };
    const judge = (chunk: Buffer) => {
      if (!this.#probes.recognise(chunk)) return passOn(chunk);
      cancel();
      channel.close();
    };
    const cancel = this.#around.runtime.after(probePatienceMs, () => passOn());
    channel.on("error", () => {}).once("data", judge);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#target.stop();
  }

  #admit(
    connection: SshConnection,
    { srcIP, srcPort }: TcpConnectionDetails,
    accept: () => ClientChannel,
    reject: () => void,
  ): void {
    const { forward } = this;
    const { limits, runtime } = this.#around;
    const admission = limits?.admit();
    if (admission?.ok === false) {
      forward.refuse();
      return reject();
    }
    const settled = connection.bridges.hold();
    const release = () => admission?.release();
    const target = dialTarget(forward.spec.target);
    const giveUp = runtime.after(targetTimeoutMs, () => target.destroy(new Error("timed out")));
    const refuse = ({ message: reason }: Error) => {
      giveUp();
      settled();
      release();
      forward.refuse();
      runtime.log("warn", "a forward's target does not answer", { target: formatTarget(forward.spec.target), reason });
      // The server closes the connection it holds at once: whoever dialled sees a refusal, not a silence.
      if (connection.isOpen) reject();
      this.#target.missed();
    };
    target.once("error", refuse);
    target.once("connect", () => {
      giveUp();
      this.#target.reached();
      target.off("error", refuse);
      const from = `${bracketed(srcIP)}:${srcPort}`;
      const closed = (byTarget: boolean) => {
        release();
        this.#target.suspect(byTarget); // what closes its connections may be gone
      };
      if (connection.isOpen) connection.bridges.join(target, accept(), forward.count(from, runtime.now(), closed));
      else target.destroy().once("close", release);
      settled();
    });
  }

  /** Listens exactly while there is somebody to pass on to. */
  #follow(isThere: boolean): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const follow = isThere ? () => this.#askAgain(connection) : () => this.#withdraw(connection);
    this.#inTurn(follow).catch(() => {}); // the connection is lost, which its owner is told
  }

  async #withdraw(connection: SshConnection): Promise<void> {
    const { forward } = this;
    if (this.#connection !== connection || forward.state !== "listening") return;
    this.#isKept = !(await cancelRemoteForward(connection, forward));
    if (this.#connection !== connection) return;
    forward.isWithoutTarget();
    this.#around.changed(forward);
  }

  async #askAgain(connection: SshConnection): Promise<void> {
    const { forward } = this;
    if (this.#connection !== connection || forward.state === "listening") return;
    try {
      await requestRemoteForward(connection, forward);
      forward.is("listening");
    } catch (error) {
      if (!isFailure(error, "ssh-forward")) throw error;
      if (this.#isKept) forward.is("listening");
      else {
        forward.is("refused", error.message);
        this.#around.runtime.after(refusedAgainMs, () => this.#follow(this.#target.isThere));
      }
    }
    this.#around.changed(forward);
  }

  #knock(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const socket = dialTarget(this.forward.spec.target);
    const cancel = this.#around.runtime.after(targetTimeoutMs, () => resolve(false));
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    return promise.finally(() => {
      cancel();
      socket.destroy();
    });
  }

  #inTurn<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(action);
    this.#turn = result.catch(() => {});
    return result;
  }
}

/** Serves the connections the server passes on. To be called before any forward is asked for. */
export function serveRemoteForwards(connection: SshConnection, remotes: readonly RemoteForward[]): void {
  connection.client.on("tcp connection", (details, accept, reject) => {
    const remote = remotes.find((candidate) => candidate.isFor(details));
    if (remote === undefined) reject();
    else remote.take(connection, details, accept, reject);
  });
}

/**
 * Asks the server to listen, and sets the forward's port to the one that listens. Throws `ssh-forward` when the server
 * will not (the protocol does not say why), `ssh` when the connection is lost.
 */
async function requestRemoteForward(connection: SshConnection, forward: Forward): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const answered = (error: Error | undefined, port: number) => {
    if (error !== undefined) return reject(connection.isOpen ? refused(forward, error) : lost(error));
    // At once, not after the promise: the first connection may be right behind the answer.
    forward.port = port;
    resolve();
  };
  try {
    connection.client.forwardIn(addressFor(forward.spec.bind), forward.port, answered);
  } catch (error) {
    throw lost(error);
  }
  return promise;
}

/** Asks the server to listen no longer. Resolves false when it will not; a connection that is lost listens no longer. */
async function cancelRemoteForward({ client }: SshConnection, forward: Forward): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const gone = () => resolve(true);
  try {
    client.once("close", gone);
    client.unforwardIn(addressFor(forward.spec.bind), forward.port, (error) => resolve(error === undefined));
  } catch {
    return true;
  }
  return promise.finally(() => client.off("close", gone));
}

/** An empty address asks the server for every address of every family. */
function addressFor(bind: string): string {
  return bind === "*" ? "" : bind;
}

function refused(forward: Forward, cause: Error): OpenClawError {
  const { bind } = forward.spec;
  const address = `${bracketed(bind)}:${forward.port}`;
  const taken = forward.port === 0 ? "" : `port ${forward.port} may be taken there (ss -ltn shows it), or `;
  return new OpenClawError("ssh-forward", `the server refuses to listen on ${address}`, {
    hint: `${taken}sshd forbids it: see AllowTcpForwarding and PermitListen in sshd_config, permitlisten in authorized_keys`,
    details: { direction: "remote", bind, port: forward.port },
    cause,
  });
}

function lost(cause: unknown): OpenClawError {
  return new OpenClawError("ssh", "the SSH connection was lost while a forward was set up", { cause });
}
