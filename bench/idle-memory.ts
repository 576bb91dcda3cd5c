/** What a connection costs that is authenticated and waits, beside one to a bare server: heap and external memory after a garbage collection. */
import type { ApprovedDevice } from "./approved-devices.ts";
import { connectDevice } from "./gateway-client.ts";
import { atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Server } from "./servers.ts";

const rounds = 5;
/** Below the gateway's limit of 32 sockets of one address that have not said who they are. */
const atOnce = 24;

/** Bytes per connection. */
interface Weight {
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export async function compareIdleMemory(
  gateway: Server,
  bare: Server,
  devices: readonly ApprovedDevice[],
): Promise<Row> {
  const weights = await takeTurns(rounds, {
    gateway: () => weigh(gateway, devices),
    bare: () => weigh(bare, devices),
  });
  const of = (name: "gateway" | "bare", pick: (weight: Weight) => number) =>
    median((weights.get(name) ?? []).map(pick));
  const heap = ({ heapBytes }: Weight) => heapBytes;
  const resident = ({ residentBytes }: Weight) => residentBytes;
  const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`;
  const detail =
    `gateway ${kib(of("gateway", heap))}, bare ws ${kib(of("bare", heap))};` +
    ` resident ${kib(of("gateway", resident))}, ${kib(of("bare", resident))}`;
  const name = `gateway: heap and external memory of each of ${devices.length} idle connections / bare ws`;
  return atMost(1.3, name, of("gateway", heap) / of("bare", heap), detail);
}

async function weigh(server: Server, devices: readonly ApprovedDevice[]): Promise<Weight> {
  const before = await server.memory();
  const waiting = devices.values();
  const clients = (
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        const mine = [];
        for (const device of waiting) mine.push((await connectDevice(server.ready.port, device, "node")).client);
        return mine;
      }),
    )
  ).flat();
  const after = await server.memory();
  await Promise.all(clients.map((client) => client.close()));
  return {
    heapBytes: (after.heapBytes - before.heapBytes) / clients.length,
    residentBytes: (after.residentBytes - before.residentBytes) / clients.length,
  };
}
