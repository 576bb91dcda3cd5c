/** Whether somebody listens on this machine, told by the system itself: no connection is made, so nobody is disturbed. */
import { access, open } from "node:fs/promises";
import { systemCode } from "../errors.ts";
import type { ForwardTarget } from "../ssh/destination.ts";

const loopbackNames = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i;

/** The system gives a table page by page (proc(5)); more room than that would be made for nothing, each time. */
const pageBytes = 4096;

/**
 * Whether anything listens on the target's port, whatever its address; undefined where the system does not say (another machine, not
 * Linux, a unix socket whose file is there). From /proc/net/tcp and tcp6: `0A` is the state LISTEN (proc(5), tcp_states.h).
 */
export async function isListeningHere(target: ForwardTarget): Promise<boolean | undefined> {
  if (target.type === "unix") return (await isMissing(target.path)) ? false : undefined;
  if (!loopbackNames.test(target.host)) return undefined;
  const port = target.port.toString(16).toUpperCase().padStart(4, "0");
  const listens = new RegExp(`:${port} [0-9A-F]+:0000 0A`);
  const overIpv4 = await holds("/proc/net/tcp", listens);
  if (overIpv4 !== false) return overIpv4;
  // A system without IPv6 has no table of it.
  return (await holds("/proc/net/tcp6", listens)) ?? false;
}

async function isMissing(path: string): Promise<boolean> {
  const code = await access(path).then(() => undefined, systemCode);
  return code === "ENOENT" || code === "ENOTDIR";
}

/**
 * Whether a line of the table matches; undefined when there is no such table to be read. Read no further than to the match: Linux names those who
 * listen first, and a busy machine has thousands of others.
 */
async function holds(path: string, row: RegExp): Promise<boolean | undefined> {
  try {
    await using table = await open(path);
    const page = Buffer.alloc(pageBytes);
    let unfinished = "";
    for (;;) {
      const { bytesRead } = await table.read(page);
      if (bytesRead === 0) return false;
      const text = unfinished + page.toString("latin1", 0, bytesRead);
      if (row.test(text)) return true;
      unfinished = text.slice(text.lastIndexOf("\n") + 1);
    }
  } catch {
    return undefined;
  }
}
