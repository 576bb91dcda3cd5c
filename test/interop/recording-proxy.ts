/** A WebSocket proxy in front of a gateway that writes down how each connection introduces itself: the upgrade's headers and the connect frame. */
import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { Recorder } from "../support/recorder.ts";

/** What a client said before it was in. */
export interface Introduction {
  readonly headers: IncomingHttpHeaders;
  /** The params of its connect. */
  readonly params: unknown;
}

export interface RecordingProxy extends AsyncDisposable {
  readonly url: string;
  readonly introductions: Recorder<Introduction>;
}

/** `host` is the Host header that the gateway sees; its own address unless told otherwise. */
export async function startRecordingProxy(targetUrl: string, host?: string): Promise<RecordingProxy> {
  const introductions = new Recorder<Introduction>();
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", (near, { headers }) => {
    near.once("message", (data) => introductions.push({ headers, params: paramsOf(data) }));
    const { authorization } = headers;
    const far = new WebSocket(targetUrl, {
      perMessageDeflate: false,
      headers: {
        ...(host === undefined ? {} : { Host: host }),
        ...(authorization === undefined ? {} : { Authorization: authorization }),
      },
    });
    passOn(far, near);
    passOn(near, far);
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `ws://127.0.0.1:${port}`,
    introductions,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        for (const client of server.clients) client.terminate();
        server.close(() => resolve());
      }),
  };
}

/** Texts and the end, with its code and reason. What comes before the other side is open waits for it. */
function passOn(from: WebSocket, to: WebSocket): void {
  const whenOpen = (action: () => void) => {
    if (to.readyState === WebSocket.CONNECTING) to.once("open", action);
    else action();
  };
  from.on("message", (data) => whenOpen(() => to.send(String(data))));
  from.on("error", () => to.terminate());
  from.on("close", (code, reason) => {
    // 1005 and 1006 say that no close frame came, and cannot be sent as one.
    whenOpen(() => (code === 1005 ? to.close() : code === 1006 ? to.terminate() : to.close(code, reason)));
  });
}

function paramsOf(data: RawData): unknown {
  const frame: unknown = JSON.parse(String(data));
  return typeof frame === "object" && frame !== null && "params" in frame ? frame.params : undefined;
}
