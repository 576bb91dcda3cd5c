/** The servers that the gateway's benchmarks compare, each in a process of its own. */
import type { Serializable } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { type ServerProcess, startServer } from "./server-process.ts";

export type Server = ServerProcess<{ readonly port: number }>;

/** Our gateway on the database file at `store`. */
export function startGatewayServer(store: string): Promise<Server> {
  return start(new URL("./gateway-server.ts", import.meta.url), { store });
}

/** A bare `ws` server: it says `greeting` first, if there is one, and answers every message with `reply`, or with the message itself. */
export function startBareServer(texts: { readonly greeting?: string; readonly reply?: string }): Promise<Server> {
  return start(new URL("./bare-server.ts", import.meta.url), texts);
}

const ready = v.object({ port: v.number() });

function start(module: URL, task: Serializable): Promise<Server> {
  return startServer(fileURLToPath(module), task, (message) => v.parse(ready, message));
}
