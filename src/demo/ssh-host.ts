/** The SSH server between the two gateways: OpenSSH's own where it is installed, ours in this process where it is not. */
import { type ChildProcess, spawn } from "node:child_process";
import { access, constants, mkdir, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { generateSshKey } from "../ssh/ssh-key.ts";
import { startSshServer } from "../ssh/ssh-server.ts";

export interface SshHost extends AsyncDisposable {
  readonly kind: "openssh" | "in-process";
  readonly user: string;
  readonly port: number;
  /** The private key that this server lets in, throw-away like everything here. */
  readonly identityFile: string;
  /** `ssh-ed25519 AAAA…`: the server's own key. */
  readonly hostKey: string;
}

export interface SshHostOptions {
  /** For its keys and configuration; made if it is missing. */
  readonly directory: string;
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
  /** Where OpenSSH's server is looked for. */
  readonly sshdPaths?: readonly string[] | undefined;
}

const usualSshdPaths = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/** Starts an SSH server on a free loopback port with keys that are made for it. */
export async function startSshHost({
  directory,
  runtime,
  signal,
  sshdPaths = usualSshdPaths,
}: SshHostOptions): Promise<SshHost> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const client = generateSshKey("openclaw-demo");
  const identityFile = join(directory, "id_ed25519");
  await writeFile(identityFile, client.privateKey.reveal(), { mode: 0o600 });
  const sshd = await findSshd(sshdPaths);
  if (sshd !== undefined) {
    const host = await startOpenSsh(sshd, directory, client.publicKey, runtime, signal);
    if (host !== undefined) return { ...host, identityFile };
  }
  const server = await startSshServer({ authorizedKey: client.publicKey });
  return {
    kind: "in-process",
    user: userInfo().username,
    port: server.port,
    identityFile,
    hostKey: server.hostKeyLine.split(" ").slice(1).join(" "),
    [Symbol.asyncDispose]: () => server.close(),
  };
}

async function findSshd(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}

/** Undefined when this sshd does not come up here (some refuse to run without their system directories). */
async function startOpenSsh(
  sshd: string,
  directory: string,
  authorizedKey: string,
  runtime: Runtime,
  signal: AbortSignal,
): Promise<Omit<SshHost, "identityFile"> | undefined> {
  const hostKey = generateSshKey("openclaw-demo-host");
  const path = (name: string) => join(directory, name);
  await writeFile(path("host_key"), hostKey.privateKey.reveal(), { mode: 0o600 });
  await writeFile(path("authorized_keys"), `${authorizedKey}\n`, { mode: 0o600 });
  const port = await freePort();
  const config = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${path("host_key")}`,
    `AuthorizedKeysFile ${path("authorized_keys")}`,
    `PidFile ${path("sshd.pid")}`,
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "AllowTcpForwarding yes",
    "PermitRootLogin prohibit-password",
  ];
  await writeFile(path("sshd_config"), `${config.join("\n")}\n`, { mode: 0o600 });
  // sshd insists on this directory when it runs as root.
  if (process.getuid?.() === 0) await mkdir("/run/sshd", { recursive: true, mode: 0o755 });
  const child = spawn("/bin/sh", ["-c", tiedToStdin, sshd, "-D", "-e", "-f", path("sshd_config")], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  const killAtOnce = () => void child.kill("SIGKILL");
  process.once("exit", killAtOnce);
  child.once("close", () => process.off("exit", killAtOnce));
  await using started = new AsyncDisposableStack();
  started.defer(() => end(child));
  if (!(await answers(child, port, runtime, signal))) return undefined;
  const running = started.move();
  return {
    kind: "openssh",
    user: userInfo().username,
    port,
    hostKey: hostKey.publicKey,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/**
 * Runs a program of somebody else's, `$0`, in place of the shell, beside a watcher that ends it when standard input ends: the system closes
 * our end of that pipe however we end. The watcher alone keeps standard output open, so that `close` tells of the end of both.
 */
const tiedToStdin = `
exec 3<&0 </dev/null
{ read -r _ <&3; kill $$; } 2>/dev/null &
exec "$0" "$@" >/dev/null 3<&-
`;

const startDeadlineMs = 5000;
const pollMs = 50;

/** True once something accepts on the port; false when the child ends or takes too long. */
async function answers(child: ChildProcess, port: number, runtime: Runtime, signal: AbortSignal): Promise<boolean> {
  const giveUpAtMs = runtime.now() + startDeadlineMs;
  let hasEnded = false;
  child.once("close", () => (hasEnded = true));
  child.once("error", () => (hasEnded = true));
  while (!hasEnded && runtime.now() < giveUpAtMs) {
    if (await accepts(port)) return true;
    await runtime.sleep(pollMs, signal);
  }
  return false;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address() as AddressInfo | null;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null) throw new OpenClawError("failed", "the system gave no free port");
  return address.port;
}

function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("close", () => resolve());
    child.kill("SIGTERM");
  });
}
