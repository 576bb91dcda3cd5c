/** Where this machine's secrets are kept, the OS keychain or a 0600 file: which of them a new one goes to, and how one is got back. */
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { Secret } from "../secret.ts";
import type { Keychain } from "./keychain.ts";

export type StoreName = "keychain" | "file";

/** `--secret-store`, or the setting `secretStore`. `auto` is the keychain where one works, and files elsewhere. */
export type StoreChoice = "auto" | StoreName;

/** Where new secrets go, and why there. */
export interface Placement {
  readonly store: StoreName;
  readonly why: string;
}

/** A secret as one of our files holds it: itself, or the name of its keychain entry, with the digest that stands for it elsewhere. */
export const keptSecret = v.union([v.string(), v.object({ keychain: v.string(), digest: v.string() })]);
export type KeptSecret = v.InferOutput<typeof keptSecret>;

export interface SecretStoreOptions {
  /** What was chosen, and by what: `secretStore in …/config.json5`. Asked for when a place for a new secret is needed. */
  readonly choice: () => Promise<{ readonly choice: StoreChoice; readonly chosenBy: string }>;
  /** Made when it is needed: what talks to it costs milliseconds to load. */
  readonly keychain: () => Promise<Keychain>;
  readonly runtime: Pick<Runtime, "random" | "log">;
}

export class SecretStore {
  readonly #options: SecretStoreOptions;
  #placement: Promise<Placement> | undefined;
  /** What was read already: an entry's name changes with its content. */
  readonly #read = new Map<string, Secret>();

  constructor(options: SecretStoreOptions) {
    this.#options = options;
  }

  /** Where a machine without secrets begins to keep them. Looked for once; `state-unwritable` when the keychain is insisted on and does not work. */
  placement(): Promise<Placement> {
    this.#placement ??= this.#place();
    return this.#placement;
  }

  /** Writes a secret down so that it can be read back, and returns what stands for it in a file. `account` is unique for this content. */
  async keep(store: StoreName, account: string, secret: Secret): Promise<KeptSecret> {
    if (store === "file") return secret.reveal();
    await this.writeEntry(account, secret);
    return { keychain: account, digest: secret.digest() };
  }

  /** The secret itself. `state-unreadable` when its keychain is locked or away, or has no such entry; nothing is ever made in its place. */
  async reveal(kept: KeptSecret): Promise<Secret> {
    return typeof kept === "string" ? new Secret(kept) : this.readEntry(kept.keychain);
  }

  async readEntry(account: string): Promise<Secret> {
    const known = this.#read.get(account);
    if (known !== undefined) return known;
    const keychain = await this.#options.keychain();
    const secret = await keychain.read(account).catch((cause: unknown) => {
      throw keychainFailure("state-unreadable", "cannot be read", account, cause);
    });
    if (secret === undefined) throw missingEntry(account);
    this.#read.set(account, secret);
    return secret;
  }

  /** Writes an entry and reads it back: a keychain that lies is found out while the other copy is still there. */
  async writeEntry(account: string, secret: Secret): Promise<void> {
    const keychain = await this.#options.keychain();
    try {
      await keychain.write(account, secret);
      const kept = await keychain.read(account);
      if (kept?.reveal() !== secret.reveal()) throw new Error("it gave back something else than it was given");
    } catch (cause) {
      throw keychainFailure("state-unwritable", "cannot be written", account, cause);
    }
    this.#read.set(account, secret);
  }

  /** Removes an entry; `state-unwritable` when that is refused. */
  async removeEntry(account: string): Promise<void> {
    this.#read.delete(account);
    const keychain = await this.#options.keychain();
    await keychain.remove(account).catch((cause: unknown) => {
      throw keychainFailure("state-unwritable", "cannot be removed", account, cause);
    });
  }

  /** Why no keychain can be used now, or undefined when one works: it is written to, read and cleaned up again. */
  async probe(): Promise<string | undefined> {
    const account = `probe ${Buffer.from(this.#options.runtime.random(8)).toString("hex")}`;
    const written = new Secret(Buffer.from(this.#options.runtime.random(16)).toString("hex"));
    try {
      const keychain = await this.#options.keychain();
      await keychain.write(account, written);
      const read = await keychain.read(account);
      await keychain.remove(account);
      return read?.reveal() === written.reveal() ? undefined : "it gave back something else than it was given";
    } catch (error) {
      return reasonOf(error);
    }
  }

  /** Before anything is changed for its sake: `state-unwritable` when no keychain can be used now. */
  async assertKeychain(): Promise<void> {
    const problem = await this.probe();
    if (problem !== undefined) throw unusable(problem, "nothing was changed; unlock or start the keychain first");
  }

  async #place(): Promise<Placement> {
    const { choice, chosenBy } = await this.#options.choice();
    if (choice === "file") return { store: "file", why: `${chosenBy} says so` };
    const problem = await this.probe();
    if (problem === undefined) {
      return { store: "keychain", why: choice === "auto" ? "the keychain works" : `${chosenBy} says so` };
    }
    this.#options.runtime.log("debug", "no keychain", { problem });
    if (choice === "auto") return { store: "file", why: `no keychain can be used: ${problem}` };
    throw unusable(problem, `${chosenBy} insists on it; unlock or start the keychain, or choose --secret-store file`);
  }
}

/** A store of files alone, for state that is thrown away and for programs that have no keychain. */
export function fileStore(runtime: Runtime): SecretStore {
  return new SecretStore({
    choice: async () => ({ choice: "file", chosenBy: "this program" }),
    keychain: async () => {
      throw new Error("it is not looked for here");
    },
    runtime,
  });
}

function unusable(problem: string, hint: string): OpenClawError {
  return new OpenClawError("state-unwritable", `the keychain cannot be used: ${problem}`, {
    hint,
    details: { problem },
  });
}

function keychainFailure(
  code: "state-unreadable" | "state-unwritable",
  what: string,
  account: string,
  cause: unknown,
): OpenClawError {
  return new OpenClawError(code, `the keychain's entry "${account}" ${what}: ${reasonOf(cause)}`, {
    hint: "nothing was changed; unlock or start the keychain (log in to the desktop session that it belongs to), then run the same command again",
    details: { store: "keychain", entry: account },
    cause,
  });
}

function missingEntry(account: string): OpenClawError {
  return new OpenClawError("state-unreadable", `the keychain has no entry "${account}"`, {
    hint: "nothing was changed; it may be in the keychain of another user or session. If it is lost for good, move the file that names it away and pair again",
    details: { store: "keychain", entry: account },
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
