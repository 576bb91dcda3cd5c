/** An invoke goes from an operator to a node and back, four messages through the gateway: beside the round trip of a bare server. */
import * as v from "valibot";
import { type ApprovedDevice, command } from "./approved-devices.ts";
import { connectDevice } from "./gateway-client.ts";
import { LeanClient, textFrame } from "./lean-client.ts";
import { atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Server } from "./servers.ts";

const rounds = 9;
const perRound = 300;

export async function compareInvokes(gateway: Server, bare: Server, devices: readonly ApprovedDevice[]): Promise<Row> {
  const [operatorDevice, nodeDevice] = devices;
  if (operatorDevice === undefined || nodeDevice === undefined) throw new RangeError("an invoke takes two devices");
  const node = (await connectDevice(gateway.ready.port, nodeDevice, "node", answerInvoke)).client;
  let arrived: (payload: Buffer) => void = () => {};
  const operator = (await connectDevice(gateway.ready.port, operatorDevice, "operator", (payload) => arrived(payload))).client;
  const echo = await LeanClient.open(bare.ready.port, (payload) => arrived(payload));

  const roundTrips = (client: LeanClient, nextText: () => string, isAnswer: (payload: Buffer) => boolean) => async () => {
    const times: number[] = [];
    for (let trip = 0; trip < perRound; trip++) {
      const frame = textFrame(nextText());
      const startedAt = performance.now();
      await new Promise<void>((resolve) => {
        arrived = (payload) => isAnswer(payload) && resolve();
        client.send(frame);
      });
      times.push(performance.now() - startedAt);
    }
    return median(times);
  };
  let calls = 0;
  const nextInvoke = () => {
    const params = { nodeId: nodeDevice.id, command, params: {}, idempotencyKey: `bench-${++calls}` };
    return JSON.stringify({ type: "req", id: "1", method: "node.invoke", params });
  };
  const medians = await takeTurns(rounds, {
    invoke: roundTrips(operator, nextInvoke, isInvokeAnswer),
    roundTrip: roundTrips(echo, nextInvoke, () => true),
  });
  await Promise.all([node.close(), operator.close(), echo.close()]);
  const invokeMs = median(medians.get("invoke") ?? []);
  const roundTripMs = median(medians.get("roundTrip") ?? []);
  const detail = `invoke ${(invokeMs * 1000).toFixed(0)} us, bare ws round trip ${(roundTripMs * 1000).toFixed(0)} us`;
  return atMost(3, "gateway: invoke through a node, p50 / bare ws round trip", invokeMs / roundTripMs, detail);
}

/** Events, such as presence, come in between. */
function isInvokeAnswer(payload: Buffer): boolean {
  if (!payload.includes('"type":"res"')) return false;
  if (payload.includes('"ok":true')) return true;
  throw new Error(`the invoke failed: ${payload.toString()}`);
}

const invokeRequest = v.object({
  event: v.literal("node.invoke.request"),
  payload: v.object({ id: v.string(), nodeId: v.string() }),
});

function answerInvoke(payload: Buffer, node: LeanClient): void {
  const read = v.safeParse(invokeRequest, JSON.parse(payload.toString()));
  if (!read.success) return;
  const { id, nodeId } = read.output.payload;
  const params = { id, nodeId, ok: true, payloadJSON: '{"platform":"linux"}' };
  node.send(textFrame(JSON.stringify({ type: "req", id, method: "node.invoke.result", params })));
}
