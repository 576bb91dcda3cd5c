/** A WebSocket relay on loopback that keeps every message of both directions, parsed. The gateway sees its own address as Host. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { Recorder } from "./recorder.ts";

export interface TappedMessage {
  /** Numbers the connections of the tap, from 0. */
  readonly connection: number;
  readonly from: "client" | "gateway";
  readonly value: unknown;
}

export interface WireTap extends AsyncDisposable {
  readonly url: string;
  readonly messages: Recorder<TappedMessage>;
}

/** Headers of an upgrade that belong to one connection, and not to what is said through it. */
const ofConnection = /^(?:host|connection|upgrade|sec-websocket-.*)$/u;

export async function startWireTap(targetUrl: string): Promise<WireTap> {
  const messages = new Recorder<TappedMessage>();
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
  let connections = 0;
  server.on("connection", (near, request) => {
    const connection = connections++;
    const headers = Object.entries(request.headers).filter(([name]) => !ofConnection.test(name));
    const far = new WebSocket(targetUrl, { headers: Object.fromEntries(headers), perMessageDeflate: false });
    const isOpen = once(far, "open");
    isOpen.catch(() => near.terminate());
    pass(near, far, (value) => messages.push({ connection, from: "client", value }), isOpen);
    pass(far, near, (value) => messages.push({ connection, from: "gateway", value }));
  });
  await once(server, "listening");
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    messages,
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Hands on every message and the end, as soon as the other side is open. */
function pass(
  from: WebSocket,
  to: WebSocket,
  keep: (value: unknown) => void,
  isOpen: Promise<unknown> = Promise.resolve(),
): void {
  const whenOpen = (action: () => void) => void isOpen.then(action, () => {});
  from.on("error", () => {}); // told as a close
  from.on("message", (data: RawData) => {
    const text = (data as Buffer).toString();
    keep(JSON.parse(text));
    whenOpen(() => to.readyState === to.OPEN && to.send(text));
  });
  from.on("close", (code, reason) => {
    whenOpen(() => (code === 1005 || code === 1006 ? to.terminate() : to.close(code, reason)));
  });
}
