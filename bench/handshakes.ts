/**
 * Handshakes of approved devices: connect, upgrade, challenge, signature, token, hello-ok, close. No gateway can be faster than a bare
 * server that moves the same messages and verifies one Ed25519 signature each, 1 / (1/bare + 1/verify). The clients are plain `ws` ones, the
 * same on both sides, and count on both; what the servers' processors alone spent stands in the detail, because it flatters nobody.
 */
import { once } from "node:events";
import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import * as v from "valibot";
import { WebSocket } from "ws";
import { connectParams } from "../test/support/raw-client.ts";
import { type ApprovedDevice, connectOptions } from "./approved-devices.ts";
import { atLeast, atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Server } from "./servers.ts";

const rounds = 9;
const perRound = 600;
/** Below the gateway's limit of 32 sockets of one address that have not said who they are. */
const atOnce = 24;

/** Milliseconds that one handshake took: of the clock, and of the server's processor. */
interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

export async function compareHandshakes(
  servers: { readonly gateway: Server; readonly bare: Server },
  devices: readonly ApprovedDevice[],
): Promise<readonly Row[]> {
  const costs = await takeTurns<"gateway" | "bare" | "verify", Cost>(rounds, {
    gateway: () => shakeHands(servers.gateway, devices),
    bare: () => shakeHands(servers.bare, devices),
    verify: async () => verifySignatures(),
  });
  const of = (name: "gateway" | "bare" | "verify", pick: (cost: Cost) => number) =>
    median((costs.get(name) ?? []).map(pick));
  const shares = (pick: (cost: Cost) => number) => {
    const [gateway, bare, verifying] = [of("gateway", pick), of("bare", pick), of("verify", pick)];
    return { gateway, bare, verifying, ratio: (bare + verifying) / gateway };
  };
  const [wall, cpu] = [shares(({ wallMs }) => wallMs), shares(({ cpuMs }) => cpuMs)];
  const detail =
    `gateway ${(1 / wall.gateway).toFixed(2)} k/s, limit ${(1 / (wall.bare + wall.verifying)).toFixed(2)} k/s; of the processor ` +
    `${micros(cpu.gateway)}, bare ${micros(cpu.bare)}, verify ${micros(cpu.verifying)}: ${cpu.ratio.toFixed(2)}`;
  return [
    atLeast(0.85, "gateway: handshakes per second / 1/(1/bare ws + 1/verify)", wall.ratio, detail),
    await compareRefusals(servers.gateway, devices),
  ];
}

/** Who shows a wrong token must not cost more than who gets in. */
async function compareRefusals(gateway: Server, devices: readonly ApprovedDevice[]): Promise<Row> {
  const strangers = devices.map((device) => ({ ...device, tokens: { operator: "wrong", node: "wrong" } }));
  const costs = await takeTurns<"admitted" | "refused", Cost>(rounds, {
    admitted: () => shakeHands(gateway, devices),
    refused: () => shakeHands(gateway, strangers, '"ok":false'),
  });
  const of = (name: "admitted" | "refused") => median((costs.get(name) ?? []).map(({ cpuMs }) => cpuMs));
  const detail = `of the processor ${micros(of("refused"))}, admitted ${micros(of("admitted"))}`;
  return atMost(1, "gateway: a refused connection / an accepted one", of("refused") / of("admitted"), detail);
}

async function shakeHands(server: Server, devices: readonly ApprovedDevice[], answer = '"ok":true'): Promise<Cost> {
  const url = `ws://127.0.0.1:${server.ready.port}`;
  const before = await server.cpuMs();
  const startedAt = performance.now();
  let started = 0;
  const lane = async () => {
    while (started < perRound) {
      const device = devices[started++ % devices.length];
      if (device === undefined) throw new RangeError("no devices");
      await shakeHand(url, device, answer);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  const wallMs = performance.now() - startedAt;
  const after = await server.cpuMs();
  return { wallMs: wallMs / perRound, cpuMs: (after - before) / perRound };
}

const challenge = v.object({ payload: v.object({ nonce: v.string(), ts: v.number() }) });

/** One client's life. Against the bare server it does the very same work. */
async function shakeHand(url: string, device: ApprovedDevice, answer: string): Promise<void> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const closed = once(socket, "close");
  socket.once("message", (greeting) => {
    const { nonce, ts } = v.parse(challenge, JSON.parse(String(greeting))).payload;
    const params = connectParams(connectOptions(device, "node"), nonce, ts);
    socket.send(JSON.stringify({ type: "req", id: "1", method: "connect", params }));
    socket.once("message", (hello) => {
      if (!String(hello).includes(answer)) throw new Error(`the gateway answered ${String(hello)}`);
      socket.close(1000);
    });
  });
  await closed;
}

/** As many verifications as there are handshakes in a round, of a payload as long as what a device signs. */
function verifySignatures(): Cost {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const signed = randomBytes(320);
  const signature = sign(null, signed, privateKey);
  const startedAt = performance.now();
  for (let count = 0; count < perRound; count++) verify(null, signed, publicKey, signature);
  const wallMs = (performance.now() - startedAt) / perRound;
  return { wallMs, cpuMs: wallMs };
}

function micros(ms: number): string {
  return `${(ms * 1000).toFixed(0)} us`;
}
