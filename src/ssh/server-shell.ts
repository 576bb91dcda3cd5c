/** A shell on the server, for questions that its system answers. */
import type { Client, ClientChannel } from "ssh2";

export interface ShellAnswer {
  readonly output: string;
  /** The command's exit status. */
  readonly status: number;
}

const answerLimitBytes = 4096;
/** Ends an answer. Nothing else prints that. */
const endOfAnswer = /\n?=openclaw:(\d+)\n/;

/**
 * One shell that is asked again and again: to start one, a person's start files may need seconds, and an answer needs a round trip. Runs
 * without a terminal, so that no login is recorded. It ends with the connection, or with `end`.
 */
export class ServerShell {
  readonly #waiting: ((answer: ShellAnswer | undefined) => void)[] = [];
  #channel: ClientChannel | undefined;
  /** What was asked before there was a shell. */
  #unsent = "";
  #heard = "";
  #isReady = false;
  #isOver = false;
  /** Resolves when it has answered for the first time, or never will. */
  readonly ready: Promise<void>;

  constructor(client: Client) {
    // What comes before this answer was printed by the start files.
    this.ready = this.ask(":").then((answer) => void (this.#isReady = answer !== undefined));
    const over = () => this.#end();
    try {
      client.once("close", over);
      // `exec` in every login shell makes sh the direct child of what serves us, so that $PPID names that.
      client.exec("exec sh", (error, channel) => (error === undefined ? this.#listen(channel, over) : over()));
    } catch {
      over(); // lost already, which whoever uses the connection is told
    }
  }

  /** True once it has answered, until it is over. */
  get isReady(): boolean {
    return this.#isReady && !this.#isOver;
  }

  /** True when it has answered, and will no more. */
  get hasEnded(): boolean {
    return this.#isReady && this.#isOver;
  }

  /** Runs a command of one line. Resolves undefined when the server runs none for us, or the connection was lost first. */
  ask(command: string): Promise<ShellAnswer | undefined> {
    const { promise, resolve } = Promise.withResolvers<ShellAnswer | undefined>();
    if (this.#isOver) return Promise.resolve(undefined);
    this.#waiting.push(resolve);
    this.#send(`${command}\necho "=openclaw:$?"\n`);
    return promise;
  }

  /** Lets it go when it has answered what it was asked. */
  end(): void {
    this.#send("exit\n");
  }

  #send(lines: string): void {
    if (this.#channel === undefined) this.#unsent += lines;
    else this.#channel.write(lines);
  }

  #listen(channel: ClientChannel, over: () => void): void {
    this.#channel = channel;
    channel.on("data", (chunk: Buffer) => this.#hear(chunk.toString("latin1")));
    channel.stderr.resume();
    channel.on("error", () => {}).once("close", over);
    this.#send(this.#unsent);
  }

  #hear(text: string): void {
    this.#heard += text;
    for (let match; (match = endOfAnswer.exec(this.#heard)) !== null;) {
      const output = this.#heard.slice(0, match.index);
      this.#heard = this.#heard.slice(match.index + match[0].length);
      this.#waiting.shift()?.({ output, status: Number(match[1]) });
    }
    this.#heard = this.#heard.slice(-answerLimitBytes);
  }

  #end(): void {
    this.#isOver = true;
    for (const resolve of this.#waiting.splice(0)) resolve(undefined);
  }
}
