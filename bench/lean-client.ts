/**
 * A WebSocket client (RFC 6455) that costs as little as one can: the server on the other core must be what a measurement waits for.
 * Only for servers of ours on loopback: nothing is validated, and the mask is four zeros, so that a prepared frame can be sent as it is.
 */
import { connect, type Socket } from "node:net";

export class LeanClient {
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  #hear: (payload: Buffer) => void = () => {};
  #rest: Buffer = Buffer.alloc(0);
  #isUpgraded = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    socket.on("close", () => resolve());
    socket.on("error", () => {}); // told as a close
  }

  /** Connects and upgrades; `hear` gets every text message from the first one on. Rejects when the server does not upgrade. */
  static open(port: number, hear: (payload: Buffer, client: LeanClient) => void): Promise<LeanClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      const client = new LeanClient(socket);
      client.#hear = (payload) => hear(payload, client);
      socket.on("connect", () => socket.write(upgradeRequest(port)));
      socket.on("data", (chunk) => {
        try {
          client.#read(chunk, resolve);
        } catch (error) {
          socket.destroy();
          reject(error);
        }
      });
      socket.on("close", () => reject(new Error("the server closed before the upgrade")));
    });
  }

  /** Sends frames that `textFrame` made, in one write. */
  send(frames: Buffer): void {
    this.#socket.write(frames);
  }

  /** Says goodbye the way a client should, and resolves when the server has hung up. */
  close(): Promise<void> {
    this.#socket.write(closeFrame);
    return this.closed;
  }

  #read(chunk: Buffer, upgraded: (client: LeanClient) => void): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    if (!this.#isUpgraded) {
      const end = bytes.indexOf("\r\n\r\n");
      if (end === -1) return void (this.#rest = bytes);
      if (!bytes.subarray(0, 12).equals(switchingProtocols)) throw new Error(bytes.subarray(0, end).toString());
      this.#isUpgraded = true;
      upgraded(this);
      at = end + 4;
    }
    this.#rest = bytes.subarray(this.#readFrames(bytes, at));
  }

  /** Hands over every whole frame from `at` on and returns where the rest begins. */
  #readFrames(bytes: Buffer, at: number): number {
    for (;;) {
      if (bytes.length < at + 2) return at;
      const short = bytes.readUInt8(at + 1);
      const headerBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < at + headerBytes) return at;
      const from = at + headerBytes;
      const length =
        short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
      if (bytes.length < from + length) return at;
      if (bytes.readUInt8(at) === finalText) this.#hear(bytes.subarray(from, from + length));
      at = from + length;
    }
  }
}

const finalText = 0x81;
const masked = 0x80;
const switchingProtocols = Buffer.from("HTTP/1.1 101");
/** A close frame with code 1000, masked with zeros. */
const closeFrame = Buffer.from([0x88, masked | 2, 0, 0, 0, 0, 0x03, 0xe8]);

function upgradeRequest(port: number): string {
  return (
    `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
  );
}

/** One text message of up to 64 KiB as a client's frame. */
export function textFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  if (payload.length > 0xffff) throw new RangeError(`a message of ${payload.length} bytes`);
  const header = payload.length < 126 ? Buffer.alloc(6) : Buffer.alloc(8);
  header[0] = finalText;
  if (payload.length < 126) header[1] = masked | payload.length;
  else {
    header[1] = masked | 126;
    header.writeUInt16BE(payload.length, 2);
  }
  return Buffer.concat([header, payload]);
}
