/** The gateway's end of an upgrade: a WebSocket without compression, small until hello, closed when it does not keep to that. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { maxPayloadBytes } from "../protocol/limits.ts";
import { FrameSocket, type FrameSocketListener } from "./frame-socket.ts";

export class Acceptor {
  readonly #server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    clientTracking: false,
    maxPayload: maxPayloadBytes,
    // Nobody's browser protocol is selected by accident.
    handleProtocols: () => false,
  });

  /** Answers 101 and hands over the socket; a request that is no proper upgrade is answered 400 and `accepted` never runs. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer, accepted: (open: OpenSocket) => void): void {
    socket.cork(); // what is sent at once leaves together with the 101, in one packet
    this.#server.handleUpgrade(request, socket, head, (web) => {
      accepted((listener) => new FrameSocket(web, listener, socket));
    });
    socket.uncork();
  }
}

/** Attaches the listener and gives the socket; to be called at once, before the next message can arrive. */
export type OpenSocket = (listener: FrameSocketListener) => FrameSocket;

/**
 * Calls `exceeded` as soon as more than `maxBytes` have arrived on `socket`, and stops counting when the returned function is called.
 * It counts what the network delivers, so a long message is stopped before it has been collected. What comes after that is read and
 * thrown away: unread, it would turn our close frame into a reset connection.
 */
export function limitBytes(socket: Duplex, maxBytes: number, exceeded: () => void): () => void {
  let seen = 0;
  const count = (chunk: Buffer) => {
    seen += chunk.length;
    if (seen <= maxBytes) return;
    exceeded();
    socket.removeAllListeners("data").resume();
    socket.end();
  };
  const stop = () => void socket.off("data", count);
  socket.prependListener("data", count); // before the WebSocket hears of the same bytes
  return stop;
}
