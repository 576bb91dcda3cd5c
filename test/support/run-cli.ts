/** The command line as a person sees it: in this process with streams, an environment and a state directory of its own, or as a real process. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable, Writable } from "node:stream";
import { runCli as runMain } from "../../src/cli/main.ts";
import { Interruption } from "../../src/cli/signals.ts";
import type { Runtime } from "../../src/runtime.ts";
import { at } from "./raw-client.ts";
import { Recorder } from "./recorder.ts";

export type CliEvent = Readonly<Record<string, unknown>>;
type Signal = "SIGINT" | "SIGTERM" | "SIGHUP";

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What stands on standard input; nothing unless told otherwise. */
  readonly stdin?: string;
  readonly runtime?: Runtime;
  /** Standard output is a terminal of so many columns. */
  readonly columns?: number;
  /** Standard input is a terminal. */
  readonly tty?: boolean;
}

/** How a command ended, and what it said. */
export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The JSON document on standard output; undefined when there is more, less or something else. */
  readonly json: unknown;
}

/** Runs one command line in this process, to its end. */
export function runCli(line: string | readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return new RunningCli(line, options).ended;
}

/** A command that runs in this process. Disposing of it asks it to stop and waits for its end. */
export class RunningCli implements AsyncDisposable {
  /** Lines of standard output; under --json they are events. */
  readonly lines = new Recorder<string>();
  readonly events = new Recorder<CliEvent>();
  /** Lines of standard error. */
  readonly talk = new Recorder<string>();
  readonly ended: Promise<CliResult>;
  readonly #controller = new AbortController();

  constructor(line: string | readonly string[], { env = {}, stdin = "", runtime, columns, tty = false }: CliOptions) {
    const words = wordsOf(line);
    const stdout = new Collector((text) => {
      this.lines.push(text);
      recordEvent(this.events, words, text);
    });
    const stderr = new Collector(this.talk.push);
    const terminal = columns === undefined ? {} : { isTTY: true, columns };
    const streams = {
      // A terminal has no end: who reads it by mistake waits.
      stdin: Object.assign(tty ? new PassThrough() : Readable.from([Buffer.from(stdin)]), { isTTY: tty }),
      stdout: Object.assign(stdout, terminal),
      stderr,
    };
    const run = runMain(words, {
      env,
      streams,
      signal: this.#controller.signal,
      ...(runtime === undefined ? {} : { runtime }),
    });
    this.ended = run.then((code) => {
      const why = new Error(`${words.join(" ")} ended with ${code}: ${stderr.text}`);
      for (const recorder of [this.lines, this.events, this.talk]) recorder.end(why);
      return { code, stdout: stdout.text, stderr: stderr.text, json: documentIn(stdout.text) };
    });
  }

  /** The next event of this name, from event number `from` on (`events.items.length` for "from now on"). */
  event(name: string, from = 0, facts: CliEvent = {}): Promise<CliEvent> {
    return this.events.find((event) => fits(event, { event: name, ...facts }), from);
  }

  /** Asks the command to stop, as a signal to the process would. */
  async stop(signal: Signal = "SIGTERM"): Promise<CliResult> {
    this.#controller.abort(new Interruption(signal));
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** A real process of `bin/openclaw.js`. Disposing of it kills it. */
export class SpawnedCli implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly events = new Recorder<CliEvent>();
  /** Lines of standard error. */
  readonly talk = new Recorder<string>();
  readonly ended: Promise<CliResult & { readonly signal: NodeJS.Signals | null }>;

  constructor(line: string | readonly string[], { env = {}, stdin }: Pick<CliOptions, "env" | "stdin">) {
    const words = wordsOf(line);
    this.child = spawn(process.execPath, [binPath, ...words], {
      env: { ...env },
      stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    if (stdin !== undefined) this.child.stdin?.end(stdin);
    const { promise, resolve } = Promise.withResolvers<CliResult & { signal: NodeJS.Signals | null }>();
    this.ended = promise;
    const stdout = new Collector((text) => recordEvent(this.events, words, text));
    const stderr = new Collector(this.talk.push);
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => stdout.write(text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => stderr.write(text));
    this.child.once("close", (code, signal) => {
      this.events.end(new Error(`${words.join(" ")} ended with ${code ?? signal}: ${stderr.text}`));
      resolve({ code: code ?? -1, signal, stdout: stdout.text, stderr: stderr.text, json: documentIn(stdout.text) });
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** The next event of this name, from event number `from` on. */
  event(name: string, from = 0, facts: CliEvent = {}): Promise<CliEvent> {
    return this.events.find((event) => fits(event, { event: name, ...facts }), from);
  }

  /** Sends a signal and waits for the end of the process. */
  async stop(signal: Signal = "SIGTERM"): Promise<CliResult & { readonly signal: NodeJS.Signals | null }> {
    this.child.kill(signal);
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

export const binPath = join(import.meta.dirname, "../../bin/openclaw.js");

/** A machine: a home directory and a state directory of its own, gone at the end of the scope. Every command starts from its environment. */
export class CliHome implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "openclaw-cli-"));
  readonly stateDir = join(this.directory, ".openclaw");
  readonly toolkitDir = join(this.stateDir, "toolkit");

  env(more: CliOptions["env"] = {}): Readonly<Record<string, string | undefined>> {
    const { PATH } = process.env;
    return { PATH, HOME: this.directory, NO_COLOR: "1", ...more };
  }

  run(line: string | readonly string[], options: CliOptions = {}): Promise<CliResult> {
    return runCli(line, { ...options, env: this.env(options.env) });
  }

  start(line: string | readonly string[], options: CliOptions = {}): RunningCli {
    return new RunningCli(line, { ...options, env: this.env(options.env) });
  }

  spawn(line: string | readonly string[], options: Pick<CliOptions, "env" | "stdin"> = {}): SpawnedCli {
    return new SpawnedCli(line, { ...options, env: this.env(options.env) });
  }

  /** A path in this home. */
  path(...names: readonly string[]): string {
    return join(this.directory, ...names);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A command line's words, split as a POSIX shell splits them as far as quotes go. */
function wordsOf(line: string | readonly string[]): readonly string[] {
  if (typeof line !== "string") return line;
  const words = line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/gu);
  return [...words].map(([word]) => word.replaceAll(/'([^']*)'|"([^"]*)"/gu, "$1$2"));
}

function fits(event: CliEvent, facts: CliEvent): boolean {
  return Object.entries(facts).every(([name, value]) => at(event, name) === value);
}

/** Under --json every line of standard output is an event or an answer. */
function recordEvent(events: Recorder<CliEvent>, words: readonly string[], line: string): void {
  if (words.includes("--json")) events.push(JSON.parse(line) as CliEvent);
}

function documentIn(stdout: string): unknown {
  return /^\{[^\n]*\}\n$/u.test(stdout) ? JSON.parse(stdout) : undefined;
}

/** Keeps everything that is written, and tells of each line that is complete. */
class Collector extends Writable {
  text = "";
  #told = 0;
  readonly #onLine: (line: string) => void;

  constructor(onLine: (line: string) => void) {
    super({ decodeStrings: false });
    this.#onLine = onLine;
  }

  override _write(chunk: string | Buffer, _encoding: string, done: () => void): void {
    this.text += String(chunk);
    for (let end = this.text.indexOf("\n", this.#told); end >= 0; end = this.text.indexOf("\n", this.#told)) {
      const line = this.text.slice(this.#told, end);
      this.#told = end + 1;
      this.#onLine(line);
    }
    done();
  }
}
