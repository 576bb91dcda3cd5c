/** Whether somebody listens, told by the system itself: no connection is made, so nobody is disturbed. */
import { access, open } from "node:fs/promises";
import { systemCode } from "../errors.ts";
import { shellWord } from "../shell-word.ts";
import type { ForwardTarget } from "../ssh/destination.ts";
import type { ServerShell } from "../ssh/server-shell.ts";

/** The system gives a table page by page (proc(5)); more room than that would be made for nothing, each time. */
const pageBytes = 4096;

/** Where Linux lists who listens, and what the row of one looks like there: a regular expression, for grep -E too. */
interface Listener {
  /** The first is always there; a system without IPv6 has no table of it. */
  readonly tables: readonly [string, ...string[]];
  readonly row: string;
}

/**
 * Whether anything listens at the target on this machine; undefined where the system does not say (another machine,
 * not Linux).
 */
export async function isListeningHere(target: ForwardTarget): Promise<boolean | undefined> {
  if (target.type === "unix" && (await isMissing(target.path))) return false;
  const listener = listenerOf(target);
  if (listener === undefined) return undefined;
  const row = new RegExp(listener.row, "m");
  const [table, ...others] = listener.tables;
  const first = await holds(table, row);
  if (first !== false) return first;
  for (const other of others) if (await holds(other, row)) return true;
  return false;
}

/** The same on the machine of a shell. */
export async function isListeningThere(shell: ServerShell, target: ForwardTarget): Promise<boolean | undefined> {
  const listener = listenerOf(target);
  if (listener === undefined) return undefined;
  const { tables, row } = listener;
  const search = `grep -Eqs -e ${shellWord(row)} ${tables.join(" ")}`;
  const answer = await shell.ask(`if [ -r ${tables[0]} ]; then ${search}; else (exit 9); fi`);
  switch (answer?.status) {
    case 0:
      return true;
    case 1:
    case 2: // a table is missing
      return false;
    default:
      return undefined;
  }
}

/**
 * Columns of proc(5): `0A` is the state LISTEN (tcp_states.h), `00010000` the flag of a unix socket that listens (__SO_ACCEPTCON). Addresses
 * are words of 32 bits as a little-endian machine holds them.
 */
function listenerOf(target: ForwardTarget): Listener | undefined {
  if (target.type === "unix") {
    const { path } = target;
    if (!/^\/[ -~]+$/.test(path)) return undefined; // as it is bound; in ASCII, which everybody writes alike
    const escaped = path.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    return { tables: ["/proc/net/unix"], row: ` 00010000 0001 01 +[0-9]+ ${escaped}$` };
  }
  const addresses = listeningAddresses(target.host.toLowerCase());
  if (addresses.length === 0) return undefined;
  const port = target.port.toString(16).toUpperCase().padStart(4, "0");
  return { tables: ["/proc/net/tcp", "/proc/net/tcp6"], row: ` (${addresses.join("|")}):${port} [0-9A-F]+:0000 0A` };
}

/** Addresses, as the tables have them, of sockets that answer for a name of this machine; none for other names. */
function listeningAddresses(host: string): string[] {
  const [all, allOverIpv6, loopbackOverIpv6] = ["0{8}", "0{32}", "0{24}01000000"];
  if (host === "localhost") return [...listeningAddresses("127.0.0.1"), loopbackOverIpv6];
  if (host === "::1") return [loopbackOverIpv6, allOverIpv6];
  if (!/^127(?:\.\d{1,3}){3}$/.test(host)) return [];
  const bytes = host.split(".").map((byte) => Number(byte).toString(16).toUpperCase().padStart(2, "0"));
  const address = bytes.toReversed().join("");
  return [address, all, allOverIpv6, `0{16}FFFF0000(${address}|${all})`];
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
      const endOfLines = text.lastIndexOf("\n") + 1;
      if (row.test(text.slice(0, endOfLines))) return true;
      unfinished = text.slice(endOfLines);
    }
  } catch {
    return undefined;
  }
}
