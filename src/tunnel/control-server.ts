/** A running tunnel's control socket: whoever may open it may look into the tunnel, close it and renew it. */
import { chmod } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { Lines, maxRequestBytes, readRequest, toControlError } from "./control-message.ts";
import type { ControlReply, ControlRequest } from "./control-message.ts";
import type { ForwardCheck, TunnelReport, TunnelSummary } from "./report.ts";

/** What a control socket needs of the tunnel behind it. */
export interface TunnelOwner {
  summary(): TunnelSummary;
  report(): TunnelReport;
  check(): Promise<readonly ForwardCheck[]>;
  reopen(reason: string): Promise<void>;
  close(): Promise<void>;
}

/** One request that is being served. */
export interface ControlCall {
  readonly params: Readonly<Record<string, unknown>>;
  /** Aborted when who asked is gone, or the socket is closed. */
  readonly signal: AbortSignal;
  /** Sends a row of the answer, or drops it while the reader is behind. */
  readonly row: (row: object) => void;
}

export type ControlMethods = Readonly<Record<string, (call: ControlCall) => Promise<object>>>;

export interface ControlServerOptions {
  /** A unix socket's path, which must not exist, or the name of a Windows pipe. */
  readonly path: string;
  readonly nonce: string;
  readonly methods: ControlMethods;
  readonly runtime: Runtime;
}

/** A reader that is further behind gets fewer rows, and costs no more memory. */
const rowBacklogBytes = 1024 * 1024;
const closeGraceMs = 500;
const fastestFollowMs = 100;
const slowestFollowMs = 60_000;
const defaultFollowMs = 1000;

/**
 * Listens; resolves once the socket is there and private (0600). Its directory must be closed to other users, for a socket is made
 * with the process's umask and closed a moment later.
 */
export async function serveControl(options: ControlServerOptions): Promise<ControlServer> {
  const server = new ControlServer(options);
  await server.listen();
  return server;
}

export class ControlServer implements AsyncDisposable {
  readonly #options: ControlServerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #calls = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  async listen(): Promise<void> {
    const { path } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject).once("listening", resolve).listen({ path });
    await promise;
    if (process.platform !== "win32") await chmod(path, 0o600);
  }

  /** Answers what is being answered, then hangs up; the socket's file is gone at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#closing.abort(new OpenClawError("not-found", "the tunnel was closed"));
    const cancelHangUp = this.#options.runtime.after(closeGraceMs, () => this.#hangUp());
    await Promise.race([Promise.allSettled(this.#calls), closed]);
    for (const socket of this.#sockets) socket.end();
    await closed;
    cancelHangUp();
  }

  #hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: Socket): void {
    const gone = new AbortController();
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    const lines = new Lines(maxRequestBytes);
    this.#sockets.add(socket);
    socket
      .on("error", () => {})
      .once("close", () => {
        this.#sockets.delete(socket);
        gone.abort(new OpenClawError("failed", "the client hung up"));
      })
      .on("data", (chunk: Buffer) => {
        try {
          for (const line of lines.push(chunk)) this.#take(socket, line, signal);
        } catch {
          socket.destroy();
        }
      });
  }

  #take(socket: Socket, line: string, signal: AbortSignal): void {
    const request = readRequest(line);
    // Who does not speak the language gets no second sentence.
    if (request === undefined) return void socket.destroy();
    const call = this.#answer(socket, request, signal);
    this.#calls.add(call);
    void call.finally(() => this.#calls.delete(call));
  }

  async #answer(socket: Socket, request: ControlRequest, signal: AbortSignal): Promise<void> {
    const { nonce } = this.#options;
    const send = (reply: ControlReply) => socket.writable && socket.write(`${JSON.stringify(reply)}\n`);
    const to = { id: request.id, nonce };
    try {
      const row = (one: object) => void (socket.writableLength < rowBacklogBytes && send({ ...to, row: one }));
      const result = await this.#method(request)({ params: request.params, signal, row });
      send({ ...to, ok: true, result });
    } catch (error) {
      // Whose nonce is wrong learns no other one.
      const known = request.nonce === nonce ? nonce : "";
      send({ id: request.id, nonce: known, ok: false, error: toControlError(error) });
    }
  }

  #method({ nonce, method }: ControlRequest): ControlMethods[string] {
    if (nonce !== this.#options.nonce) throw new OpenClawError("not-found", "another tunnel answers here");
    const { methods } = this.#options;
    const found = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (found !== undefined) return found;
    throw new OpenClawError("usage", `the tunnel's process does not know the method ${JSON.stringify(method)}`, {
      hint: "it may be an older version: close the tunnel and open it again",
    });
  }
}

/** What every tunnel answers: `summary`, `report`, `follow`, `check`, `reopen` and `close`. */
export function ownerMethods(owner: TunnelOwner, runtime: Runtime): ControlMethods {
  return {
    summary: async () => owner.summary(),
    report: async () => owner.report(),
    follow: (call) => follow(owner, runtime, call),
    check: async () => ({ forwards: await owner.check() }),
    reopen: async ({ params: { reason } }) => {
      await owner.reopen(typeof reason === "string" ? reason : "asked to");
      return {};
    },
    close: async () => {
      await owner.close();
      return {};
    },
  };
}

/** A report at once and then every `everyMs` milliseconds, until the tunnel or the reader is gone. */
async function follow(owner: TunnelOwner, runtime: Runtime, { params, signal, row }: ControlCall): Promise<object> {
  const wantedMs = typeof params["everyMs"] === "number" ? params["everyMs"] : defaultFollowMs;
  const everyMs = Math.min(slowestFollowMs, Math.max(fastestFollowMs, wantedMs));
  while (!signal.aborted) {
    row(owner.report());
    await runtime.sleep(everyMs, signal).catch(() => {});
  }
  return {};
}
