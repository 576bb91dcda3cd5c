/** Calls on one connection, as many in flight as fit, beside a bare server that answers with the same text. */
import type { ApprovedDevice } from "./approved-devices.ts";
import { connectDevice } from "./gateway-client.ts";
import { LeanClient, textFrame } from "./lean-client.ts";
import { atLeast, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Server } from "./servers.ts";

const rounds = 9;
const perRound = 20_000;
const inFlight = 200;

export const healthRequest = textFrame(JSON.stringify({ type: "req", id: "123456", method: "health" }));

export async function compareCalls(gateway: Server, bare: Server, [device]: readonly ApprovedDevice[]): Promise<Row> {
  if (device === undefined) throw new RangeError("no devices");
  let answered = () => {};
  /** Events, such as presence, come in between. */
  const hear = (payload: Buffer) => payload.includes('"type":"res"') && answered();
  const ours = (await connectDevice(gateway.ready.port, device, "operator", hear)).client;
  const reference = await LeanClient.open(bare.ready.port, hear);
  const callMany = (client: LeanClient) => async (): Promise<number> => {
    const startedAt = performance.now();
    await new Promise<void>((resolve) => {
      let sent = inFlight;
      let answers = 0;
      answered = () => {
        if (++answers === perRound) return resolve();
        if (sent >= perRound || answers % (inFlight / 2) > 0) return undefined;
        sent += inFlight / 2;
        client.send(someRequests);
        return undefined;
      };
      client.send(someRequests);
      client.send(someRequests);
    });
    return perRound / (performance.now() - startedAt);
  };
  const rates = await takeTurns(rounds, { gateway: callMany(ours), bare: callMany(reference) });
  await Promise.all([ours.close(), reference.close()]);
  const gatewayRate = median(rates.get("gateway") ?? []);
  const bareRate = median(rates.get("bare") ?? []);
  const detail = `gateway ${gatewayRate.toFixed(1)} k/s, bare ws ${bareRate.toFixed(1)} k/s`;
  return atLeast(0.8, "gateway: calls per second on one connection / bare ws", gatewayRate / bareRate, detail);
}

const someRequests = Buffer.concat(Array.from({ length: inFlight / 2 }, () => healthRequest));
