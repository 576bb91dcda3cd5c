/**
 * The server's side of our SSH connection: which process serves it, so that a later connection can end it when the network has lost it
 * and it still holds our port.
 */
import type { Client, ClientChannel } from "ssh2";

export interface ServerSession {
  readonly pid: number;
  /** What the server's system says about that process: when it began, and what it is. */
  readonly identity: string;
}

const answerLimitBytes = 4096;
/** Ends an answer that may be empty. */
const asked = "=asked";
/** What serves one connection of OpenSSH (sshd-session since 9.8) or dropbear. */
const serverNames = /\b(?:sshd|sshd-session|dropbear)\b/;

/**
 * Runs the first command of a connection. OpenSSH's server turns its own Nagle's algorithm off when that starts, and keeps it for
 * connections that only forward: 43 ms for a channel to open. Without a terminal, so that no login is recorded. Resolves with what
 * serves the connection; undefined when the server refuses commands, which makes it slower, or does not say.
 */
export async function firstCommand(client: Client): Promise<ServerSession | undefined> {
  // `exec` in every shell makes sh the direct child of what serves us, so that $PPID names that.
  const answer = await run(client, `exec sh -c 'echo $PPID; ${identify("$PPID")}'`);
  const [line = "", ...identity] = answer.split("\n");
  const session = { pid: Number(line), identity: told(identity.join("\n")) };
  return isServer(session) ? session : undefined;
}

/**
 * Ends the process that served an earlier connection of ours, if it is still that very process. Resolves true when it was told to, or is
 * gone; false when the server did not run the commands, or not before the connection was lost.
 */
export async function endSession(client: Client, { pid, identity }: ServerSession): Promise<boolean> {
  const [now = "", end] = (await run(client, `exec sh -c '${identify(String(pid))}; echo ${asked}'`)).split(asked);
  if (end === undefined) return false;
  if (told(now) !== identity) return true;
  const answer = await run(client, `exec sh -c 'kill ${pid} && echo ended'`);
  return answer.startsWith("ended");
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

/** What a command prints; nothing when the server does not run it. */
async function run(client: Client, command: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const listen = (channel: ClientChannel) => {
    let answer = "";
    channel.on("data", (chunk: Buffer) => {
      if (answer.length < answerLimitBytes) answer += chunk.toString("latin1");
    });
    channel.stderr.resume();
    channel.on("error", () => {}).once("close", () => resolve(answer));
  };
  try {
    client.once("close", () => resolve(""));
    client.exec(command, (error, channel) => {
      if (error === undefined) listen(channel);
      else resolve("");
    });
  } catch {
    resolve(""); // lost already, which whoever uses the connection is told
  }
  return promise;
}
