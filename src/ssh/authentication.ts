/** One try to get into an SSH server: what to offer next, and what was offered (RFC 4252). */
import type { AnyAuthMethod, KeyboardInteractiveAuthMethod } from "ssh2";
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import { agentOfOneKey } from "./agent.ts";
import type { AgentKey } from "./agent.ts";
import { answerAttempts, Answers } from "./answers.ts";
import { authMethods, isSameKey } from "./credentials.ts";
import type { AuthMethod, Credentials } from "./credentials.ts";
import type { Deadline } from "./deadline.ts";
import { defaultIdentityFiles, readDefaultIdentity } from "./identity-file.ts";
import type { IdentityFile } from "./identity-file.ts";
import { keyFingerprint } from "./known-hosts.ts";

/** One thing that was offered to the server, or the reason why it was not. */
export interface TriedCredential {
  readonly method: AuthMethod;
  /** A path, or `agent` and the key's comment. */
  readonly name?: string;
  readonly fingerprint?: string;
  readonly problem?: string;
}

/** Hands out what to offer next, and remembers what was offered. */
export class Authentication {
  readonly tried: TriedCredential[] = [];
  /** The methods the server said it would take, last time it said so. */
  offered: readonly string[] = [];
  readonly #user: string;
  readonly #credentials: Credentials;
  readonly #deadline: Pick<Deadline, "offTheClock">;
  readonly #attempts: AsyncGenerator<AnyAuthMethod, undefined>;
  readonly #answers: Answers;
  readonly #accepted = new Map<string, Secret>();
  #usedAgent = false;
  #partly = false;

  /** `where` is the server's address, for questions. */
  constructor(user: string, credentials: Credentials, deadline: Pick<Deadline, "offTheClock">, where: string) {
    this.#user = user;
    this.#credentials = credentials;
    this.#deadline = deadline;
    this.#answers = new Answers(credentials, `${user}@${where}`, deadline.offTheClock(credentials.options.askAnswer));
    this.#attempts = this.#inOrder();
  }

  /**
   * What to offer next, or undefined when nothing is left. `methods` is what the server still accepts (null before
   * it said so), `partly` whether the last offer was right but not enough (RFC 4252 § 5.1).
   */
  async next(methods: readonly string[] | null, partly: boolean | null): Promise<AnyAuthMethod | undefined> {
    if (methods !== null) this.offered = methods;
    if (partly === true) this.#succeed();
    return (await this.#attempts.next()).value;
  }

  /** To be called when the server let us in: what a person answered is good for the next time. */
  done(): void {
    this.#succeed();
    this.#credentials.remember(this.#accepted);
  }

  /** The failure that says what was tried and what the server would have taken; `usage` where only an answer was missing. */
  refused(server: string): OpenClawError {
    if (this.#lacksAnswer()) {
      return new OpenClawError("usage", `${server} wants a password of ${this.#user}, and there is nobody to ask`, {
        hint: "give it with --password-file",
        details: { user: this.#user, server, accepts: this.offered },
      });
    }
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

  /** Nothing was refused: there was only nobody to say what the server wanted to know. */
  #lacksAnswer(): boolean {
    const { password, askAnswer } = this.#credentials.options;
    const wantsAnswer = this.offered.length > 0 && !this.offered.includes("publickey");
    return wantsAnswer && this.tried.length === 0 && password === undefined && askAnswer === undefined;
  }

  #summary(): string {
    return this.tried.length > 0 ? `tried ${this.tried.map(describe).join("; ")}` : "there was nothing to try";
  }

  #failure(message: string, { hint, server, cause }: { hint: string; server: string; cause?: Error }): OpenClawError {
    const details = { user: this.#user, server, tried: this.tried, accepts: this.offered };
    return new OpenClawError("ssh-auth", message, { hint, details, cause });
  }

  #succeed(): void {
    this.#partly = true;
    for (const [question, answer] of this.#answers.given) this.#accepted.set(question, answer);
  }

  async *#inOrder(): AsyncGenerator<AnyAuthMethod, undefined> {
    const { methods = authMethods } = this.#credentials.options;
    // Never accepted in practice, but the answer lists what is (as ssh(1) does).
    yield { type: "none", username: this.#user };
    do {
      this.#partly = false;
      for (const method of methods) yield* this.#by(method);
    } while (this.#partly && methods.some((method) => this.#accepts(method)));
    return undefined;
  }

  #by(method: AuthMethod): AsyncGenerator<AnyAuthMethod> {
    switch (method) {
      case "publickey":
        return this.#keys();
      case "keyboard-interactive":
        return this.#interactive();
      case "password":
        return this.#password();
    }
  }

  async *#interactive(): AsyncGenerator<AnyAuthMethod> {
    const prompt: KeyboardInteractiveAuthMethod["prompt"] = (name, instructions, _language, prompts, finish) => {
      // Answers that cannot be had are empty, which the server refuses: a failure of its own is not needed.
      this.#answers.all(name, instructions, prompts).then(finish, () => finish(prompts.map(() => "")));
    };
    for (let attempt = 0; attempt < answerAttempts && this.#isOpenFor("keyboard-interactive"); attempt++) {
      if (!this.#answers.begin(attempt)) return;
      this.tried.push({ method: "keyboard-interactive" });
      yield { type: "keyboard-interactive", username: this.#user, prompt };
      // A server that asks nothing will not ask the next time.
      if (!this.#answers.wasAsked) return;
    }
  }

  async *#password(): AsyncGenerator<AnyAuthMethod> {
    for (let attempt = 0; attempt < answerAttempts && this.#isOpenFor("password"); attempt++) {
      const password = this.#answers.begin(attempt) ? await this.#answers.password() : undefined;
      if (password === undefined) return;
      this.tried.push({ method: "password" });
      yield { type: "password", username: this.#user, password: password.reveal() };
    }
  }

  /** Named files first, each through the agent if that holds it; then the agent's other keys, then the default files. */
  async *#keys(): AsyncGenerator<AnyAuthMethod> {
    if (!this.#accepts("publickey")) return;
    this.#answers.given.clear();
    const {
      identityFiles,
      configuredFiles,
      certificateFiles = [],
      identitiesOnly = false,
      home,
    } = this.#credentials.options;
    const agentKeys = await this.#agentKeys();
    const isNamed = identityFiles !== undefined || configuredFiles !== undefined;
    const named = [...(await this.#credentials.namedFiles()), ...(await this.#filesIn(configuredFiles ?? [], true))];
    for (const file of named) yield* this.#file(file, takeKey(agentKeys, file));
    const files = isNamed ? [] : await this.#filesIn(defaultIdentityFiles(home), false);
    const own = identitiesOnly ? files.flatMap((file) => takeKey(agentKeys, file) ?? []) : agentKeys.splice(0);
    for (const agentKey of own) yield* this.#agentKey(agentKey);
    for (const file of files) {
      if (!own.some(({ key }) => isSameKey(key, file))) yield* this.#file(file, undefined);
    }
    for (const name of certificateFiles) this.tried.push({ method: "publickey", name, problem: noCertificates });
  }

  async *#file(file: IdentityFile, agentKey: AgentKey | undefined): AsyncGenerator<AnyAuthMethod> {
    if (!this.#accepts("publickey")) return;
    if (agentKey === undefined) yield* this.#unlocked(file);
    else yield* this.#agentKey(agentKey, file.path);
    const { certificate: name } = file;
    if (name !== undefined) this.tried.push({ method: "publickey", name, problem: noCertificates });
  }

  async *#unlocked(file: IdentityFile): AsyncGenerator<AnyAuthMethod> {
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

  /** Files that may be missing: the usual ones without a word, those of the configuration with one. */
  async #filesIn(paths: readonly string[], isConfigured: boolean): Promise<IdentityFile[]> {
    const usable: IdentityFile[] = [];
    for (const path of paths) {
      const file = await readDefaultIdentity(path);
      const missing = isConfigured ? { problem: "is not there" } : undefined;
      const found = file ?? missing;
      if (found === undefined) continue;
      if ("problem" in found) this.tried.push({ method: "publickey", name: path, problem: found.problem });
      else usable.push(found);
    }
    return usable;
  }

  async #agentKeys(): Promise<AgentKey[]> {
    try {
      return await this.#credentials.agentKeys();
    } catch {
      const { agentSocket } = this.#credentials.options;
      this.tried.push({ method: "publickey", name: "agent", problem: `does not answer at ${agentSocket}` });
      return [];
    }
  }

  /** Not yet let in by the last offer, and worth another one. */
  #isOpenFor(method: AuthMethod): boolean {
    return !this.#partly && this.#accepts(method);
  }

  /** ssh2 does not pass on what the server answers to an agent's key, so after one the list of methods may be old. */
  #accepts(method: AuthMethod): boolean {
    return this.offered.includes(method) || (this.#usedAgent && method !== "publickey");
  }
}

const noCertificates = "is a certificate, and certificates are not supported";

/** Takes the agent's copy of a file's key out of the list, so that it is offered once. */
function takeKey(agentKeys: AgentKey[], file: IdentityFile): AgentKey | undefined {
  const at = agentKeys.findIndex(({ key }) => isSameKey(key, file));
  return at === -1 ? undefined : agentKeys.splice(at, 1)[0];
}

function describe({ method, name, fingerprint, problem }: TriedCredential): string {
  if (method !== "publickey") return method;
  return `key ${[name, fingerprint && `(${fingerprint})`, problem].filter(Boolean).join(" ")}`;
}
