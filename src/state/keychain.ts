/** The OS keychain: entries of this program by name, each question asked in a process of its own that has a deadline. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { Secret } from "../secret.ts";

/** Where secrets may be kept besides files. Every method rejects with `KeychainFailure`, and none waits for ever. */
export interface Keychain {
  /** The entry's secret, or undefined when there is no such entry. */
  read(account: string): Promise<Secret | undefined>;
  /** Makes the entry, or replaces it. */
  write(account: string, secret: Secret): Promise<void>;
  /** Removes the entry; one that is not there is removed already. */
  remove(account: string): Promise<void>;
}

/** Why a keychain did not do what it was asked: in its own words, or that it said nothing in time. */
class KeychainFailure extends Error {
  override readonly name = "KeychainFailure";
}

export interface KeychainQuestion {
  readonly action: "read" | "write" | "remove";
  readonly service: string;
  readonly account: string;
  readonly secret?: string;
}

const keychainAnswer = v.variant("ok", [
  v.object({ ok: v.literal(true), secret: v.nullable(v.string()) }),
  v.object({ ok: v.literal(false), message: v.string() }),
]);
export type KeychainAnswer = v.InferOutput<typeof keychainAnswer>;

export interface OsKeychainOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds for each question. */
  readonly deadlineMs: number;
  /** Ends a question that is waiting. */
  readonly signal?: AbortSignal;
}

/** Under which name the entries stand in the keychain. */
const service = "openclaw-toolkit";

/** The keychain of this user's session: Keychain on macOS, Credential Manager on Windows, a Secret Service on Linux. */
export class OsKeychain implements Keychain {
  readonly #options: OsKeychainOptions;

  constructor(options: OsKeychainOptions) {
    this.#options = options;
  }

  async read(account: string): Promise<Secret | undefined> {
    const secret = await this.#ask({ action: "read", service, account });
    return secret === null ? undefined : new Secret(secret);
  }

  async write(account: string, secret: Secret): Promise<void> {
    await this.#ask({ action: "write", service, account, secret: secret.reveal() });
  }

  async remove(account: string): Promise<void> {
    await this.#ask({ action: "remove", service, account });
  }

  async #ask(question: KeychainQuestion): Promise<string | null> {
    const { env, deadlineMs, signal } = this.#options;
    if (signal?.aborted === true) throw new KeychainFailure("asked to stop");
    if (hasNoSessionBus(env)) throw new KeychainFailure("there is no D-Bus session, and so no Secret Service");
    const child = spawn(process.execPath, [keychainProcess], {
      env,
      stdio: ["pipe", "pipe", "pipe"],
      windowsHide: true,
    });
    const kill = () => void child.kill("SIGKILL");
    process.once("exit", kill);
    signal?.addEventListener("abort", kill, { once: true });
    let isLate = false;
    const deadline = setTimeout(() => {
      isLate = true;
      kill();
    }, deadlineMs);
    try {
      child.stdin.on("error", () => {}).end(JSON.stringify(question));
      const [printed] = await Promise.all([text(child.stdout), text(child.stderr), ended(child)]);
      if (isLate) throw new KeychainFailure(`it did not answer within ${deadlineMs} ms; it may wait to be unlocked`);
      return secretIn(printed);
    } finally {
      clearTimeout(deadline);
      process.off("exit", kill);
      signal?.removeEventListener("abort", kill);
    }
  }
}

/** Beside this file, in the sources and in the package. */
const keychainProcess = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./keychain-process.ts" : "./keychain-process.cjs", import.meta.url),
);

function ended(child: ReturnType<typeof spawn>): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once("close", () => resolve());
    child.once("error", (cause) => reject(new KeychainFailure("its process cannot be started", { cause })));
  });
}

function secretIn(printed: string): string | null {
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), keychainAnswer), printed);
  if (!read.success) throw new KeychainFailure("its process ended without an answer");
  if (!read.output.ok) throw new KeychainFailure(plain(read.output.message));
  return read.output.secret;
}

/** Without a bus nobody can be asked: known at once, and without a process. The well-known place is the one of systemd (sd_bus_default(3)). */
function hasNoSessionBus(env: OsKeychainOptions["env"]): boolean {
  if (process.platform !== "linux" || env["DBUS_SESSION_BUS_ADDRESS"]) return false;
  const runtimeDir = env["XDG_RUNTIME_DIR"];
  return !runtimeDir || !existsSync(join(runtimeDir, "bus"));
}

/** One line, as the end of a sentence of ours. */
function plain(message: string): string {
  return message.split("\n")[0]?.replace(/^(?:Platform failure|Couldn't access platform storage): /u, "") ?? message;
}
