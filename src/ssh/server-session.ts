/**
 * The server's side of our SSH connection: which process serves it, so that a later connection can end it when the network has lost it
 * and it still holds our port.
 */
import type { Client } from "ssh2";
import { ServerShell } from "./server-shell.ts";

export interface ServerSession {
  readonly pid: number;
  /** What the server's system says about that process: when it began, and what it is. */
  readonly identity: string;
}

/** What serves one connection of OpenSSH (sshd-session since 9.8) or dropbear. */
const serverNames = /\b(?:sshd|sshd-session|dropbear)\b/;

/**
 * Runs the first command of a connection. OpenSSH's server turns its own Nagle's algorithm off when that starts, and keeps it for
 * connections that only forward: 43 ms for a channel to open. Resolves with what serves the connection; undefined when the server
 * refuses commands, which makes it slower, or does not say.
 */
export async function firstCommand(client: Client): Promise<ServerSession | undefined> {
  const shell = new ServerShell(client);
  const asked = shell.ask(`echo $PPID; ${identify("$PPID")}`);
  shell.end();
  const [line = "", ...identity] = (await asked)?.output.split("\n") ?? [];
  const session = { pid: Number(line), identity: told(identity.join("\n")) };
  return isServer(session) ? session : undefined;
}

/**
 * Ends the process that served an earlier connection of ours, if it is still that very process. Resolves true when it was told to, or is
 * gone; false when the server did not run the commands, or not before the connection was lost.
 */
export async function endSession(client: Client, { pid, identity }: ServerSession): Promise<boolean> {
  const shell = new ServerShell(client);
  try {
    const now = await shell.ask(identify(`${pid}`));
    if (now === undefined) return false;
    if (told(now.output) !== identity) return true;
    // One that was stopped hears of it when it goes on.
    return (await shell.ask(`kill ${pid} && { kill -CONT ${pid}; true; }`))?.status === 0;
  } finally {
    shell.end();
  }
}

/**
 * Milliseconds from a question to its answer; undefined when there was none. The question is to cancel a forward that was never asked for,
 * which every server answers and none acts on (RFC 4254 § 7.1).
 */
export async function askRoundTrip(client: Client): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  const startedAtMs = performance.now();
  const gone = () => resolve(undefined);
  try {
    client.once("close", gone);
    client.unforwardIn("localhost", 0, () => resolve(performance.now() - startedAtMs));
    return await promise;
  } catch {
    return undefined;
  } finally {
    client.off("close", gone);
  }
}

function isServer({ pid, identity }: ServerSession): boolean {
  return Number.isSafeInteger(pid) && pid > 1 && serverNames.test(identity);
}

/** A shell command that describes a process: from /proc, or by ps where there is none. */
function identify(pid: string): string {
  return `cat /proc/${pid}/stat 2>/dev/null || ps -o lstart= -o comm= -p ${pid}`;
}

/** The parts of a description that never change: name and start of the process. Of /proc/<pid>/stat, fields 2 and 22 (proc(5)). */
function told(description: string): string {
  const match = /^\d+ (\(.*\)) (.*)/.exec(description.trim());
  if (match === null) return description.trim();
  return `${match[1] ?? ""} ${match[2]?.split(" ")[19] ?? ""}`;
}
