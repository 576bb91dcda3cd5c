/** Local forwards (`-L`): a port here whose connections are passed on to targets the server can reach (RFC 4254 § 7.2). */
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { ClientChannel } from "ssh2";
import { OpenClawError, systemCode } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { reset } from "./bridge.ts";
import type { SshConnection } from "./connect.ts";
import { bracketed, formatTarget } from "./destination.ts";
import type { Forward } from "./forward.ts";

/** Keeps its port open from the first connection to the last; while there is none, who dials it is reset at once. */
export class LocalListener implements AsyncDisposable {
  readonly #forward: Forward;
  readonly #runtime: Runtime;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #connection: SshConnection | undefined;

  constructor(forward: Forward, runtime: Runtime) {
    this.#forward = forward;
    this.#runtime = runtime;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Listens, and sets the forward's port to the real one. Throws `port-in-use` or `ssh-forward`. */
  async listen(): Promise<void> {
    const { bind, port } = this.#forward.spec;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject).once("listening", resolve);
    this.#server.listen({ port, ...(bind !== "*" && { host: bind }) });
    try {
      await promise;
    } catch (error) {
      throw cannotListen(`${bracketed(bind)}:${port}`, error);
    }
    this.#forward.port = portOf(this.#server.address());
  }

  /** Which connection to pass on over from now on; undefined while there is none. */
  use(connection: SshConnection | undefined): void {
    this.#connection = connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) reset(socket);
    await closed;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {}).once("close", () => this.#sockets.delete(socket));
    const connection = this.#connection;
    if (connection === undefined) return reset(socket);
    try {
      this.#openChannel(connection, socket, (error, channel) => {
        if (error !== undefined) this.#refuse(socket, error);
        else if (socket.destroyed) channel.close();
        else connection.bridges.join(socket, channel, this.#forward.count());
      });
    } catch {
      // The connection is on its way out.
      reset(socket);
    }
  }

  #refuse(socket: Socket, { message: reason }: Error): void {
    const target = formatTarget(this.#forward.spec.target);
    this.#runtime.log("warn", "the server cannot reach a forward's target", { target, reason });
    reset(socket);
  }

  #openChannel(
    { client }: SshConnection,
    { remoteAddress = "127.0.0.1", remotePort = 0 }: Socket,
    opened: (error: Error | undefined, channel: ClientChannel) => void,
  ): void {
    const { target } = this.#forward.spec;
    if (target.type === "unix") client.openssh_forwardOutStreamLocal(target.path, opened);
    else client.forwardOut(remoteAddress, remotePort, target.host, target.port, opened);
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
