/** A TCP relay on loopback that fails as networks do: connections break, packets vanish, the server is away for a moment. */
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Runtime } from "../runtime.ts";
import { reset } from "../ssh/bridge.ts";

export interface RelayTarget {
  readonly host: string;
  readonly port: number;
  readonly family?: 4 | 6;
}

/** A connection to the relay, and the one it is passed on over. */
interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  /** What the dialling side sends is taken and never arrives, its end included. */
  outVanishes: boolean;
  /** The same for what comes back. */
  inVanishes: boolean;
}

/** Every fault hits the connections that are open at that moment; those that come later pass, as by another route. */
export class FaultRelay implements AsyncDisposable {
  readonly #target: RelayTarget;
  readonly #runtime: Runtime;
  readonly #pairs = new Set<Pair>();
  #server: Server;
  #port = 0;

  private constructor(target: RelayTarget, runtime: Runtime) {
    this.#target = target;
    this.#runtime = runtime;
    this.#server = this.#listener();
  }

  /** Starts on a free port of 127.0.0.1; resolves once it accepts connections. */
  static async start(target: RelayTarget, runtime: Runtime): Promise<FaultRelay> {
    const relay = new FaultRelay(target, runtime);
    await relay.#listen();
    return relay;
  }

  get address(): { readonly host: string; readonly port: number } {
    return { host: "127.0.0.1", port: this.#port };
  }

  /** Both ends see a reset. */
  cut(): void {
    for (const { near, far } of this.#pairs) for (const socket of [near, far]) reset(socket);
  }

  /** Nothing arrives any more, either way, and nobody is told. */
  freeze(): void {
    for (const pair of this.#pairs) vanish(pair, { out: true, in: true });
  }

  /** What the server sends no longer arrives; what is sent to it does. */
  halfOpen(): void {
    for (const pair of this.#pairs) vanish(pair, { out: false, in: true });
  }

  /** Resets every connection and refuses new ones for `downMs` milliseconds; resolves when they are taken again. */
  async restart(downMs: number, signal?: AbortSignal): Promise<void> {
    await this.#stop();
    await this.#runtime.sleep(downMs, signal);
    this.#server = this.#listener();
    await this.#listen();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }

  async #stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }

  #listener(): Server {
    return createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#passOn(near));
  }

  async #listen(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject).once("listening", resolve).listen(this.#port, "127.0.0.1");
    await promise;
    this.#port = portOf(this.#server.address());
  }

  #passOn(near: Socket): void {
    const far = connect({ ...this.#target, noDelay: true, allowHalfOpen: true });
    const pair: Pair = { near, far, outVanishes: false, inVanishes: false };
    this.#pairs.add(pair);
    pump(near, far, () => pair.outVanishes);
    pump(far, near, () => pair.inVanishes);
    const forget = () => near.destroyed && far.destroyed && this.#pairs.delete(pair);
    near.once("close", forget);
    far.once("close", forget);
  }
}

function vanish(pair: Pair, gone: { readonly out: boolean; readonly in: boolean }): void {
  pair.outVanishes = gone.out;
  pair.inVanishes = gone.in;
  // Whoever was held back by the other side's slowness is held back no longer.
  if (gone.out) pair.near.resume();
  if (gone.in) pair.far.resume();
}

/** Carries bytes, the end and a reset from one socket to the other, with back-pressure, for as long as they do not vanish. */
function pump(from: Socket, to: Socket, vanishes: () => boolean): void {
  from.on("data", (chunk: Buffer) => {
    if (!vanishes() && !to.write(chunk)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => {
    if (!vanishes()) to.end();
  });
  from.on("error", () => {});
  from.once("close", (broken) => {
    if (vanishes()) return;
    if (broken) reset(to);
    else to.destroySoon();
  });
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === "object" && address !== null ? address.port : 0;
}
