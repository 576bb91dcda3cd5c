/** OpenSSH's own server and its tools as children on loopback, with throw-away keys in a throw-away directory. */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

export interface Sshd extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** A temporary directory for this server: keys, and whatever a test puts there. Removed at the end. */
  readonly directory: string;
  /** The private key that is let in. */
  readonly identityFile: string;
  /** Lists the server's Ed25519 key for `host` and `port`. */
  readonly knownHostsFile: string;
  readonly hostKeyFingerprint: string;
  /** The server's log so far, one line an entry. */
  readonly log: readonly string[];
  /** Resolves with the first line of the log, past or to come, that matches. */
  logged(pattern: RegExp): Promise<string>;
  /** How many processes serve connections. */
  sessions(): Promise<number>;
  /** Kills the processes that serve connections; the server goes on. */
  killSessions(): Promise<void>;
  /** Ends the server and its sessions; `restart` brings it back on the same port. */
  kill(): Promise<void>;
  restart(): Promise<void>;
}

export interface SshdOptions {
  /** Further lines for sshd_config. */
  readonly config?: readonly string[];
  /** Further types of host keys besides Ed25519. */
  readonly hostKeyTypes?: readonly ("rsa" | "ecdsa")[];
  /** Where it listens; loopback unless told otherwise. */
  readonly address?: string;
  /** A program and its arguments that start it, such as one that enters a network namespace. */
  readonly wrapper?: readonly string[];
}

const sshdPath = "/usr/sbin/sshd";
const sshAgentPath = "/usr/bin/ssh-agent";
const run = promisify(execFile);

/** Runs a program to its end; throws with its output when it fails. */
export async function runTool(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(program, args);
  return stdout;
}

/** Starts sshd; resolves once it listens. Fails, and says what to install, where there is none. */
export async function startSshd({
  config = [],
  hostKeyTypes = [],
  address = "127.0.0.1",
  wrapper = [],
}: SshdOptions = {}): Promise<Sshd> {
  if (!existsSync(sshdPath)) {
    throw new Error(`${sshdPath} is missing: install it with apt-get install --no-install-recommends openssh-server`);
  }
  const directory = await mkdtemp(join(tmpdir(), "sshd-"));
  // The empty directory sshd locks itself into; distributions create it when the service starts.
  if (process.getuid?.() === 0) await mkdir("/run/sshd", { recursive: true });
  const inside = (name: string) => join(directory, name);
  const types = ["ed25519", ...hostKeyTypes];
  for (const type of types) await runTool("ssh-keygen", "-q", "-t", type, "-N", "", "-f", inside(`host_${type}`));
  await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", inside("user"));
  await writeFile(inside("authorized_keys"), await readFile(inside("user.pub")));
  const [keyType = "", keyBase64 = ""] = (await readFile(inside("host_ed25519.pub"), "utf8")).split(" ");

  const log: string[] = [];
  const watchers = new Set<(line: string) => void>();
  let port = 0;
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    for (let attempt = 0; attempt < 5; attempt++) {
      port ||= await freePort();
      await writeFile(inside("sshd_config"), configLines(port).join("\n"));
      const [program, ...words] = [...wrapper, sshdPath, "-D", "-e", "-f", inside("sshd_config")];
      const started = spawn(program ?? sshdPath, words, {
        stdio: ["ignore", "ignore", "pipe"],
      });
      const listening = Promise.withResolvers<boolean>();
      createInterface({ input: started.stderr }).on("line", (line) => {
        log.push(line);
        for (const watch of watchers) watch(line);
        if (line.startsWith("Server listening on")) listening.resolve(true);
      });
      started.once("exit", () => listening.resolve(false));
      if (await listening.promise) {
        child = started;
        return;
      }
      port = 0;
    }
    throw new Error(`sshd does not start: ${log.join("; ")}`);
  };
  // The first value of an option is the one that counts.
  const configLines = (onPort: number) => [
    ...config,
    `Port ${onPort}`,
    `ListenAddress ${address}`,
    ...types.map((type) => `HostKey ${inside(`host_${type}`)}`),
    `AuthorizedKeysFile ${inside("authorized_keys")}`,
    "PidFile none",
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "AllowTcpForwarding yes",
    "PermitRootLogin yes",
    "LogLevel VERBOSE",
    // Commands run in bash, which takes one of level 2 or deeper for no login and leaves the person's own start files alone.
    "SetEnv SHLVL=1",
    "",
  ];
  const killSessions = async () => {
    for (const pid of await descendants(child?.pid ?? 0)) endProcess(pid);
  };
  const kill = async () => {
    const running = child;
    child = undefined;
    if (running === undefined) return;
    const exited = new Promise((resolve) => running.once("exit", resolve));
    const sessions = await descendants(running.pid ?? 0);
    running.kill("SIGKILL");
    for (const pid of sessions) endProcess(pid);
    await exited;
  };

  await start();
  await writeFile(inside("known_hosts"), `[127.0.0.1]:${port} ${keyType} ${keyBase64}\n`);
  const digest = createHash("sha256").update(Buffer.from(keyBase64, "base64")).digest("base64").replace(/=+$/, "");
  return {
    host: "127.0.0.1",
    get port() {
      return port;
    },
    user: userInfo().username,
    directory,
    identityFile: inside("user"),
    knownHostsFile: inside("known_hosts"),
    hostKeyFingerprint: `SHA256:${digest}`,
    log,
    async logged(pattern) {
      const seen = log.find((line) => pattern.test(line));
      if (seen !== undefined) return seen;
      const { promise, resolve } = Promise.withResolvers<string>();
      const watch = (line: string) => pattern.test(line) && resolve(line);
      watchers.add(watch);
      return promise.finally(() => watchers.delete(watch));
    },
    sessions: async () => (await descendants(child?.pid ?? 0)).length,
    killSessions,
    kill,
    restart: start,
    async [Symbol.asyncDispose]() {
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface SshAgent extends AsyncDisposable {
  /** What `SSH_AUTH_SOCK` would be. */
  readonly socketPath: string;
  add(identityFile: string): Promise<void>;
}

/** Starts ssh-agent, empty. */
export async function startSshAgent(directory: string): Promise<SshAgent> {
  const socketPath = join(directory, "agent.sock");
  const child = spawn(sshAgentPath, ["-D", "-a", socketPath], { stdio: ["ignore", "pipe", "ignore"] });
  // It prints its address once it listens.
  await new Promise((resolve, reject) => child.once("error", reject).stdout.once("data", resolve));
  return {
    socketPath,
    async add(identityFile) {
      await run("ssh-add", ["-q", identityFile], { env: { ...process.env, SSH_AUTH_SOCK: socketPath } });
    },
    async [Symbol.asyncDispose]() {
      const exited = new Promise((resolve) => child.once("exit", resolve));
      child.kill();
      await exited;
    },
  };
}

/** A loopback port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** The pids of every process below one, from /proc. */
async function descendants(pid: number): Promise<number[]> {
  const children: number[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, "utf8").catch(() => "");
    // The command name, in parentheses, may hold anything; the parent's pid is the second field after it.
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    if (parent === pid && pid !== 0) children.push(Number(entry));
  }
  const below = await Promise.all(children.map(descendants));
  return [...children, ...below.flat()];
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}
