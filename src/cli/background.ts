/** The end of a command in the background that holds on to the one that started it, until that one lets it go. */
import { Socket } from "node:net";
import { Readable, Writable } from "node:stream";
import { Lines } from "../tunnel/control-message.ts";
import {
  type DetachQuestion,
  detachVariable,
  type FromBackground,
  maxDetachLineBytes,
  type StartedTunnel,
  type ToBackground,
} from "./detach-message.ts";
import type { Streams } from "./output.ts";

/** What a command may do that knows it runs in the background. */
export interface Starter {
  /** The name that the starter chose. */
  readonly name: string;
  /** Whether a person sits at the starter's terminal. */
  readonly canAsk: boolean;
  /** The person's answer; undefined when it was turned away. */
  ask(question: DetachQuestion): Promise<string | undefined>;
  /** Tells that all is up; resolves when the starter needs us no more. */
  ready(started: StartedTunnel): Promise<void>;
}

export class Background implements Starter {
  readonly streams: Streams;
  readonly #socket: Socket;
  readonly #answers = new Map<number, (text: string | undefined) => void>();
  readonly #settings = Promise.withResolvers<{ readonly name: string; readonly canAsk: boolean }>();
  readonly #letGo = Promise.withResolvers<void>();
  #isFree = false;
  #questions = 0;
  name = "";
  canAsk = false;

  private constructor(socket: Socket, abandoned: () => void) {
    this.#socket = socket;
    this.streams = {
      stdin: Object.assign(Readable.from(this.#stdin()), { isTTY: false }),
      stdout: this.#output((out) => ({ out })),
      stderr: this.#output((talk) => ({ talk })),
    };
    const lines = new Lines(maxDetachLineBytes);
    socket
      .on("error", () => {})
      .on("data", (chunk: Buffer) => {
        for (const line of lines.push(chunk)) this.#hear(readLine(line));
      })
      .once("close", () => {
        // Whoever started us and is gone before we were ready will never know of us.
        if (!this.#isFree) abandoned();
        this.#settings.resolve({ name: "", canAsk: false });
        this.#letGo.resolve();
        for (const answer of this.#answers.values()) answer(undefined);
      });
  }

  /** The starter at the other end of the pipe, or undefined when nobody started us like that. The variable is ours alone. */
  static async find(from: NodeJS.Process, abandoned: () => void): Promise<Background | undefined> {
    const fd = Number(from.env[detachVariable]);
    delete from.env[detachVariable];
    try {
      const background = new Background(new Socket({ fd, readable: true, writable: true }), abandoned);
      ({ name: background.name, canAsk: background.canAsk } = await background.#settings.promise);
      return background;
    } catch {
      return undefined; // the variable is not of our making: there is no such pipe
    }
  }

  async ask(question: DetachQuestion): Promise<string | undefined> {
    if (this.#isFree || !this.#socket.writable) return undefined; // nobody is there any more
    const id = ++this.#questions;
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#answers.set(id, resolve);
    this.#tell({ question: { id, ...question } });
    return promise;
  }

  async ready(started: StartedTunnel): Promise<void> {
    this.#tell({ ready: started });
    await this.#letGo.promise;
    this.#socket.destroy();
  }

  /** Ends the pipe of a command that is over; what it said last is still delivered. */
  async leave(): Promise<void> {
    this.#isFree = true;
    if (this.#socket.destroyed) return;
    await new Promise<void>((resolve) => this.#socket.once("close", () => resolve()).destroySoon());
  }

  #hear(message: ToBackground | undefined): void {
    if (message === undefined) return;
    if ("settings" in message) this.#settings.resolve(message.settings);
    else if ("answer" in message) this.#answers.get(message.answer.id)?.(message.answer.text);
    else {
      this.#isFree = true;
      this.#letGo.resolve();
    }
  }

  #tell(message: FromBackground): void {
    if (!this.#isFree && this.#socket.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  /** Asks for the input when something first reads it. */
  async *#stdin(): AsyncGenerator<Buffer> {
    const text = await this.ask({ kind: "stdin" });
    if (text !== undefined) yield Buffer.from(text, "base64");
  }

  /** Lines for the starter; without it nobody reads them, and the log has its own. */
  #output(wrap: (text: string) => FromBackground): Writable {
    return new Writable({
      decodeStrings: false,
      write: (text: string | Buffer, _encoding, done) => {
        this.#tell(wrap(String(text)));
        done();
      },
    });
  }
}

/** Both ends are the same program; a line that is none of its is passed over. */
function readLine(line: string): ToBackground | undefined {
  const value: unknown = JSON.parse(line);
  return typeof value === "object" && value !== null ? (value as ToBackground) : undefined;
}
