/** The answers of one authentication to what the server asks: from the password at hand, from last time, or from a person. */
import type { Prompt } from "ssh2";
import type { Secret } from "../secret.ts";
import type { Credentials, ServerQuestion } from "./credentials.ts";

/** As often as ssh(1) asks (NumberOfPasswordPrompts). */
export const answerAttempts = 3;

const maxShownLength = 500;

type Ask = ((question: ServerQuestion) => Promise<Secret | undefined>) | undefined;

export class Answers {
  /** What was answered since the last attempt began, by question. */
  readonly given = new Map<string, Secret>();
  /** The person turned a question away: ask no more. */
  isOver = false;
  /** The server asked something in this attempt. */
  wasAsked = false;
  readonly #credentials: Credentials;
  readonly #server: string;
  readonly #ask: Ask;
  #mayReuse = true;
  #usedPassword = false;

  /** `server` is `user@host:port`; `ask` asks a person, if there is one. */
  constructor(credentials: Credentials, server: string, ask: Ask) {
    this.#credentials = credentials;
    this.#server = server;
    this.#ask = ask;
  }

  /** Begins attempt number `attempt` (from 0): only the first uses what is known already. False when there is nothing to answer with. */
  begin(attempt: number): boolean {
    this.given.clear();
    this.wasAsked = false;
    this.#mayReuse = attempt === 0;
    this.#usedPassword = false;
    const { password } = this.#credentials.options;
    return !this.isOver && (this.#ask !== undefined || (this.#mayReuse && password !== undefined));
  }

  /** The password, for the method of that name. */
  async password(): Promise<Secret | undefined> {
    return this.#answer(`Password of ${this.#server}`, true, undefined);
  }

  /** One answer for each prompt (RFC 4256 § 3.3); empty ones where nobody knows. */
  async all(name: string, instructions: string, prompts: readonly Prompt[]): Promise<string[]> {
    this.wasAsked = true;
    const about = [name, instructions].map(shown).filter((text) => text !== "");
    const answers: string[] = [];
    for (const { prompt, echo = false } of prompts) {
      const answer = await this.#answer(shown(prompt), !echo, about.length > 0 ? about.join(": ") : undefined);
      answers.push(answer?.reveal() ?? "");
    }
    return answers;
  }

  async #answer(text: string, isHidden: boolean, instructions: string | undefined): Promise<Secret | undefined> {
    const known = this.#known(text, isHidden);
    const question = { server: this.#server, text, isHidden, ...(instructions !== undefined && { instructions }) };
    const answer = known ?? (this.isOver ? undefined : await this.#ask?.(question));
    if (answer !== undefined) this.given.set(text, answer);
    else this.isOver = true;
    return answer;
  }

  /** A prompt that shows what is typed asks for something else than a password. So does a second one, if somebody can be asked. */
  #known(text: string, isHidden: boolean): Secret | undefined {
    if (!this.#mayReuse) return undefined;
    const recalled = this.#credentials.recall(text);
    if (recalled !== undefined || !isHidden || (this.#usedPassword && this.#ask !== undefined)) return recalled;
    this.#usedPassword = true;
    return this.#credentials.options.password;
  }
}

/** What a server wrote, as one harmless line: no control or formatting characters, and not without end. */
export function shown(text: string): string {
  return text
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")
    .trim()
    .slice(0, maxShownLength);
}
