/** The gateway beside a bare `ws` server: handshakes, calls, invokes, and the memory of a connection that only waits. */
import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import * as v from "valibot";
import { type ApprovedDevice, approveDevices, command } from "./approved-devices.ts";
import { connectDevice } from "./gateway-client.ts";
import { LeanClient, textFrame } from "./lean-client.ts";
import { atLeast, atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import { type ServerProcess, startServer, type Usage } from "./server-process.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** As many as there are idle connections, so that each is a device of its own. */
const devices = 1000;

/** Below the gateway's limit of 32 sockets of one address that have not said who they are. */
const handshakesAtOnce = 24;

export async function measureGateway(): Promise<readonly Row[]> {
  using directory = temporaryDirectory();
  const store = join(directory.path, "gateway.sqlite");
  const approved = await approveDevices(store, devices);
  await using gateway = await start("./gateway-server.ts", { store });
  const words = await learnWords(gateway.ready.port, approved);
  await using greeter = await start("./bare-server.ts", { greeting: words.challenge, reply: words.hello });
  await using answerer = await start("./bare-server.ts", { reply: words.healthAnswer });
  await using echo = await start("./bare-server.ts", {});
  return [
    await compareHandshakes(gateway, greeter, approved),
    await compareCalls(gateway, answerer, approved),
    await compareInvokes(gateway, echo, approved),
    await compareMemory(gateway, greeter, approved),
  ];
}

type Server = ServerProcess<{ readonly port: number }>;

const ready = v.object({ port: v.number() });

function start(module: string, task: unknown): Promise<Server> {
  return startServer(fileURLToPath(new URL(module, import.meta.url)), task, (message) => v.parse(ready, message));
}
