/** Whether somebody listens on this machine, told by the system itself: no connection is made, so nobody is disturbed. */
import { readFile } from "node:fs/promises";
import type { ForwardTarget } from "../ssh/destination.ts";

const loopbackNames = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i;

/**
 * Whether anything listens on the target's port, whatever its address; undefined where the system does not say (another machine, a
 * unix socket, not Linux). From /proc/net/tcp and tcp6: `0A` is the state LISTEN (proc(5), tcp_states.h).
 */
export async function isListeningHere(target: ForwardTarget): Promise<boolean | undefined> {
  if (target.type !== "tcp" || !loopbackNames.test(target.host)) return undefined;
  const port = target.port.toString(16).toUpperCase().padStart(4, "0");
  const listens = new RegExp(`:${port} [0-9A-F]+:0000 0A`);
  const tables = await Promise.all(["tcp", "tcp6"].map(readTable));
  if (tables[0] === undefined) return undefined;
  return tables.some((table) => table !== undefined && listens.test(table));
}

/** A system without IPv6 has no table of it. */
function readTable(name: string): Promise<string | undefined> {
  return readFile(`/proc/net/${name}`, "latin1").catch(() => undefined);
}
