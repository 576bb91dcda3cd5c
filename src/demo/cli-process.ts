/** One of our own commands as a child process: its events as they come, its end, and that it does end. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { OpenClawError } from "../errors.ts";

/** How to start this very CLI. */
export interface Launcher {
  readonly command: string;
  readonly args: readonly string[];
}

export type CliEvent = Readonly<Record<string, unknown>>;

export interface CliProcessOptions {
  readonly launcher: Launcher;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** Makes the command end when its standard input does. The system closes our end of it however we end. */
const tied = { OPENCLAW_END_WITH_STDIN: "1" };

/** Time between the polite signal and the other one. */
const stopGraceMs = 1000;

export class CliProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #signal: AbortSignal;
  readonly #exited: Promise<number | null>;
  #events: CliEvent[] = [];
  #errors = "";
  #hasExited = false;
  #wake: () => void = () => {};

  constructor({ launcher, words, env, signal }: CliProcessOptions) {
    this.#name = words.slice(0, 2).join(" ");
    this.#signal = signal;
    this.#child = spawn(launcher.command, [...launcher.args, ...words, "--json", "--no-input"], {
      env: { ...env, ...tied },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const { stdin, stdout, stderr } = this.#child;
    stdin?.on("error", () => {}); // nothing is ever written to it
    if (stdout !== null) createInterface({ input: stdout }).on("line", (line) => this.#hear(line));
    stderr?.setEncoding("utf8").on("data", (text: string) => void (this.#errors = (this.#errors + text).slice(-4000)));
    this.#exited = new Promise((resolve) => {
      const ended = (code: number | null) => {
        this.#hasExited = true;
        resolve(code);
        this.#wake();
      };
      this.#child.once("close", ended);
      this.#child.once("error", () => ended(null));
    });
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    const killAtOnce = () => void this.#child.kill("SIGKILL");
    process.once("exit", killAtOnce);
    void this.#exited.then(() => process.off("exit", killAtOnce));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The next event that `matches`; what came before it is passed over. Fails when the process ends first. */
  async next(matches: (event: CliEvent) => boolean): Promise<CliEvent> {
    for (;;) {
      this.#signal.throwIfAborted();
      const at = this.#events.findIndex(matches);
      const found = this.#events[at];
      if (found !== undefined) {
        this.#events = this.#events.slice(at + 1);
        return found;
      }
      if (this.#hasExited) throw this.#endedEarly();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Waits for a one-shot command and returns its answer; its failure is ours. */
  async answer(): Promise<CliEvent> {
    const answer = await this.next((event) => typeof event["ok"] === "boolean");
    await this.#exited;
    if (answer["ok"] === true) return answer;
    throw this.#failed(answer["error"]);
  }

  /** Ends the process, politely first. Resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.#hasExited) return;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), stopGraceMs);
    await this.#exited;
    clearTimeout(timer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #hear(line: string): void {
    try {
      this.#events.push(JSON.parse(line) as CliEvent);
    } catch {
      this.#errors += `${line}\n`;
    }
    this.#wake();
  }

  #endedEarly(): OpenClawError {
    const failure = this.#events.findLast((event) => event["ok"] === false);
    return this.#failed(failure?.["error"]);
  }

  #failed(error: unknown): OpenClawError {
    const message =
      typeof error === "object" && error !== null && "message" in error ? String(error.message) : this.#errors.trim();
    return new OpenClawError("failed", `openclaw ${this.#name}: ${message || "it ended without a word"}`, {
      details: { command: this.#name, error },
    });
  }
}
