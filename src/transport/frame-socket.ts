/** A WebSocket as both ends of ours use it: text in, text out, pings, and an end that always comes. */
import type { Duplex } from "node:stream";
import { closeReason } from "../protocol/close.ts";
import { maxBufferedBytes } from "../protocol/limits.ts";

export interface CloseInfo {
  /** The close frame's code; 1006 when the connection broke without one, 1005 for a close frame without a code. */
  readonly code: number;
  readonly reason: string;
  /** What broke the connection, when it was not a close frame. */
  readonly cause?: unknown;
}

/** What is used of a WebSocket. The `ws` package's has it; named here, so that who uses our types needs none of that package's. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly OPEN: number;
  readonly CLOSED: number;
  readonly bufferedAmount: number;
  on(event: "message", listener: (data: MessageData, isBinary: boolean) => void): unknown;
  on(event: "ping", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "close", listener: (code: number, reason: Buffer) => void): unknown;
  once(event: "pong", listener: () => void): unknown;
  removeAllListeners(event: "pong"): this;
  send(text: string): void;
  ping(): void;
  close(code: number, reason: string): void;
  terminate(): void;
}

type MessageData = Buffer | ArrayBuffer | Buffer[];

/** What the owner of a socket wants to hear. `closed` comes exactly once, and last. */
export interface FrameSocketListener {
  text(text: string): void;
  binary?(): void;
  /** A sign of life: a message, or the answer to a ping. */
  alive?(): void;
  /** The other side asked for a sign of life, which it has got. */
  pinged?(): void;
  closed(info: CloseInfo): void;
}

/** Milliseconds that the other side has to answer a close frame before its connection is dropped. */
const closeGraceMs = 2000;

export class FrameSocket {
  readonly #socket: WebSocketLike;
  readonly #listener: FrameSocketListener;
  readonly #stream: Duplex | undefined;
  #isGathering = false;
  #grace: NodeJS.Timeout | undefined;

  /** `stream` is what the WebSocket writes to; where it is given, messages that are sent together leave together. */
  constructor(socket: WebSocketLike, listener: FrameSocketListener, stream?: Duplex) {
    this.#socket = socket;
    this.#listener = listener;
    this.#stream = stream;
    let cause: unknown;
    socket.on("message", (data, isBinary) => {
      listener.alive?.();
      if (isBinary) listener.binary?.();
      else listener.text(asText(data));
    });
    if (listener.pinged !== undefined) socket.on("ping", () => listener.pinged?.());
    socket.on("error", (error) => {
      cause = error;
    });
    socket.on("close", (code, reason) => {
      clearTimeout(this.#grace);
      listener.closed({ code, reason: reason.toString(), ...(cause === undefined ? {} : { cause }) });
    });
  }

  /** True while messages can be sent. */
  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** Bytes that were sent but have not left this process yet. */
  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Sends one message; a peer too slow to take it is closed with 1008. Returns false when nothing was sent. */
  send(text: string): boolean {
    if (!this.isOpen) return false;
    if (this.#socket.bufferedAmount > maxBufferedBytes) {
      this.close(1008, "slow consumer");
      return false;
    }
    this.#gather();
    this.#socket.send(text);
    return true;
  }

  /** A write to the system costs more than making the message: the answers to what arrived at once share one. */
  #gather(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#isGathering) return;
    this.#isGathering = true;
    stream.cork();
    process.nextTick(() => {
      this.#isGathering = false;
      stream.uncork();
    });
  }

  /** Asks for a sign of life. Its answer is waited for only now: a thousand idle sockets need not hold a listener each. */
  ping(): void {
    if (!this.isOpen) return;
    this.#socket.removeAllListeners("pong").once("pong", () => this.#listener.alive?.());
    this.#socket.ping();
  }

  /** Sends a close frame, waits for its echo, and drops the connection when none comes. */
  close(code: number, reason: string): void {
    if (this.#socket.readyState === this.#socket.CLOSED) return;
    this.#socket.close(code, closeReason(reason));
    this.#grace ??= setTimeout(() => this.#socket.terminate(), closeGraceMs);
  }

  /** Drops the connection at once, without a close frame. */
  terminate(): void {
    this.#socket.terminate();
  }
}

function asText(data: MessageData): string {
  if (Buffer.isBuffer(data)) return data.toString("utf8");
  return Array.isArray(data) ? Buffer.concat(data).toString("utf8") : Buffer.from(data).toString("utf8");
}
