/** A WebSocket relay on loopback behind which a gateway of ours looks like the product's: it has no rotation with an overlap. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";

export interface PlainRelay extends AsyncDisposable {
  readonly port: number;
  /** The params of every rotation that was asked for. */
  readonly rotations: readonly unknown[];
  /** Set, it takes no new connection once a rotation was asked for. */
  shutsAfterRotation: boolean;
}

export async function startPlainRelay(targetPort: number): Promise<PlainRelay> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
  const rotations: unknown[] = [];
  let isShut = false;
  server.on("connection", (near, request) => {
    if (isShut && relay.shutsAfterRotation) return near.terminate();
    const { authorization, host = "" } = request.headers;
    const far = new WebSocket(`ws://127.0.0.1:${targetPort}`, {
      headers: { host, ...(authorization === undefined ? {} : { authorization }) }, // the host of a tunnel's end
      perMessageDeflate: false,
    });
    const isOpen = once(far, "open");
    isOpen.catch(() => near.terminate());
    near.on("message", (data) => {
      const text = (data as Buffer).toString();
      const frame = JSON.parse(text) as { readonly method?: string; readonly params?: unknown };
      if (frame.method === "device.token.rotate") {
        rotations.push(frame.params);
        isShut = relay.shutsAfterRotation;
      }
      isOpen.then(
        () => far.readyState === far.OPEN && far.send(text),
        () => {},
      );
    });
    far.on("message", (data) => near.send((data as Buffer).toString().replace(',"token-handover"', "")));
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on("error", () => {}); // told as a close
      from.on("close", (code, reason) => (code === 1005 || code === 1006 ? to.terminate() : to.close(code, reason)));
    }
  });
  await once(server, "listening");
  const relay: PlainRelay = {
    port: (server.address() as AddressInfo).port,
    rotations,
    shutsAfterRotation: false,
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return relay;
}
