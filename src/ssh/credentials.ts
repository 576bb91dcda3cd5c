/** What one person can prove themselves with to an SSH server: agent, key files, password, answers. */
import type { ParsedKey } from "ssh2";
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import { listAgent } from "./agent.ts";
import type { AgentKey } from "./agent.ts";
import { isLockedFor, readNamedIdentity, unlockIdentity } from "./identity-file.ts";
import type { IdentityFile, PassphraseSource, Unlocked } from "./identity-file.ts";

export type AuthMethod = "publickey" | "keyboard-interactive" | "password";

/** OpenSSH's order (PreferredAuthentications), as far as we know the methods. */
export const authMethods: readonly AuthMethod[] = ["publickey", "keyboard-interactive", "password"];

export interface CredentialOptions extends PassphraseSource {
  /** Where `.ssh/id_ed25519` and its like are looked for. */
  readonly home: string;
  /** The value of `SSH_AUTH_SOCK`. */
  readonly agentSocket?: string;
  /** `-i`: tried first, and each must be usable. The default files are then left alone. */
  readonly identityFiles?: readonly string[];
  /** `IdentityFile` of the configuration: tried next, passed over when missing. The default files are then left alone too. */
  readonly configuredFiles?: readonly string[];
  /** `CertificateFile` of the configuration; not supported, which a refusal says. */
  readonly certificateFiles?: readonly string[];
  /** Offer only keys that were named, so that a well-stocked agent does not use up the server's patience. */
  readonly identitiesOnly?: boolean;
  /** Answers `password`, and the hidden prompts of `keyboard-interactive`. */
  readonly password?: Secret;
  /** Asks a person what the server wants to know; resolves undefined when they would rather not say. */
  readonly askAnswer?: ((question: ServerQuestion) => Promise<Secret | undefined>) | undefined;
  /** What to try, best first. */
  readonly methods?: readonly AuthMethod[];
}

/** A question of the server, fit to be shown: one line each, without control characters. */
export interface ServerQuestion {
  /** `user@host:port`. */
  readonly server: string;
  /** The prompt in the server's words, or ours for a password. */
  readonly text: string;
  /** What it says about its questions. */
  readonly instructions?: string;
  /** False: the answer may be seen while it is typed. */
  readonly isHidden: boolean;
}

/** Everything one person can offer. Lives across reconnects, so that a key is read and unlocked, and a question asked, only once. */
export class Credentials {
  readonly options: CredentialOptions;
  readonly #unlocked: Map<string, ParsedKey>;
  readonly #answers = new Map<string, Secret>();
  #named: readonly IdentityFile[] | undefined;

  /** `kin`: other credentials of the same person, whose unlocked keys are shared. */
  constructor(options: CredentialOptions, kin?: Credentials) {
    this.options = options;
    this.#unlocked = kin === undefined ? new Map<string, ParsedKey>() : kin.#unlocked;
  }

  /** The files named with `-i`. Throws `usage` or `ssh-auth` when one cannot or must not be used. */
  async namedFiles(): Promise<readonly IdentityFile[]> {
    this.#named ??= await this.#readNamed();
    return this.#named;
  }

  /**
   * Reads the named files anew, so that a key that was replaced is used from the next connection on. Finds what cannot work before
   * anything is dialled: besides `namedFiles`, `usage` for a named key that nobody can unlock. Files that were good once are kept as they
   * were when they no longer can be read.
   */
  async check(): Promise<void> {
    const before = this.#named;
    this.#named = before === undefined ? await this.#readNamed() : await this.#readNamed().catch(() => before);
    const locked = this.#named.filter((file) => !this.#unlocked.has(file.text) && isLockedFor(file, this.options));
    if (locked.length === 0) return;
    const held = await this.agentKeys().catch(() => []);
    const hopeless = locked.find((file) => !held.some(({ key }) => isSameKey(key, file)));
    if (hopeless === undefined) return;
    throw new OpenClawError("usage", `the identity file ${hopeless.path} is encrypted, and there is nobody to ask`, {
      hint: "give its passphrase with --passphrase-file, or load the key into the agent",
      details: { path: hopeless.path },
    });
  }

  /** Reads the named files anew, and throws as `namedFiles` when one of them has become unusable. */
  async reread(): Promise<void> {
    this.#named = await this.#readNamed();
  }

  /** The agent's keys, in its order; none without an agent. Rejects when it does not answer. */
  async agentKeys(): Promise<AgentKey[]> {
    const { agentSocket } = this.options;
    return agentSocket === undefined || agentSocket === "" ? [] : listAgent(agentSocket);
  }

  /** The unlocked key of a file, or why there is none. */
  async unlock(file: IdentityFile, source: PassphraseSource): Promise<Unlocked> {
    const known = this.#unlocked.get(file.text);
    if (known !== undefined) return { key: known };
    const unlocked = await unlockIdentity(file, source);
    if ("key" in unlocked) this.#unlocked.set(file.text, unlocked.key);
    return unlocked;
  }

  #readNamed(): Promise<readonly IdentityFile[]> {
    return Promise.all((this.options.identityFiles ?? []).map(readNamedIdentity));
  }

  /** What was answered to this question before, when that let us in. */
  recall(question: string): Secret | undefined {
    return this.#answers.get(question);
  }

  /** Keeps the answers that let us in, for the next connection. */
  remember(answers: ReadonlyMap<string, Secret>): void {
    for (const [question, answer] of answers) this.#answers.set(question, answer);
  }
}

/** Whether a key is the one of a file. */
export function isSameKey(key: ParsedKey, { publicBlob }: IdentityFile): boolean {
  return publicBlob !== undefined && key.getPublicSSH().equals(publicBlob);
}
