/** A TCP relay on loopback, like the tunnel it stands for: it can freeze without closing, and break. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface Relay extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** Nothing passes any more, in either direction, on the connections that are open now. New ones work. */
  freeze(): void;
  /** Breaks every connection. */
  cut(): void;
  /** Where new connections go from now on. */
  pointTo(targetPort: number): void;
}

export async function startRelay(firstTargetPort: number): Promise<Relay> {
  let targetPort = firstTargetPort;
  const pairs = new Set<readonly [near: Socket, far: Socket]>();
  const server = createServer((near) => {
    const far = connect({ host: "127.0.0.1", port: targetPort });
    const pair = [near, far] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, [far, near] as const]) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const cut = () => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  };
  return {
    port,
    url: `ws://127.0.0.1:${port}`,
    freeze: () => {
      for (const [near, far] of pairs) {
        near.unpipe(far).pause();
        far.unpipe(near).pause();
      }
    },
    cut,
    pointTo: (port) => void (targetPort = port),
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
