/** A keychain of files, for tests that end a process in the middle of a question to it. */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Secret } from "../../src/secret.ts";
import { systemRuntime } from "../../src/runtime.ts";
import type { Keychain } from "../../src/state/keychain.ts";
import { SecretStore } from "../../src/state/secret-store.ts";

export class FileKeychain implements Keychain {
  readonly #directory: string;
  readonly #between: () => void;

  /** `between` is called before and after every question. */
  constructor(directory: string, between: () => void = () => {}) {
    this.#directory = directory;
    this.#between = between;
  }

  read(account: string): Promise<Secret | undefined> {
    return this.#answer(async () => {
      const text = await readFile(this.#path(account), "utf8").catch(() => undefined);
      return text === undefined ? undefined : new Secret(text);
    });
  }

  write(account: string, secret: Secret): Promise<void> {
    return this.#answer(async () => {
      await mkdir(this.#directory, { recursive: true });
      await writeFile(this.#path(account), secret.reveal());
    });
  }

  remove(account: string): Promise<void> {
    return this.#answer(() => rm(this.#path(account), { force: true }));
  }

  async #answer<Result>(question: () => Promise<Result>): Promise<Result> {
    this.#between();
    const result = await question();
    this.#between();
    return result;
  }

  #path(account: string): string {
    return join(this.#directory, encodeURIComponent(account));
  }
}

/** A store that keeps new secrets in this keychain. */
export function keychainStore(keychain: Keychain): SecretStore {
  return new SecretStore({
    choice: async () => ({ choice: "keychain", chosenBy: "the test" }),
    keychain: async () => keychain,
    runtime: systemRuntime,
  });
}
