/** What to prove oneself with to an SSH server, and in which order: agent, key files, password. */
import type { AnyAuthMethod, ParsedKey } from "ssh2";
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import { agentOfOneKey, listAgent } from "./agent.ts";
import type { AgentKey } from "./agent.ts";
import type { Deadline } from "./deadline.ts";
import { defaultIdentityFiles, readDefaultIdentity, readNamedIdentity, unlockIdentity } from "./identity-file.ts";
import type { IdentityFile, PassphraseSource, Unlocked } from "./identity-file.ts";
import { keyFingerprint } from "./known-hosts.ts";

export interface CredentialOptions extends PassphraseSource {
  /** Where `.ssh/id_ed25519` and its like are looked for. */
  readonly home: string;
  /** The value of `SSH_AUTH_SOCK`. */
  readonly agentSocket?: string;
  /** `-i`: tried first. The default files are then left alone. */
  readonly identityFiles?: readonly string[];
  /** Offer only keys that were named, so that a well-stocked agent does not use up the server's patience. */
  readonly identitiesOnly?: boolean;
  /** Answers `password`, and every hidden prompt of `keyboard-interactive`. */
  readonly password?: Secret;
}

/** One thing that was offered to the server, or the reason why it was not. */
export interface TriedCredential {
  readonly method: "publickey" | "keyboard-interactive" | "password";
  /** A path, or `agent` and the key's comment. */
  readonly name?: string;
  readonly fingerprint?: string;
  readonly problem?: string;
}

/** Everything one person can offer. Lives across reconnects, so that a key is read and unlocked only once. */
export class Credentials {
  readonly options: CredentialOptions;
  readonly #unlocked = new Map<string, ParsedKey>();
  #named: Promise<IdentityFile[]> | undefined;

  constructor(options: CredentialOptions) {
    this.options = options;
  }

  /** The files named with `-i`. Throws `usage` or `ssh-auth` when one cannot or must not be used. */
  async namedFiles(): Promise<IdentityFile[]> {
    this.#named ??= Promise.all((this.options.identityFiles ?? []).map(readNamedIdentity));
    return this.#named;
  }

  /** The unlocked key of a file, or why there is none. */
  async unlock(file: IdentityFile, source: PassphraseSource): Promise<Unlocked> {
    const known = this.#unlocked.get(file.text);
    if (known !== undefined) return { key: known };
    const unlocked = await unlockIdentity(file, source);
    if ("key" in unlocked) this.#unlocked.set(file.text, unlocked.key);
    return unlocked;
  }
}

/** One try to get in: hands out what to offer next, and remembers what was offered. */
export class Authentication {
  readonly tried: TriedCredential[] = [];
  /** The methods the server said it would take, last time it said so. */
  offered: readonly string[] = [];
  readonly #user: string;
  readonly #credentials: Credentials;
  readonly #deadline: Pick<Deadline, "offTheClock">;
  readonly #attempts: AsyncGenerator<AnyAuthMethod, undefined>;
  #usedAgent = false;
  #partly = false;

  constructor(user: string, credentials: Credentials, deadline: Pick<Deadline, "offTheClock">) {
    this.#user = user;
    this.#credentials = credentials;
    this.#deadline = deadline;
    this.#attempts = this.#inOrder();
  }

  /**
   * What to offer next, or undefined when nothing is left. `methods` is what the server still accepts (null before
   * it said so), `partly` whether the last offer was right but not enough (RFC 4252 § 5.1).
   */
  async next(methods: readonly string[] | null, partly: boolean | null): Promise<AnyAuthMethod | undefined> {
    if (methods !== null) this.offered = methods;
    if (partly === true) this.#partly = true;
    return (await this.#attempts.next()).value;
  }

  /** The failure that says what was tried and what the server would have taken. */
  refused(server: string): OpenClawError {
    const accepts = this.offered.join(", ") || "nothing";
    return this.#failure(`${server} refuses ${this.#user}: ${this.#summary()}; the server accepts ${accepts}`, {
      hint: "name a key the server knows with -i, load it into the agent, or give --password-file",
      server,
    });
  }

  /** The failure when the server hangs up in the middle, as it does after a handful of wrong keys (MaxAuthTries). */
  brokenOff(server: string, cause: Error): OpenClawError {
    return this.#failure(
      `${server} broke off the authentication of ${this.#user}: ${cause.message}; ${this.#summary()}`,
      {
        hint: "offer fewer keys: name the right one with -i",
        server,
        cause,
      },
    );
  }

  /** The failure when the server wants a new password before it goes on. */
  passwordExpired(server: string): OpenClawError {
    return this.#failure(`the password of ${this.#user} on ${server} has expired`, {
      hint: "set a new one there first, for example by logging in with ssh",
      server,
    });
  }

  #summary(): string {
    return this.tried.length > 0 ? `tried ${this.tried.map(describe).join("; ")}` : "there was nothing to try";
  }

  #failure(message: string, { hint, server, cause }: { hint: string; server: string; cause?: Error }): OpenClawError {
    const details = { user: this.#user, server, tried: this.tried, accepts: this.offered };
    return new OpenClawError("ssh-auth", message, { hint, details, cause });
  }

  async *#inOrder(): AsyncGenerator<AnyAuthMethod, undefined> {
    const username = this.#user;
    // Never accepted in practice, but the answer lists what is (as ssh(1) does).
    yield { type: "none", username };
    do {
      this.#partly = false;
      if (this.#accepts("publickey")) yield* this.#keys();
      const { password } = this.#credentials.options;
      if (password === undefined) continue;
      if (this.#accepts("keyboard-interactive")) {
        this.tried.push({ method: "keyboard-interactive" });
        yield { type: "keyboard-interactive", username, prompt: answerWith(password) };
      }
      if (this.#accepts("password")) {
        this.tried.push({ method: "password" });
        yield { type: "password", username, password: password.reveal() };
      }
    } while (this.#partly && this.#accepts("publickey"));
    return undefined;
  }

  /** Named files first, each through the agent if that holds it; then the agent's other keys, then the default files. */
  async *#keys(): AsyncGenerator<AnyAuthMethod> {
    const { identityFiles, identitiesOnly = false, home } = this.#credentials.options;
    const agentKeys = await this.#agentKeys();
    for (const file of await this.#credentials.namedFiles()) yield* this.#file(file, takeKey(agentKeys, file));
    const files = identityFiles === undefined ? await this.#defaultFiles(home) : [];
    const own = identitiesOnly ? files.flatMap((file) => takeKey(agentKeys, file) ?? []) : agentKeys.splice(0);
    for (const agentKey of own) yield* this.#agentKey(agentKey);
    for (const file of files) {
      if (!own.some(({ key }) => isSameKey(key, file))) yield* this.#file(file, undefined);
    }
  }

  async *#file(file: IdentityFile, agentKey: AgentKey | undefined): AsyncGenerator<AnyAuthMethod> {
    if (!this.#accepts("publickey")) return;
    if (agentKey !== undefined) {
      yield* this.#agentKey(agentKey, file.path);
      return;
    }
    const { passphrase, askPassphrase } = this.#credentials.options;
    const source = { passphrase, askPassphrase: this.#deadline.offTheClock(askPassphrase) };
    const unlocked = await this.#credentials.unlock(file, source);
    if ("problem" in unlocked) {
      this.tried.push({ method: "publickey", name: file.path, problem: unlocked.problem });
      return;
    }
    this.tried.push({ method: "publickey", name: file.path, fingerprint: keyFingerprint(unlocked.key.getPublicSSH()) });
    yield { type: "publickey", username: this.#user, key: unlocked.key };
  }

  async *#agentKey({ agent, key }: AgentKey, name = `agent: ${key.comment}`): AsyncGenerator<AnyAuthMethod> {
    if (!this.#accepts("publickey")) return;
    this.tried.push({ method: "publickey", name, fingerprint: keyFingerprint(key.getPublicSSH()) });
    this.#usedAgent = true;
    yield { type: "agent", username: this.#user, agent: await agentOfOneKey({ agent, key }) };
  }

  async #defaultFiles(home: string): Promise<IdentityFile[]> {
    const usable: IdentityFile[] = [];
    for (const path of defaultIdentityFiles(home)) {
      const file = await readDefaultIdentity(path);
      if (file === undefined) continue;
      if ("problem" in file) this.tried.push({ method: "publickey", name: path, problem: file.problem });
      else usable.push(file);
    }
    return usable;
  }

  async #agentKeys(): Promise<AgentKey[]> {
    const { agentSocket } = this.#credentials.options;
    if (agentSocket === undefined || agentSocket === "") return [];
    try {
      return await listAgent(agentSocket);
    } catch {
      this.tried.push({ method: "publickey", name: "agent", problem: `does not answer at ${agentSocket}` });
      return [];
    }
  }

  /** ssh2 does not pass on what the server answers to an agent's key, so after one the list of methods may be old. */
  #accepts(method: TriedCredential["method"]): boolean {
    return this.offered.includes(method) || (this.#usedAgent && method !== "publickey");
  }
}

/** Takes the agent's copy of a file's key out of the list, so that it is offered once. */
function takeKey(agentKeys: AgentKey[], file: IdentityFile): AgentKey | undefined {
  const at = agentKeys.findIndex(({ key }) => isSameKey(key, file));
  return at === -1 ? undefined : agentKeys.splice(at, 1)[0];
}

function isSameKey(key: ParsedKey, { publicBlob }: IdentityFile): boolean {
  return publicBlob !== undefined && key.getPublicSSH().equals(publicBlob);
}

/** Prompts that echo ask for something else than a password and get an empty answer. */
function answerWith(password: Secret) {
  return (
    _name: string,
    _instructions: string,
    _language: string,
    prompts: readonly { echo?: boolean }[],
    finish: (answers: string[]) => void,
  ): void => finish(prompts.map(({ echo }) => (echo === true ? "" : password.reveal())));
}

function describe({ method, name, fingerprint, problem }: TriedCredential): string {
  if (method !== "publickey") return method;
  return `key ${[name, fingerprint && `(${fingerprint})`, problem].filter(Boolean).join(" ")}`;
}
