/** Secrets that a command line brings: as an option's value, in a file, or on standard input. */
import { addAbortSignal, Readable } from "node:stream";
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { Streams } from "./output.ts";

export interface GivenSecretsOptions {
  readonly streams: Streams;
  /** Who is asked to stop does not wait for the end of standard input. */
  readonly signal: AbortSignal;
  /** Called with the name of an option whose secret stands in argv. */
  readonly seenInArgv: (name: string) => void;
}

export class GivenSecrets {
  readonly #options: GivenSecretsOptions;
  /** The option that has read standard input. */
  #stdinReader: string | undefined;

  constructor(options: GivenSecretsOptions) {
    this.#options = options;
  }

  /** A secret from its option or from the file that its twin names; undefined when neither was given. */
  async option(name: string, value: string | undefined, file: string | undefined): Promise<Secret | undefined> {
    if (value !== undefined && file !== undefined) {
      throw new OpenClawError("usage", `--${name} and --${name}-file are both given`, { hint: "give one of them" });
    }
    if (value === undefined) return this.file(file, `--${name}-file`);
    this.#options.seenInArgv(name);
    const { Secret } = await import("../secret.ts");
    return new Secret(value);
  }

  /** A secret from a file, or from standard input for `-`. `what` is the option that names it. */
  async file(path: string | undefined, what = "the file"): Promise<Secret | undefined> {
    if (path === undefined) return undefined;
    const { readSecretFile } = await import("../config/secret-file.ts");
    return readSecretFile(path, this.stdinFor(what), what);
  }

  /** Standard input for one purpose. What it holds is one thing: a second option that reads it would get the first one's secret, or nothing. */
  async *stdinFor(what: string): AsyncGenerator<Uint8Array | string> {
    if (this.#stdinReader !== undefined && this.#stdinReader !== what) {
      throw new OpenClawError("usage", `${this.#stdinReader} and ${what} cannot both read standard input`, {
        hint: "name a file for one of them",
      });
    }
    this.#stdinReader = what;
    const { stdin } = this.#options.streams;
    if (stdin instanceof Readable) addAbortSignal(this.#options.signal, stdin);
    yield* asInput(stdin);
  }
}

/** Streams are read as bytes or text; the type of a TTY says neither. */
function asInput(stream: Streams["stdin"]): AsyncIterable<Uint8Array | string> {
  return stream as AsyncIterable<Uint8Array | string>;
}
