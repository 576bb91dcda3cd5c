/**
 * Handshakes of approved devices: upgrade, challenge, signature, token, hello-ok, close. A gateway cannot be faster than a bare server
 * that moves the same messages and then verifies one Ed25519 signature each, 1 / (1/bare + 1/verify), and should be almost that fast.
 */
import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import type { ApprovedDevice } from "./approved-devices.ts";
import { connectDevice } from "./gateway-client.ts";
import { atLeast, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Server } from "./servers.ts";

const rounds = 7;
const perRound = 1200;
/** Below the gateway's limit of 32 sockets of one address that have not said who they are. */
const atOnce = 24;

/** Milliseconds that one handshake took: of the clock, and of the server's processor. */
interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

export async function compareHandshakes(gateway: Server, bare: Server, devices: readonly ApprovedDevice[]): Promise<Row> {
  const costs = await takeTurns(rounds, {
    gateway: () => shakeHands(gateway, devices),
    bare: () => shakeHands(bare, devices),
    verify: async () => verifyCost(),
  });
  const of = (name: "gateway" | "bare" | "verify", pick: (cost: Cost) => number) => median((costs.get(name) ?? []).map(pick));
  const cpu = ({ cpuMs }: Cost) => cpuMs;
  const wall = ({ wallMs }: Cost) => wallMs;
  const ratio = (pick: (cost: Cost) => number) => (of("bare", pick) + of("verify", pick)) / of("gateway", pick);
  const perSecond = (ms: number) => `${(1 / ms).toFixed(2)} k/s`;
  const detail =
    `gateway ${perSecond(of("gateway", cpu))}, bare ws ${perSecond(of("bare", cpu))}, verify ${perSecond(of("verify", cpu))}` +
    ` by the clock ${ratio(wall).toFixed(2)}: gateway ${perSecond(of("gateway", wall))}, bare ws ${perSecond(of("bare", wall))}`;
  return atLeast(0.85, "gateway: handshakes per second of CPU / 1/(1/bare ws + 1/verify)", ratio(cpu), detail);
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

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
/** As long as what a device signs. */
const signed = randomBytes(320);
const signature = sign(null, signed, privateKey);

function verifyCost(): Cost {
  const times = 500;
  const startedAt = performance.now();
  const before = process.cpuUsage();
  for (let time = 0; time < times; time++) verify(null, signed, publicKey, signature);
  const { user, system } = process.cpuUsage(before);
  return { wallMs: (performance.now() - startedAt) / times, cpuMs: (user + system) / 1000 / times };
}
