/**
 * Handshakes of approved devices: upgrade, challenge, signature, token, hello-ok, close. No gateway can be faster than a bare server that
 * moves the same messages and verifies one Ed25519 signature each, 1 / (1/bare + 1/verify), and a good one is almost that fast. That
 * limit is measured as it is written, by a bare server that verifies: what a processor does next to a busy neighbour is not what it does
 * alone. It is counted in the servers' CPU time: by the clock, on two cores, it is often the clients that all three wait for.
 */
import type { ApprovedDevice } from "./approved-devices.ts";
import { connectDevice } from "./gateway-client.ts";
import { atLeast, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Server } from "./servers.ts";

const rounds = 9;
const perRound = 1200;
/** Below the gateway's limit of 32 sockets of one address that have not said who they are. */
const atOnce = 24;

/** Milliseconds that one handshake took: of the clock, and of the server's processor. */
interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** `limit` is a bare server that verifies, `bare` one that does not: it is there to be looked at. */
export async function compareHandshakes(
  servers: { readonly gateway: Server; readonly limit: Server; readonly bare: Server },
  devices: readonly ApprovedDevice[],
): Promise<Row> {
  const costs = await takeTurns(rounds, {
    gateway: () => shakeHands(servers.gateway, devices),
    limit: () => shakeHands(servers.limit, devices),
    bare: () => shakeHands(servers.bare, devices),
  });
  const of = (name: keyof typeof servers, pick: (cost: Cost) => number) => median((costs.get(name) ?? []).map(pick));
  const cpu = ({ cpuMs }: Cost) => cpuMs;
  const wall = ({ wallMs }: Cost) => wallMs;
  const figures = (name: keyof typeof servers) =>
    `${name} ${(of(name, cpu) * 1000).toFixed(0)} us (${(1 / of(name, wall)).toFixed(2)} k/s by the clock)`;
  return atLeast(
    0.85,
    "gateway: handshakes per second of its CPU / 1/(1/bare ws + 1/verify)",
    of("limit", cpu) / of("gateway", cpu),
    `${figures("gateway")}, ${figures("limit")}, ${figures("bare")}`,
  );
}

async function shakeHands(server: Server, devices: readonly ApprovedDevice[]): Promise<Cost> {
  const { port } = server.ready;
  const before = await server.cpuMs();
  const startedAt = performance.now();
  let started = 0;
  const lane = async () => {
    while (started < perRound) {
      const device = devices[started++ % devices.length];
      if (device === undefined) throw new RangeError("no devices");
      const { client } = await connectDevice(port, device, "node");
      await client.close();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  const wallMs = performance.now() - startedAt;
  const after = await server.cpuMs();
  return { wallMs: wallMs / perRound, cpuMs: (after - before) / perRound };
}
