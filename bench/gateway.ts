/** The gateway beside a bare `ws` server: handshakes, calls, invokes, and the memory of a connection that only waits. */
import { join } from "node:path";
import { type ApprovedDevice, approveDevices } from "./approved-devices.ts";
import { compareCalls, healthRequest } from "./calls.ts";
import { connectDevice } from "./gateway-client.ts";
import { compareHandshakes } from "./handshakes.ts";
import { compareIdleMemory } from "./idle-memory.ts";
import { compareInvokes } from "./invokes.ts";
import type { Row } from "./row.ts";
import { startBareServer, startGatewayServer } from "./servers.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** As many as there are idle connections, so that each is a device of its own. */
const deviceCount = 1000;

export async function measureGateway(): Promise<readonly Row[]> {
  using directory = temporaryDirectory();
  const store = join(directory.path, "gateway.sqlite");
  const devices = await approveDevices(store, deviceCount);
  await using gateway = await startGatewayServer(store);
  const { challenge, hello, health } = await learnTexts(gateway.ready.port, devices);
  await using greeter = await startBareServer({ greeting: challenge, reply: hello });
  await using answerer = await startBareServer({ reply: health });
  await using echo = await startBareServer({});
  return [
    ...(await compareHandshakes({ gateway, bare: greeter }, devices)),
    await compareCalls(gateway, answerer, devices),
    await compareInvokes(gateway, echo, devices),
    await compareIdleMemory(gateway, greeter, devices),
  ];
}

/** What the gateway says, for the bare servers to say it too: then both sides move the same bytes. */
async function learnTexts(port: number, [device]: readonly ApprovedDevice[]) {
  if (device === undefined) throw new RangeError("no devices");
  const { client: node, challenge, hello } = await connectDevice(port, device, "node");
  const { promise, resolve } = Promise.withResolvers<string>();
  const hear = (payload: Buffer) => payload.includes('"type":"res"') && resolve(payload.toString());
  const { client: operator } = await connectDevice(port, device, "operator", hear);
  operator.send(healthRequest);
  const health = await promise;
  await Promise.all([node.close(), operator.close()]);
  return { challenge, hello, health };
}
