/** The other end of a control socket: what `tunnel list`, `inspect` and their like ask a running tunnel. */
import { connect } from "node:net";
import type { Socket } from "node:net";
import { OpenClawError, systemCode } from "../errors.ts";
import { Lines, fromControlError, maxReplyBytes, readReply } from "./control-message.ts";
import type { ControlReply } from "./control-message.ts";
import type { DrillRow, Fault } from "./drill.ts";
import type { ForwardCheck, TunnelReport, TunnelSummary } from "./report.ts";

/** Where a tunnel answers, and how it is known to be that tunnel. */
export interface ControlAddress {
  readonly socket: string;
  readonly nonce: string;
}

/** Every method with what it takes, sends meanwhile, and answers in the end. */
export interface ControlMethodTable {
  readonly summary: ControlMethod<NoParams, never, TunnelSummary>;
  readonly report: ControlMethod<NoParams, never, TunnelReport>;
  readonly follow: ControlMethod<{ readonly everyMs?: number }, TunnelReport, object>;
  readonly check: ControlMethod<NoParams, never, { readonly forwards: readonly ForwardCheck[] }>;
  readonly reopen: ControlMethod<{ readonly reason: string }, never, object>;
  readonly close: ControlMethod<NoParams, never, object>;
  /** Of the tunnel of a link only: what its nodes do. */
  readonly link: ControlMethod<NoParams, never, LinkState>;
  readonly drill: ControlMethod<
    { readonly faults: readonly Fault[] },
    DrillRow,
    { readonly drills: readonly DrillRow[] }
  >;
}

/** The state of the node of each direction that a link has: the last thing it said. */
export interface LinkState {
  readonly toRemote?: string;
  readonly toLocal?: string;
}

interface ControlMethod<Params, Row, Result> {
  readonly params: Params;
  readonly row: Row;
  readonly result: Result;
}
type NoParams = Readonly<Record<never, never>>;

/**
 * Asks one thing of a tunnel. Throws what the owner failed with; `not-found` when no such tunnel answers there (any more); the
 * signal's reason.
 */
export async function askTunnel<M extends keyof ControlMethodTable>(
  address: ControlAddress,
  method: M,
  params: ControlMethodTable[M]["params"],
  signal: AbortSignal,
  onRow?: (row: ControlMethodTable[M]["row"]) => void,
): Promise<ControlMethodTable[M]["result"]> {
  using connection = await ControlConnection.open(address, signal);
  return await connection.ask(method, params, onRow);
}

/** Asks a tunnel to close; resolves once its process has taken down what it had put up. */
export async function closeTunnel(address: ControlAddress, signal: AbortSignal): Promise<void> {
  using connection = await ControlConnection.open(address, signal);
  try {
    await connection.ask("close", {});
  } catch (error) {
    // It may end faster than it answers.
    if (!connection.hasEnded) throw error;
  }
  await connection.ended;
}

interface Waiting {
  readonly row: (row: object) => void;
  readonly resolve: (result: object) => void;
  readonly reject: (reason: unknown) => void;
}

class ControlConnection implements Disposable {
  /** Resolves when the owner has hung up; rejects with the signal's reason. */
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  readonly #nonce: string;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #hasEnded = false;

  private constructor(socket: Socket, nonce: string, signal: AbortSignal) {
    this.#socket = socket;
    this.#nonce = nonce;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ended = promise;
    promise.catch(() => {}); // most never wait for the end
    const lines = new Lines(maxReplyBytes);
    const abort = () => {
      reject(signal.reason);
      this.#fail(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    socket
      .on("error", () => {})
      .on("data", (chunk: Buffer) => {
        try {
          for (const line of lines.push(chunk)) this.#take(readReply(line));
        } catch (error) {
          this.#fail(error);
        }
      })
      .once("close", () => {
        this.#hasEnded = true;
        signal.removeEventListener("abort", abort);
        this.#fail(gone());
        resolve();
      });
  }

  static async open({ socket: path, nonce }: ControlAddress, signal: AbortSignal): Promise<ControlConnection> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = connect({ path });
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    socket.once("connect", resolve).once("error", (error) => reject(cannotReach(path, error)));
    try {
      await promise;
      return new ControlConnection(socket, nonce, signal);
    } catch (error) {
      socket.on("error", () => {}).destroy();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  ask<M extends keyof ControlMethodTable>(
    method: M,
    params: ControlMethodTable[M]["params"],
    onRow: (row: ControlMethodTable[M]["row"]) => void = () => {},
  ): Promise<ControlMethodTable[M]["result"]> {
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<object>();
    this.#waiting.set(id, { row: (row) => onRow(trusted<M>(row).row), resolve, reject });
    this.#socket.write(`${JSON.stringify({ id, nonce: this.#nonce, method, params })}\n`);
    return promise.then((result) => trusted<M>(result).result);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(reply: ControlReply | undefined): void {
    // Another program, or another tunnel: what it says is not about ours.
    if (reply === undefined || reply.nonce !== this.#nonce) return this.#fail(gone());
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    if ("row" in reply) return waiting.row(reply.row);
    this.#waiting.delete(reply.id);
    if (reply.ok) waiting.resolve(reply.result);
    else waiting.reject(fromControlError(reply.error));
  }

  #fail(reason: unknown): void {
    for (const waiting of this.#waiting.values()) waiting.reject(reason);
    this.#waiting.clear();
    this.#socket.destroy();
  }
}

/** The one place that trusts an answer: it comes from a process of this user that showed it is the tunnel of the record. */
function trusted<M extends keyof ControlMethodTable>(value: object): Pick<ControlMethodTable[M], "row" | "result"> {
  return { row: value as ControlMethodTable[M]["row"], result: value };
}

function gone(): OpenClawError {
  return new OpenClawError("not-found", "the tunnel's process ended, or another one answers in its place");
}

function cannotReach(path: string, cause: Error): OpenClawError {
  return new OpenClawError("not-found", `no tunnel answers at ${path} (${systemCode(cause) ?? cause.message})`, {
    cause,
  });
}
