/** A TCP relay that can cut what runs through it: how the demo breaks its SSH connection on purpose. */
import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

export interface Relay extends AsyncDisposable {
  readonly port: number;
  /** Resets every connection at once. Returns how many there were. */
  cut(): number;
}

/** Listens on a free loopback port and passes everything on to `targetPort`. */
export async function startRelay(targetPort: number): Promise<Relay> {
  const open = new Set<Socket>();
  const server: Server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: "127.0.0.1", port: targetPort, noDelay: true });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        open.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const cut = () => {
    const pairs = open.size / 2;
    for (const socket of open) socket.resetAndDestroy();
    return Math.ceil(pairs);
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
