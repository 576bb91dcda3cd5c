/** Starts this very command once more, in a session of its own, and stays until that one is ready or has failed. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { isFailureCode, OpenClawError } from "../errors.ts";
import { openTunnelLog } from "../state/tunnel-log.ts";
import { Lines } from "../tunnel/control-message.ts";
import type { Context } from "./context.ts";
import {
  type DetachQuestion,
  detachFd,
  detachVariable,
  type FromBackground,
  maxDetachLineBytes,
  type StartedTunnel,
  type ToBackground,
} from "./detach-message.ts";
import { askSecret, askText } from "./prompt.ts";

/** Time between the polite signal and the other one. */
const stopGraceMs = 2000;

/**
 * Runs the command line of `context` in the background as `name`; its own output goes to `logPath`. Resolves with what it says when it is
 * ready. Throws its failure as if it were ours, and then there is no such process any more.
 */
export async function detach(context: Context, name: string, logPath: string): Promise<StartedTunnel> {
  await using log = await openTunnelLog(logPath);
  const { command, args } = context.launcher();
  const child = spawn(command, [...args, "--json", ...context.argv], {
    detached: true,
    stdio: ["ignore", log.fd, log.fd, "pipe"],
    env: { ...context.options.env, [detachVariable]: String(detachFd) },
    windowsHide: true,
  });
  const started = new StartedCommand(context, child, logPath);
  try {
    return await started.ready({ name, canAsk: context.canAsk });
  } catch (error) {
    await started.stop();
    context.options.signal.throwIfAborted();
    throw error;
  }
}

class StartedCommand {
  readonly #context: Context;
  readonly #child: ChildProcess;
  readonly #pipe: Duplex | undefined;
  readonly #logPath: string;
  readonly #exited: Promise<void>;
  readonly #ready = Promise.withResolvers<StartedTunnel>();
  #failure: unknown;
  #hasExited = false;

  constructor(context: Context, child: ChildProcess, logPath: string) {
    this.#context = context;
    this.#child = child;
    this.#logPath = logPath;
    this.#pipe = duplex(child.stdio[detachFd]);
    this.#exited = new Promise((resolve) => {
      const ended = (how: string) => {
        this.#hasExited = true;
        resolve();
        this.#ready.reject(this.#failure ?? this.#endedSilently(how));
      };
      // After the last byte of its pipe.
      child.once("close", (code, signal) => ended(signal ?? `exit code ${code}`));
      child.once("error", (error) => ended(error.message));
    });
    this.#listen();
  }

  /** Resolves with what the command says when it is ready, and lets it go. */
  async ready(settings: { readonly name: string; readonly canAsk: boolean }): Promise<StartedTunnel> {
    // Whoever set a time wants an answer within it; the connection has its own limits.
    const { options, oneShotSignal, timeoutGivenMs } = this.#context;
    const signal = timeoutGivenMs === undefined ? options.signal : oneShotSignal;
    const abort = () => this.#ready.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    try {
      this.#tell({ settings });
      const started = await this.#ready.promise;
      await new Promise<void>((resolve) => {
        if (this.#pipe === undefined) resolve();
        else this.#pipe.end(`${JSON.stringify({ letGo: true })}\n`, () => resolve());
      });
      this.#pipe?.destroy();
      this.#child.unref();
      return started;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Ends the process, politely first. Resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.#hasExited) return;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), stopGraceMs);
    await this.#exited;
    clearTimeout(timer);
  }

  #listen(): void {
    const lines = new Lines(maxDetachLineBytes);
    this.#pipe
      ?.on("error", () => {})
      .on("data", (chunk: Buffer) => {
        for (const line of lines.push(chunk)) this.#hear(readLine(line));
      });
  }

  #hear(message: FromBackground | undefined): void {
    if (message === undefined) return;
    if ("out" in message) this.#failure ??= failureIn(message.out);
    // What it fails with is ours to say.
    else if ("talk" in message) void (this.#failure ?? this.#context.streams.stderr.write(message.talk));
    else if ("ready" in message) this.#ready.resolve(message.ready);
    else void this.#answer(message.question);
  }

  async #answer({ id, ...question }: DetachQuestion & { readonly id: number }): Promise<void> {
    try {
      const text = await answerOf(this.#context, question);
      this.#tell({ answer: { id, ...(text === undefined ? {} : { text }) } });
    } catch (error) {
      this.#ready.reject(error);
    }
  }

  #tell(message: ToBackground): void {
    this.#pipe?.write(`${JSON.stringify(message)}\n`);
  }

  #endedSilently(how: string): OpenClawError {
    return new OpenClawError("failed", `the process in the background ended before it was ready (${how})`, {
      hint: `${this.#logPath} may say why`,
      details: { log: this.#logPath },
    });
  }
}

async function answerOf(context: Context, question: DetachQuestion): Promise<string | undefined> {
  switch (question.kind) {
    case "secret":
      return askSecret(context, question.message);
    case "text":
      return askText(context, question.message);
    case "stdin":
      return Buffer.from(await context.readStdin("standard input")).toString("base64");
  }
}

/** The failure in a line of the command's JSON output, if it is one. */
function failureIn(text: string): OpenClawError | undefined {
  const { ok, error } = objectIn(text);
  if (ok !== false || typeof error !== "object" || error === null) return undefined;
  const { code, message, hint, fix, details } = error as Readonly<Record<string, unknown>>;
  return new OpenClawError(isFailureCode(code) ? code : "failed", String(message), {
    ...(typeof hint === "string" && { hint }),
    ...(typeof fix === "string" && { fix }),
    ...(typeof details === "object" && details !== null && { details: { ...details } }),
  });
}

function objectIn(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

/** Both ends are the same program; a line that is none of its is passed over. */
function readLine(line: string): FromBackground | undefined {
  const value = objectIn(line);
  return Object.keys(value).length === 0 ? undefined : (value as FromBackground);
}

/** The pipe beside the three streams is a socket both ways. */
function duplex(stream: unknown): Duplex | undefined {
  return stream instanceof Object && "write" in stream && "read" in stream ? (stream as Duplex) : undefined;
}
