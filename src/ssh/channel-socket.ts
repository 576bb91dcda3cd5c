/** A channel of one SSH connection as the socket of another, which ends at a server behind the first (`ProxyJump`). */
import { Duplex } from "node:stream";
import type { Client, ClientChannel } from "ssh2";
import { OpenClawError } from "../errors.ts";
import { atJumpHost } from "./ssh-failure.ts";

/** The connection that carries the channel. */
export interface Carrier {
  /** The address of its server, for messages. */
  readonly where: string;
  readonly client: Client;
  /** What its own bytes run over. */
  readonly socket: Duplex;
  readonly isOpen: boolean;
  readonly closed: Promise<OpenClawError | undefined>;
}

type Done = (error?: Error | null) => void;

/** As a socket: errors and closes like any stream, counts what it read, and takes no more than the carrier can pass on. */
export class ChannelSocket extends Duplex {
  bytesRead = 0;
  readonly #channel: ClientChannel;
  readonly #carrier: Carrier;

  constructor(channel: ClientChannel, carrier: Carrier) {
    super({ allowHalfOpen: false });
    this.#channel = channel;
    this.#carrier = carrier;
    channel.on("data", (chunk: Buffer) => {
      this.bytesRead += chunk.length;
      if (!this.push(chunk)) channel.pause();
    });
    channel.stderr.resume();
    // When the carrier is lost the library ends its channels as if the peer had: that is told as the loss it is, below.
    channel.once("end", () => carrier.isOpen && this.push(null));
    channel.once("error", (error: Error) => this.destroy(error));
    channel.once("close", () => void this.#closeWithChannel());
  }

  override _read(): void {
    this.#channel.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    // Called back once the peer's window has taken it; the carrier's own backlog is what the library does not look at.
    this.#channel.write(chunk, () => {
      const { socket } = this.#carrier;
      if (socket.writableNeedDrain) socket.once("drain", () => done());
      else done();
    });
  }

  /** What waits is sent as one: each write becomes packets of its own. */
  override _writev(chunks: { chunk: Buffer; encoding: string }[], done: Done): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "buffer", done);
  }

  override _final(done: Done): void {
    this.#channel.eof();
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#channel.destroy();
    this.#channel.resume();
    done(error);
  }

  async #closeWithChannel(): Promise<void> {
    if (this.#carrier.isOpen) {
      this.push(null);
      return;
    }
    const reason = await this.#carrier.closed;
    this.destroy(atJumpHost(this.#carrier.where, reason ?? new OpenClawError("ssh", "the connection was closed")));
  }
}
