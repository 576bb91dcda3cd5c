/** A keychain for real: gnome-keyring on a session bus of its own, in a home of its own. It can be locked, frozen and gone. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { systemRuntime } from "../../src/runtime.ts";
import { OsKeychain } from "../../src/state/keychain.ts";
import { SecretStore, type StoreChoice } from "../../src/state/secret-store.ts";
import { killNow } from "./run-script.ts";

export class Keyring implements AsyncDisposable {
  readonly #home = mkdtempSync(join(tmpdir(), "keyring-"));
  #bus: ChildProcess | undefined;
  #daemon: ChildProcess | undefined;
  #address = "";

  /** A bus, and a keyring on it that was opened with its password. */
  static async start(): Promise<Keyring> {
    const keyring = new Keyring();
    await keyring.#startBus();
    await keyring.unlock();
    return keyring;
  }

  /** What a process needs to find it. */
  get env(): Readonly<Record<string, string | undefined>> {
    const { PATH } = process.env;
    return { PATH, DBUS_SESSION_BUS_ADDRESS: this.#address };
  }

  keychain(deadlineMs = 5_000): OsKeychain {
    return new OsKeychain({ env: this.env, deadlineMs });
  }

  store(choice: StoreChoice = "auto", deadlineMs?: number): SecretStore {
    return new SecretStore({
      choice: async () => ({ choice, chosenBy: "the test" }),
      keychain: async () => this.keychain(deadlineMs),
      runtime: systemRuntime,
    });
  }

  async unlock(): Promise<void> {
    await this.#startDaemon(["--unlock"], "the keyring's password");
    while ((await this.store().probe()) !== undefined) await delay(20);
  }

  /** The same entries, and nobody there to type the password. */
  async lock(): Promise<void> {
    await this.#startDaemon([], "");
    const isThere = async () => {
      const problem = await this.store().probe();
      return problem !== undefined && !/ServiceUnknown|not provided by any|no result/iu.test(problem);
    };
    while (!(await isThere())) await delay(20);
  }

  /** It holds its name on the bus and answers nothing. */
  freeze(): void {
    this.#daemon?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#daemon?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of [this.#daemon, this.#bus]) if (child !== undefined) await killNow(child);
    rmSync(this.#home, { recursive: true, force: true });
  }

  /** Without service directories: nothing is started because somebody asked for it. */
  async #startBus(): Promise<void> {
    const config = join(this.#home, "bus.conf");
    writeFileSync(
      config,
      `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=${join(this.#home, "bus")}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
    );
    const bus = spawn("dbus-daemon", [`--config-file=${config}`, "--nofork", "--print-address"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#bus = bus;
    const [address] = await once(createInterface({ input: bus.stdout }), "line");
    this.#address = String(address);
  }

  async #startDaemon(flags: readonly string[], password: string): Promise<void> {
    if (this.#daemon !== undefined) await killNow(this.#daemon);
    for (const name of ["data", "run", "cache"]) mkdirSync(join(this.#home, name), { recursive: true, mode: 0o700 });
    const daemon = spawn("gnome-keyring-daemon", ["--foreground", "--components=secrets", ...flags], {
      env: {
        ...this.env,
        HOME: this.#home,
        XDG_DATA_HOME: join(this.#home, "data"),
        XDG_RUNTIME_DIR: join(this.#home, "run"),
        XDG_CACHE_HOME: join(this.#home, "cache"),
      },
      stdio: ["pipe", "ignore", "ignore"],
    });
    daemon.stdin.on("error", () => {}).end(password);
    this.#daemon = daemon;
  }
}
