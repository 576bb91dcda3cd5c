/** dropbear, the SSH server of small machines, as a child on loopback, with a user of its own for whom it lets in a throw-away key. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort, runTool } from "./sshd.ts";

export interface Dropbear extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly directory: string;
  /** The private key that is let in. */
  readonly identityFile: string;
  readonly knownHostsFile: string;
  /** Lets in another key. */
  authorize(publicKey: string): Promise<void>;
  /** Ends the server and its sessions; `restart` brings it back on the same port. */
  kill(): Promise<void>;
  restart(): Promise<void>;
}

const dropbearPath = "/usr/sbin/dropbear";

/**
 * Starts dropbear; resolves once it listens. Fails, and says what to install, where there is none. It reads keys only from the home
 * directory in the user database, so a user is made for the time being, which takes root.
 */
export async function startDropbear(...flags: string[]): Promise<Dropbear> {
  if (!existsSync(dropbearPath)) {
    throw new Error(`${dropbearPath} is missing: install it with apt-get install --no-install-recommends dropbear-bin`);
  }
  const directory = await mkdtemp(join(tmpdir(), "dropbear-"));
  await chmod(directory, 0o755);
  const [home, identityFile, hostKey] = ["home", "user", "host_key"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  const user = `oc-test-${randomBytes(4).toString("hex")}`;
  const authorizedKeys = join(home, ".ssh", "authorized_keys");
  await runTool("useradd", "--no-create-home", "--home-dir", home, "--shell", "/bin/sh", user);
  await mkdir(join(home, ".ssh"), { recursive: true });
  await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", identityFile);
  const authorize = async (publicKey: string) => {
    await writeFile(authorizedKeys, publicKey, { flag: "a", mode: 0o600 });
    await runTool("chown", "-R", user, home);
  };
  await authorize(await readFile(`${identityFile}.pub`, "utf8"));
  await runTool("dropbearkey", "-t", "ed25519", "-f", hostKey);
  const publicKey = /^ssh-ed25519 \S+/m.exec(await runTool("dropbearkey", "-y", "-f", hostKey))?.[0] ?? "";
  const port = await freePort();
  let child: ChildProcess | undefined;

  const start = async () => {
    // -F: in the foreground; -E: log to stderr; -s: no passwords; -m: no message of the day.
    const started = spawn(dropbearPath, ["-F", "-E", "-s", "-m", "-r", hostKey, "-p", `127.0.0.1:${port}`, ...flags], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const log: string[] = [];
    createInterface({ input: started.stderr }).on("line", (line) => {
      log.push(line);
      if (line.includes("Not backgrounding")) resolve();
    });
    started.once("exit", () => reject(new Error(`dropbear does not start: ${log.join("; ")}`)));
    await promise;
    child = started;
  };
  const kill = async () => {
    const running = child;
    child = undefined;
    if (running === undefined) return;
    const exited = new Promise((resolve) => running.once("exit", resolve));
    // Sessions are children that outlive the server.
    const sessions = (await runTool("ps", "-o", "pid=", "--ppid", String(running.pid)).catch(() => "")).split("\n");
    running.kill("SIGKILL");
    for (const pid of sessions.map(Number)) if (pid > 1) process.kill(pid, "SIGKILL");
    await exited;
  };

  await start();
  const knownHostsFile = join(directory, "known_hosts");
  await writeFile(knownHostsFile, `[127.0.0.1]:${port} ${publicKey}\n`);
  return {
    host: "127.0.0.1",
    port,
    user,
    directory,
    identityFile,
    knownHostsFile,
    authorize,
    kill,
    restart: start,
    async [Symbol.asyncDispose]() {
      await kill();
      await runTool("userdel", user);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
