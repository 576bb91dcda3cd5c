/** Carries bytes between local sockets and the channels of one SSH connection, in bounded memory. */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Channel } from "ssh2";
import { free, isWorthFreeing } from "./free.ts";
import { lendReads } from "./lend-reads.ts";

/** The two ends of a bridge. */
export type BridgeEnd = "local" | "channel";

/** What one bridged connection tells about itself. */
export interface BridgeObserver {
  /** Bytes that were read from the local socket. */
  readonly fromLocal?: (bytes: number) => void;
  /** Bytes that were read from the channel. */
  readonly fromChannel?: (bytes: number) => void;
  /** The local socket is closed: nothing more will come. Told which end stopped sending first; undefined when the SSH connection was lost. */
  readonly closed?: (first: BridgeEnd | undefined) => void;
}

// Enough to keep a fast line busy, little enough that a keepalive behind it is answered in time.
const backlogLimitBytes = 1024 * 1024;
// Local sockets hand over at most 64 KiB at a time, so this many fill the backlog once.
const wakeAtOnce = backlogLimitBytes / (64 * 1024);

/** Every bridge over one SSH socket: they share its backlog and end with it. */
export class Bridges {
  readonly #sshSocket: Duplex;
  readonly #locals = new Set<Socket>();
  /** Bridges whose ends are not both closed, and connections that are about to become one. */
  #open = 0;
  readonly #whenDrained: (() => void)[] = [];
  /** Bridges that rest until the SSH socket has room, in the order they came. */
  readonly #resting = new Set<() => void>();
  readonly #hasOwnMemory: () => boolean;

  /** `hasOwnMemory` says whether what a channel hands on now lies in memory that nobody else looks at. */
  constructor(sshSocket: Duplex, hasOwnMemory: () => boolean) {
    this.#sshSocket = sshSocket;
    this.#hasOwnMemory = hasOwnMemory;
    sshSocket.on("drain", () => this.#wake());
  }

  /**
   * Joins the two until both directions have ended; each side's end is passed on alone (half-close). `local` must
   * allow half-open and not have been read from. An error on one side closes the other.
   */
  join(local: Socket, channel: Channel, { fromLocal, fromChannel, closed }: BridgeObserver = {}): void {
    this.#locals.add(local);
    endOnce(channel);
    const [localClosed, channelClosed] = [this.hold(), this.hold()];
    channel.once("close", channelClosed);
    // `writableLength` grows only when the peer's SSH window is used up; ssh2 never looks at the socket's own backlog.
    const readOn = () => {
      if (channel.writableLength === 0 && this.#hasRoom(readOn)) local.resume();
      else local.pause();
    };
    const send = (chunk: Buffer) => {
      fromLocal?.(chunk.length);
      channel.write(chunk, readOn);
      readOn();
    };
    lendReads(local, (chunk) => send(hasWindow(channel, chunk.length) ? chunk : Buffer.from(chunk)));
    local.on("data", (chunk: Buffer) => {
      const isAllSent = hasWindow(channel, chunk.length);
      send(chunk);
      if (isAllSent) free(chunk);
    });
    channel.on("data", (chunk: Buffer) => {
      fromChannel?.(chunk.length);
      if (!local.destroyed && !this.#pass(chunk, local)) channel.pause();
    });
    channel.once("end", () => local.end()).resume();
    local.on("drain", () => channel.resume());
    const whoEnded = closeInStep(local, channel);
    local.once("close", () => {
      this.#locals.delete(local);
      this.#resting.delete(readOn);
      localClosed();
      closed?.(whoEnded());
    });
  }

  /** How many local sockets are bridged. */
  get size(): number {
    return this.#locals.size;
  }

  /** Counts something that will become a bridge, or may; until the returned function is called the bridges are not drained. */
  hold(): () => void {
    this.#open++;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      if (--this.#open === 0) for (const tell of this.#whenDrained.splice(0)) tell();
    };
  }

  /** Resolves when nothing passes any more. */
  async drained(): Promise<void> {
    if (this.#open > 0) await new Promise<void>((resolve) => this.#whenDrained.push(resolve));
  }

  /**
   * Resets every local socket. To be called before ssh2 ends the channels of a lost connection, or a broken transfer
   * would look like a complete one.
   */
  cut(): void {
    for (const local of this.#locals) reset(local);
  }

  /** Writes, and frees what was written where that is worth a call of its own. */
  #pass(chunk: Buffer, local: Socket): boolean {
    if (!isWorthFreeing(chunk) || !this.#hasOwnMemory()) return local.write(chunk);
    return local.write(chunk, () => free(chunk));
  }

  #hasRoom(whenThereIs: () => void): boolean {
    if (this.#sshSocket.writableLength <= backlogLimitBytes) return true;
    this.#resting.add(whenThereIs);
    return false;
  }

  /** A few at a time: a thousand sockets that wake at once would overfill the backlog before any of them could see it. */
  #wake(): void {
    for (const readOn of [...this.#resting].slice(0, wakeAtOnce)) {
      this.#resting.delete(readOn);
      readOn();
    }
    if (this.#resting.size > 0 && !this.#sshSocket.writableNeedDrain) setImmediate(() => this.#wake());
  }
}

/** Closes a socket so that its peer sees an error and not an end. */
export function reset(socket: Socket): void {
  // Only TCP has a reset; a unix socket has no remote family.
  if (socket.remoteFamily === undefined || socket.destroyed) socket.destroy();
  else socket.resetAndDestroy();
}

/** Whether what is written now leaves at once, in packets of their own. Without the library's word on it, it is taken not to. */
function hasWindow(channel: Channel, bytes: number): boolean {
  const outgoing: unknown = Reflect.get(channel, "outgoing");
  const window: unknown = typeof outgoing === "object" && outgoing !== null ? Reflect.get(outgoing, "window") : 0;
  return channel.writableLength === 0 && typeof window === "number" && window >= bytes;
}

/** The library ends a channel once more whenever it is destroyed, and for that Node.js makes an error with its stack, which nobody sees. */
function endOnce(channel: Channel): void {
  channel.destroy = () => {
    if (!channel.writableEnded) channel.end();
    channel.close();
    return channel;
  };
}

/** Passes each end on. The returned function tells which came first. */
function closeInStep(local: Socket, channel: Channel): () => BridgeEnd | undefined {
  let first: BridgeEnd | undefined;
  let openDirections = 2;
  const ended = (end: BridgeEnd) => {
    first ??= end;
    if (--openDirections === 0) channel.close();
  };
  // Between the local end and the moment when all that was read has left, which may wait for the peer's window.
  let isLeaving = false;
  local.once("end", () => {
    first ??= "local";
    isLeaving = true;
    // An empty write is called back when everything before it has left. Not end(): on a server it closes both ways.
    channel.write(Buffer.alloc(0), () => {
      isLeaving = false;
      channel.eof();
      ended("local");
      if (local.closed) channel.destroy();
    });
  });
  channel.once("end", () => ended("channel"));
  // The peer takes nothing more: what it sent still reaches the local side, then that is closed too.
  channel.on("close", () => {
    first ??= "channel";
    local.destroySoon();
  });
  channel.on("error", () => local.destroy());
  local.on("error", () => (first ??= "local"));
  local.once("close", () => {
    if (!isLeaving) channel.destroy();
    channel.resume();
  });
  return () => first;
}
