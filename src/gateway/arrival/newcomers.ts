/**
 * Connections that have not shown who they are (auth.md § 5): counted by address from their first packet on, before anything of them is
 * read. Who has shown it is not counted any more, so that a full house keeps nobody out who is in.
 */
import type { Server, Socket } from "node:net";
import type { Runtime } from "../../runtime.ts";
import { plainAddress } from "./address-list.ts";
import { networkOf } from "./attempt-limit.ts";

export interface NewcomerLimits {
  /** TCP connections of one address that have not shown who they are. */
  readonly maxNewcomersPerAddress: number;
  /** The same in all. It is also what loopback and each trusted proxy may have, which stand for many. */
  readonly maxNewcomers: number;
}

/** Which of the limits ended a connection. */
export type NewcomerLimit = "address" | "total";

export interface NewcomersOptions {
  readonly limits: () => NewcomerLimits;
  /** True for addresses behind which more than one client stands: one of them must not keep the others out. */
  readonly standsForMany: (address: string) => boolean;
  readonly runtime: Pick<Runtime, "now">;
  /** Called for each connection that is cut. */
  readonly cut: (limit: NewcomerLimit) => void;
  /** Called for the first of them in a while, with how many they were since the last call: what a log can bear. */
  readonly tell: (socket: Socket, limit: NewcomerLimit, count: number) => void;
}

/** How long after one line about cut connections the next one may come. */
const tellIntervalMs = 60_000;

interface Newcomer {
  readonly socket: Socket;
  /** Listens for its end. */
  readonly leave: () => void;
}

type Group = Map<string, Newcomer>;

/** Where a connection comes from: what it is found by when TLS stands between its socket and its requests. */
type Place = Pick<Socket, "remoteAddress" | "remotePort">;

export class Newcomers {
  readonly #options: NewcomersOptions;
  /** By network, and there by address and port, the oldest first. */
  readonly #groups = new Map<string, Group>();
  #size = 0;
  #untold = 0;
  #mayTellAtMs = 0;

  constructor(options: NewcomersOptions) {
    this.#options = options;
  }

  /**
   * Counts a connection in, or cuts it and says false. An address that has too many gets no more. When there are too many in all, the oldest
   * one of the address with the most makes room: whoever means to say something is done before it comes to that.
   */
  arrive(socket: Socket): boolean {
    const { remoteAddress = "", remotePort = 0 } = socket;
    const { limits, standsForMany } = this.#options;
    const { maxNewcomersPerAddress, maxNewcomers } = limits();
    const address = plainAddress(remoteAddress);
    const network = networkOf(address);
    const size = this.#groups.get(network)?.size ?? 0;
    if (size >= maxNewcomersPerAddress && !standsForMany(address)) {
      this.#cut(socket, "address");
      return false;
    }
    while (this.#size >= maxNewcomers && this.#size > 0) this.#makeRoom();
    const port = `${address} ${remotePort}`;
    this.#remove(network, port); // whoever had the port before is gone
    const leave = () => this.#remove(network, port);
    socket.once("close", leave);
    const group: Group = this.#groups.get(network) ?? new Map<string, Newcomer>();
    this.#groups.set(network, group.set(port, { socket, leave }));
    this.#size++;
    return true;
  }

  /** Has the server hear only of those that are counted in: whatever it begins with a connection, TLS included, comes after that. */
  guard(server: Server): void {
    const listeners = server.listeners("connection");
    server.removeAllListeners("connection");
    server.on("connection", (socket: Socket) => {
      if (this.arrive(socket)) for (const listener of listeners) Reflect.apply(listener, server, [socket]);
    });
  }

  /** The connection has shown who it is. */
  known({ remoteAddress = "", remotePort = 0 }: Place): void {
    const address = plainAddress(remoteAddress);
    this.#remove(networkOf(address), `${address} ${remotePort}`);
  }

  get size(): number {
    return this.#size;
  }

  #makeRoom(): void {
    let fullest: Group = new Map<string, Newcomer>();
    for (const group of this.#groups.values()) if (group.size > fullest.size) fullest = group;
    const [oldest] = fullest.values();
    if (oldest === undefined) return;
    oldest.leave();
    this.#cut(oldest.socket, "total");
  }

  #cut(socket: Socket, limit: NewcomerLimit): void {
    const { runtime, cut, tell } = this.#options;
    cut(limit);
    this.#untold++;
    if (runtime.now() >= this.#mayTellAtMs) {
      this.#mayTellAtMs = runtime.now() + tellIntervalMs;
      tell(socket, limit, this.#untold);
      this.#untold = 0;
    }
    socket.destroy();
  }

  /** What lasts for weeks from here on holds on to nothing of this. */
  #remove(network: string, port: string): void {
    const group = this.#groups.get(network);
    const newcomer = group?.get(port);
    if (group === undefined || newcomer === undefined) return;
    newcomer.socket.off("close", newcomer.leave);
    group.delete(port);
    this.#size--;
    if (group.size === 0) this.#groups.delete(network);
  }
}
