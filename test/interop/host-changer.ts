/** A TCP relay that gives the upgrade request another Host: old gateways ask about a device only when it comes by a foreign name. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";

export interface HostChanger extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
}

export async function startHostChanger(targetPort: number, host = "gateway.example.test"): Promise<HostChanger> {
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((near) => {
    const far = connect({ host: "127.0.0.1", port: targetPort });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
    near.once("data", (head: Buffer) => {
      far.write(head.toString("latin1").replace(/^Host: .*$/imu, `Host: ${host}`), "latin1");
      near.pipe(far);
    });
    far.pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `ws://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
