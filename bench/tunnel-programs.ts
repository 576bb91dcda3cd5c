/** The programs that are compared: the built command, OpenSSH's client, and autossh around it, each a process as people run them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { freePort, type Sshd } from "../test/support/sshd.ts";
import { dial } from "./tunnel-streams.ts";

/** A tunnel that is up. */
export interface Running extends AsyncDisposable {
  /** The process that was started. With autossh that is not the one that carries bytes. */
  readonly pid: number;
  /** Where the tunnel listens. */
  readonly port: number;
}

export interface Wanted {
  readonly sshd: Sshd;
  /** Where to reach it, if not at its own port. */
  readonly sshPort?: number;
  readonly direction: "remote" | "local";
  readonly targetPort: number;
  /** Further words of the command line. */
  readonly options?: readonly string[];
}

export type Start = (wanted: Wanted) => Promise<Running>;

/** `openclaw tunnel open` from the launcher at this path, with a home directory and state of its own. */
export function openclaw(launcher: string, home: string): Start {
  return (wanted) => {
    const { sshd, sshPort = sshd.port, options = [] } = wanted;
    const access = ["-i", sshd.identityFile, "--host-key-fingerprint", sshd.hostKeyFingerprint];
    const words = (forward: string) => {
      const destination = `${sshd.user}@${sshd.host}:${sshPort}`;
      return [launcher, "tunnel", "open", destination, flagFor(wanted), forward, ...access, "--json", ...options];
    };
    return start(process.execPath, words, wanted, { PATH: process.env["PATH"], HOME: home });
  };
}

/** `ssh -N`, as it comes but for what it must know to get in. */
export const ssh: Start = (wanted) => start("ssh", (forward) => sshWords(wanted, forward), wanted, {});

/** autossh without its own monitoring port, which its manual advises against where ssh watches the connection itself. */
export const autossh: Start = (wanted) =>
  start("autossh", (forward) => ["-M", "0", ...sshWords(wanted, forward)], wanted, { AUTOSSH_GATETIME: "0" });

function sshWords(wanted: Wanted, forward: string): string[] {
  const { sshd, sshPort = sshd.port, options = [] } = wanted;
  const settings = {
    BatchMode: "yes",
    IdentitiesOnly: "yes",
    // Another port is the same server behind a relay.
    HostKeyAlias: `[${sshd.host}]:${sshd.port}`,
    UserKnownHostsFile: sshd.knownHostsFile,
    ExitOnForwardFailure: "yes",
  };
  const words = ["-N", "-F", "none", "-i", sshd.identityFile, "-p", String(sshPort)];
  for (const [name, value] of Object.entries(settings)) words.push("-o", `${name}=${value}`);
  return [...words, ...options, flagFor(wanted), forward, `${sshd.user}@${sshd.host}`];
}

function flagFor({ direction }: Wanted): string {
  return direction === "remote" ? "-R" : "-L";
}

/** Starts it and waits until somebody who dials the listening port reaches the target. */
async function start(
  program: string,
  words: (forward: string) => readonly string[],
  { targetPort }: Wanted,
  env: NodeJS.ProcessEnv,
): Promise<Running> {
  const port = await freePort();
  const forward = `127.0.0.1:${port}:127.0.0.1:${targetPort}`;
  const child = spawn(program, words(forward), { env, stdio: ["ignore", "ignore", "pipe"] });
  const said: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => said.push(line));
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {});
  child.once("error", ended.reject);
  child.once("exit", (code) => ended.reject(new Error(`${program} ended with ${code}: ${said.join("; ")}`)));
  await Promise.race([usable(port, startPatienceMs), ended.promise]);
  return { pid: child.pid ?? 0, port, [Symbol.asyncDispose]: () => stop(child) };
}

const startPatienceMs = 20_000;

/** Dials until the target greets. */
export async function usable(port: number, patienceMs: number): Promise<void> {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    try {
      return void (await dial(port)).destroy();
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
    }
    await pause(1);
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill();
  await exited;
}
