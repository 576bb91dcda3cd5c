/** The two ends of forwarded connections, both in this process, and streams between them that are compared byte by byte with what was sent. */
import { hash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** One forwarded connection: the end that dialled the port that listens, and the end that the target accepted. */
export interface Pair {
  readonly dialled: Socket;
  readonly reached: Socket;
}

/** Where a tunnel leads to. It says one byte to everybody who gets through. */
export class Target implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Who waits for the other end of the connection of this number. */
  readonly #waiting = new Map<number, (reached: Socket) => void>();
  #dialled = 0;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket: Socket) => this.#greet(socket));
  }

  static async start(): Promise<Target> {
    const server = createServer({ noDelay: true });
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1024 });
    await once(server, "listening");
    return new Target(server);
  }

  /** Opens connections through the tunnel whose listening end is `port`, a few at a time, and finds both ends of each. */
  async connect(port: number, count: number): Promise<readonly Pair[]> {
    const pairs: Pair[] = [];
    for (let opened = 0; opened < count; opened += atOnce) {
      const group = Array.from({ length: Math.min(atOnce, count - opened) }, () => this.#pair(port));
      pairs.push(...(await Promise.all(group)));
    }
    return pairs;
  }

  /** Resolves when everybody who got through is gone again. */
  async left(): Promise<void> {
    await Promise.all([...this.#sockets].map((socket) => once(socket, "close")));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #pair(port: number): Promise<Pair> {
    const dialled = await dial(port);
    const number = this.#dialled++;
    const { promise, resolve } = Promise.withResolvers<Socket>();
    this.#waiting.set(number, resolve);
    const name = Buffer.alloc(4);
    name.writeUInt32BE(number);
    dialled.write(name);
    return { dialled, reached: await promise };
  }

  #greet(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {}).once("close", () => this.#sockets.delete(socket));
    socket.write(greeting);
    socket.once("data", (name: Buffer) => {
      socket.pause();
      const number = name.readUInt32BE();
      this.#waiting.get(number)?.(socket);
      this.#waiting.delete(number);
    });
  }
}

/** A connection whose target has greeted, and that has not been read any further. Rejects when it is refused or ends before. */
export function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    socket.once("data", () => {
      socket.pause();
      resolve(socket);
    });
    socket.on("error", reject);
    socket.once("close", () => reject(new Error(`port ${port} closed before the target had greeted`)));
  });
}

/** Sends `bytes` over each flow at once and returns the milliseconds until all have arrived. Throws when a single byte differs. */
export async function transfer(flows: readonly Flow[], bytes: number): Promise<number> {
  const room = arena(flows.length * bytes);
  const regions = flows.map((_flow, index) => room.subarray(index * bytes, (index + 1) * bytes));
  const sources = sourcesOf(flows.length, bytes);
  const startedAt = performance.now();
  const arrivals = flows.map(({ to }, index) => fill(regions[index] ?? nothing, to));
  for (const [index, { from }] of flows.entries()) from.write(sources[index] ?? nothing);
  await Promise.all(arrivals);
  const tookMs = performance.now() - startedAt;
  // After the clock, so that it costs neither side anything.
  for (const [index, region] of regions.entries()) {
    if (hash("sha256", region) !== digestOf(index, sources[index] ?? nothing))
      throw new Error(`stream ${index} arrived with other bytes`);
  }
  return tookMs;
}

export interface Flow {
  readonly from: Socket;
  readonly to: Socket;
}

/** From who dialled to the target. */
export function towardsTarget({ dialled, reached }: Pair): Flow {
  return { from: dialled, to: reached };
}

/** From the target to who dialled. */
export function towardsDialler({ dialled, reached }: Pair): Flow {
  return { from: reached, to: dialled };
}

const atOnce = 25;
const greeting = Buffer.from("!");
const nothing = Buffer.alloc(0);

/** Reads until the region is full. */
function fill(region: Buffer, socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let filled = 0;
    const lost = () => reject(new Error(`a connection broke after ${filled} of ${region.length} bytes`));
    const take = (chunk: Buffer) => {
      if (filled + chunk.length > region.length) return reject(new Error("more bytes arrived than were sent"));
      region.set(chunk, filled);
      filled += chunk.length;
      if (filled < region.length) return undefined;
      socket.pause().off("data", take).off("close", lost);
      return resolve();
    };
    socket.on("data", take).once("close", lost).resume();
  });
}

let used = nothing;

/** Memory for what arrives, the same every time, and written to once: the first touch of a page would count as a transfer's time. */
function arena(bytes: number): Buffer {
  if (used.length < bytes) used = Buffer.alloc(bytes, 1);
  return used.subarray(0, bytes);
}

let noise = nothing;
const digests = new Map<string, string>();
// Each stream begins elsewhere, and not on a round address: bytes that end up in another stream or another place are noticed.
const apartBytes = 4099;

/** What the first `count` streams send. */
function sourcesOf(count: number, bytes: number): readonly Buffer[] {
  const needed = count * apartBytes + bytes;
  if (noise.length < needed) {
    noise = randomFillSync(Buffer.alloc(needed));
    digests.clear();
  }
  return Array.from({ length: count }, (_, stream) => noise.subarray(stream * apartBytes, stream * apartBytes + bytes));
}

function digestOf(stream: number, source: Buffer): string {
  const key = `${stream} ${source.length}`;
  const known = digests.get(key) ?? hash("sha256", source);
  digests.set(key, known);
  return known;
}
