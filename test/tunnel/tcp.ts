/** Plain TCP ends for tunnels to join: targets that answer, and clients that ask. */
import { createHash } from "node:crypto";
import { connect, createServer } from "node:net";
import type { ListenOptions, Socket } from "node:net";

export interface Target extends AsyncDisposable {
  readonly port: number;
  /** Connections accepted so far. */
  accepted(): number;
}

const freeLoopbackPort = { port: 0, host: "127.0.0.1" };

/** Listens on a free loopback port (or a unix socket) and gives each connection to `serve`. */
export async function startTarget(
  serve: (socket: Socket) => unknown,
  at: ListenOptions = freeLoopbackPort,
): Promise<Target> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    accepted++;
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
    // A connection that breaks is for the side that dialled to report.
    void Promise.resolve(serve(socket)).catch(() => {});
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(at, resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    accepted: () => accepted,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A target that sends everything back, and ends when the other side has. */
export async function startEcho(at?: ListenOptions): Promise<Target> {
  return startTarget((socket) => socket.pipe(socket), at);
}

/** A connection to a loopback port that stays open for writing after the other side has ended. */
export async function dial(port: number, host = "127.0.0.1"): Promise<Socket> {
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
  await new Promise((resolve, reject) => socket.once("error", reject).once("connect", resolve));
  return socket;
}

/** Sends everything, ends its half, and returns all that comes back. Rejects when the connection breaks. */
export async function exchange(port: number, bytes: Uint8Array | string): Promise<Buffer> {
  const socket = await dial(port);
  socket.end(bytes);
  return readAll(socket);
}

/** Everything until the other side ends. Rejects when the connection breaks before that. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await new Promise<void>((resolve, reject) => {
    socket.once("end", resolve).once("error", reject);
    socket.once("close", () => reject(new Error("closed without an end")));
  });
  return Buffer.concat(chunks);
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Asks again, without waiting in between, until the answer is yes: for states that nothing announces. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
}
