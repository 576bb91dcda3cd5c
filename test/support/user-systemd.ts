/**
 * systemd's user manager for real: a process of the test's own, with a home and a runtime directory of its own, in a mount namespace in which
 * the machine looks as if systemd had started it, and in a control group of its own. Needs root, as namespaces and control groups do.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { binPath, CliHome } from "./run-cli.ts";

const program = "/lib/systemd/systemd";

/** sd_booted(3) looks for the directory; the manager makes the control groups of its units below its own. */
const script = `
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$1"
echo $$ > "/sys/fs/cgroup/$1/cgroup.procs"
exec ${program} --user --log-target=console --log-level=info
`;

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The JSON document on standard output; undefined when there is none. */
  readonly json: unknown;
}

/** A machine on which a user is logged in. Disposing of it stops every service and ends the manager. */
export class UserSystemd extends CliHome implements AsyncDisposable {
  readonly runtimeDir = this.path("run");
  readonly unitDir = this.path(".config", "systemd", "user");
  readonly #group = `openclaw-test-${process.pid}-${Math.trunc(performance.now() * 1000)}`;
  #manager: ChildProcess | undefined;
  #said = "";

  static async start(env: Readonly<Record<string, string | undefined>> = {}): Promise<UserSystemd> {
    if (!existsSync(program)) {
      throw new Error(`${program} is missing: install it with apt-get install --no-install-recommends systemd`);
    }
    const machine = new UserSystemd();
    await machine.#start(env);
    return machine;
  }

  override env(more: Readonly<Record<string, string | undefined>> = {}): Readonly<Record<string, string | undefined>> {
    return super.env({ XDG_RUNTIME_DIR: this.runtimeDir, ...more });
  }

  /** Runs a program as the user who is logged in does, in their session. */
  finish(
    words: readonly string[],
    { stdin = "", env = {} }: { readonly stdin?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<Finished> {
    const inside = ["--target", String(this.#manager?.pid), "--mount", "--", ...words];
    return new Promise((resolve) => {
      const child = execFile("nsenter", inside, { env: this.env(env) }, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        resolve({ code, stdout, stderr, json: /^\{[^\n]*\}\n$/u.test(stdout) ? JSON.parse(stdout) : undefined });
      });
      // Who ends without reading has closed its end.
      child.stdin?.on("error", () => {}).end(stdin);
    });
  }

  /** Runs one of our commands there, however slow the machine is; `line` has no quotes in it. */
  openclaw(line: string, options: Parameters<UserSystemd["finish"]>[1] = {}): Promise<Finished> {
    const words = line.includes("--timeout") ? line : `${line} --timeout 40s`;
    return this.finish([process.execPath, binPath, ...words.split(" ")], options);
  }

  /** What `systemctl show` says of one property of a unit. */
  async property(unit: string, name: string): Promise<string> {
    const { stdout } = await this.finish(["systemctl", "--user", "show", unit, "--value", `--property=${name}`]);
    return stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    this[Symbol.dispose]();
  }

  async #start(env: Readonly<Record<string, string | undefined>>): Promise<void> {
    mkdirSync(this.runtimeDir, { mode: 0o700 });
    mkdirSync(this.unitDir, { recursive: true });
    // The units that other packages have put up for every user are none of ours, nor is a bus that takes the place of the test's.
    for (const unit of ["dbus.socket", "dbus.service"]) symlinkSync("/dev/null", join(this.unitDir, unit));
    writeFileSync(this.path("manager.sh"), script);
    // A test that is killed takes it along.
    const words = ["--pdeathsig", "TERM", "unshare", "--mount", "sh", this.path("manager.sh"), this.#group];
    const manager = spawn("setpriv", words, {
      env: this.env({ SYSTEMD_UNIT_PATH: `${this.unitDir}:/usr/lib/systemd/user`, ...env }),
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#manager = manager;
    manager.stderr.setEncoding("utf8").on("data", (text: string) => void (this.#said += text));
    const isGone = () => manager.exitCode !== null || manager.signalCode !== null;
    while ((await this.property("default.target", "ActiveState")) !== "active") {
      if (isGone()) throw new Error(`the user manager does not start: ${this.#said}`);
      await delay(20);
    }
  }

  /** SIGTERM stops the units first (systemd(1)); what is left in its control group afterwards is ended by its pid. */
  async #stop(): Promise<void> {
    const manager = this.#manager;
    if (manager === undefined) return;
    if (manager.exitCode === null && manager.signalCode === null) {
      const ended = once(manager, "exit");
      manager.kill("SIGTERM");
      await ended;
    }
    for (const root of ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]) await removeGroup(join(root, this.#group));
  }
}

async function removeGroup(path: string): Promise<void> {
  if (!existsSync(join(path, "cgroup.procs"))) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeGroup(join(path, entry.name));
  }
  const members = () => readFileSync(join(path, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  while (members().length > 0) {
    for (const pid of members()) process.kill(pid, "SIGKILL");
    await delay(10);
  }
  rmdirSync(path);
}
