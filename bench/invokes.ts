/** An invoke goes from an operator to a node and back, four messages through the gateway: beside the round trip to a bare server. */
import type WebSocket from "ws";
import type { Role } from "../src/protocol/vocabulary.ts";
import { RawClient } from "../test/support/raw-client.ts";
import { type ApprovedDevice, command, connectOptions } from "./approved-devices.ts";
import { atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Server } from "./servers.ts";
import { keepCoresAwake } from "./wakefulness.ts";

const rounds = 9;
const perRound = 400;

/** All clients are plain `ws` ones: what a round trip is made of is the same on both sides. */
export async function compareInvokes(gateway: Server, bare: Server, devices: readonly ApprovedDevice[]): Promise<Row> {
  const [operatorDevice, nodeDevice] = devices;
  if (operatorDevice === undefined || nodeDevice === undefined) throw new RangeError("an invoke takes two devices");
  const node = await connect(gateway, nodeDevice, "node");
  node.on("message", (data) => answerInvoke(String(data), node, nodeDevice.id));
  const operator = await connect(gateway, operatorDevice, "operator");
  const echo = (await RawClient.open(urlOf(bare))).socket;
  echo.removeAllListeners("message");

  using _awake = keepCoresAwake();
  let calls = 0;
  const nextInvoke = () => {
    const params = { nodeId: nodeDevice.id, command, params: {}, idempotencyKey: `bench-${++calls}` };
    return JSON.stringify({ type: "req", id: "1", method: "node.invoke", params });
  };
  const medians = await takeTurns(rounds, {
    invoke: () => timeTrips(operator, nextInvoke, isInvokeAnswer),
    roundTrip: () => timeTrips(echo, nextInvoke, () => true),
  });
  for (const socket of [node, operator, echo]) socket.terminate();
  const invokeMs = median(medians.get("invoke") ?? []);
  const roundTripMs = median(medians.get("roundTrip") ?? []);
  const detail = `invoke ${(invokeMs * 1000).toFixed(0)} us, bare ws round trip ${(roundTripMs * 1000).toFixed(0)} us`;
  return atMost(3, "gateway: invoke through a node, p50 / bare ws round trip", invokeMs / roundTripMs, detail);
}

/** The median time from a message to its answer, in milliseconds, one after the other. */
async function timeTrips(
  socket: WebSocket,
  nextText: () => string,
  isAnswer: (text: string) => boolean,
): Promise<number> {
  const times: number[] = [];
  let arrived = () => {};
  const hear = (data: WebSocket.RawData) => isAnswer(String(data)) && arrived();
  socket.on("message", hear);
  for (let trip = 0; trip < perRound; trip++) {
    const text = nextText();
    const startedAt = performance.now();
    await new Promise<void>((resolve) => {
      arrived = resolve;
      socket.send(text);
    });
    times.push(performance.now() - startedAt);
  }
  socket.off("message", hear);
  return median(times);
}

async function connect(server: Server, device: ApprovedDevice, role: Role): Promise<WebSocket> {
  const client = await RawClient.open(urlOf(server));
  const { ok, error } = await client.connect(connectOptions(device, role));
  if (ok !== true) throw new Error(`the gateway refused: ${JSON.stringify(error)}`);
  client.socket.removeAllListeners("message"); // nothing is recorded from here on
  return client.socket;
}

function urlOf({ ready }: Server): string {
  return `ws://127.0.0.1:${ready.port}`;
}

/** Events, such as presence, come in between. */
function isInvokeAnswer(text: string): boolean {
  if (!text.startsWith('{"type":"res"')) return false;
  if (text.includes('"ok":true')) return true;
  throw new Error(`the invoke failed: ${text}`);
}

const idBehind = /"node\.invoke\.request","payload":\{"id":"([^"]+)"/u;

/** Reads no more of an invoke than its id: what is measured is the gateway. */
function answerInvoke(text: string, node: WebSocket, nodeId: string): void {
  const id = idBehind.exec(text)?.[1];
  if (id === undefined) return;
  const params = { id, nodeId, ok: true, payloadJSON: '{"platform":"linux"}' };
  node.send(JSON.stringify({ type: "req", id, method: "node.invoke.result", params }));
}
