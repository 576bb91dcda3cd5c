/** One program, run to its end without a shell: output kept up to a cap, its whole process group stopped when time is up. */
import { type ChildProcess, spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { setImmediate as nextTurn } from "node:timers/promises";
import { systemCode } from "../errors.ts";
import type { Runtime } from "../runtime.ts";

export interface ProcessRequest {
  /** Absolute path; also becomes the program's argv[0]. */
  readonly path: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Stops the program and everything in its group. */
  readonly signal: AbortSignal;
  readonly runtime: Pick<Runtime, "after" | "sleep">;
  /** Characters kept of each stream. */
  readonly maxOutputChars?: number;
}

/** How it ended (protocol.md § 7.5). `exitCode` is absent when it was not started, timed out, or was killed by a signal. */
export interface ProcessResult {
  readonly exitCode?: number;
  readonly timedOut: boolean;
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
  readonly error: string | null;
}

/** Characters kept of stdout and of stderr, as every product version has it. */
const defaultMaxOutputChars = 200_000;

/** Milliseconds between SIGTERM and SIGKILL. */
const killGraceMs = 1_000;

/** Milliseconds of silence after the program's end that make its output complete, though others still hold the pipes. */
const quietMs = 200;
const maxQuietRounds = 10;
const groupPollMs = 20;

/**
 * Runs one program. Resolves also when it cannot be started (`error` says why); rejects only with the signal's reason,
 * once the group is stopped. What the program left running in the background is not waited for.
 * On Windows, which has no process groups, only the program itself is stopped.
 */
export async function runProcess(request: ProcessRequest): Promise<ProcessResult> {
  request.signal.throwIfAborted();
  let child: ReturnType<typeof start>;
  try {
    child = start(request);
  } catch (cause) {
    return notStarted(request, cause);
  }
  const maxChars = request.maxOutputChars ?? defaultMaxOutputChars;
  const output = [collectText(child.stdout, maxChars), collectText(child.stderr, maxChars)] as const;
  const end = await waitForEnd(child, request);
  await drain(output, request.runtime);
  child.stdout.destroy();
  child.stderr.destroy();
  request.signal.throwIfAborted();
  if (end.by === "error") return notStarted(request, end.cause);
  return { ...describeEnd(end, request.timeoutMs), stdout: output[0].text(), stderr: output[1].text() };
}

type End =
  | { readonly by: "exit"; readonly code: number | null; readonly signal: NodeJS.Signals | null }
  | { readonly by: "error"; readonly cause: unknown }
  | { readonly by: "stop" };

function start({ path, args, cwd, env }: ProcessRequest) {
  const detached = process.platform !== "win32"; // a group of its own, so that one signal reaches its children too
  return spawn(path, args, { cwd, env, detached, shell: false, windowsHide: true, stdio: ["ignore", "pipe", "pipe"] });
}

/** Waits for the end, or makes it happen at the deadline or the signal. */
async function waitForEnd(child: ChildProcess, { timeoutMs, signal, runtime }: ProcessRequest): Promise<End> {
  const ended = new Promise<End>((resolve) => {
    child.once("exit", (code, by) => resolve({ by: "exit", code, signal: by }));
    child.on("error", (cause) => {
      if (child.pid === undefined) resolve({ by: "error", cause });
    });
  });
  const { promise: stopAsked, resolve: stop } = Promise.withResolvers<"stop">();
  const onAbort = () => stop("stop");
  const cancelDeadline = runtime.after(timeoutMs, onAbort);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const first = await Promise.race([ended, stopAsked]);
    if (first !== "stop") return first;
    if (child.pid !== undefined) await stopGroup(child.pid, runtime);
    return { by: "stop" };
  } finally {
    cancelDeadline();
    signal.removeEventListener("abort", onAbort);
  }
}

/** SIGTERM, then SIGKILL to what is left. Gives up after a second grace: a process of another user may refuse both. */
async function stopGroup(pid: number, runtime: Pick<Runtime, "sleep">): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    signalGroup(pid, signal);
    for (let waitedMs = 0; waitedMs < killGraceMs; waitedMs += groupPollMs) {
      if (!signalGroup(pid, 0)) return;
      await runtime.sleep(groupPollMs);
    }
  }
}

/** False when nobody is left in the group (or nobody who can be signalled). */
function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(process.platform === "win32" ? pid : -pid, signal);
  } catch {
    return false;
  }
}

interface Collected {
  text(): string;
  /** Bytes read so far, also those that were thrown away. */
  received(): number;
  readonly closed: Promise<void>;
}

/** Keeps the first `maxChars` characters; reads on behind them, or the program would block on a full pipe. */
function collectText(stream: Readable, maxChars: number): Collected {
  const decoder = new StringDecoder("utf8"); // a character may arrive in two chunks
  const parts: string[] = [];
  let room = maxChars;
  let received = 0;
  const keep = (text: string) => {
    if (room <= 0 || text === "") return;
    const kept = cutText(text, room);
    parts.push(kept);
    room = kept.length < text.length ? 0 : room - kept.length;
  };
  stream.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (room > 0) keep(decoder.write(chunk));
  });
  stream.on("error", () => {}); // a pipe that breaks is a pipe that ended
  const closed = new Promise<void>((resolve) => stream.once("close", resolve));
  return { text: () => parts.join("") + cutText(decoder.end(), room), received: () => received, closed };
}

/** The first `maxChars` UTF-16 units of `text`, one less where the cut would halve a surrogate pair. */
function cutText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const cut = text.slice(0, Math.max(0, maxChars));
  return /[\uD800-\uDBFF]$/u.test(cut) ? cut.slice(0, -1) : cut;
}

/** Waits until both pipes are closed, or, if somebody else holds them open, until nothing has come for a while. */
async function drain(output: readonly Collected[], runtime: Pick<Runtime, "sleep">): Promise<void> {
  let isClosed = false;
  const closed = Promise.all(output.map((stream) => stream.closed)).then(() => {
    isClosed = true;
  });
  const received = () => output.reduce((sum, stream) => sum + stream.received(), 0);
  for (let round = 0, before = -1; round < maxQuietRounds && before !== received(); round++) {
    before = received();
    await Promise.race([closed, runtime.sleep(quietMs)]);
    if (isClosed) return;
    await nextTurn(); // on a busy machine the timer can be due before the pipe was looked at
  }
}

function describeEnd(end: Exclude<End, { by: "error" }>, timeoutMs: number) {
  if (end.by === "stop") return { timedOut: true, success: false, error: `stopped after ${timeoutMs} ms` };
  const { code, signal } = end;
  if (code === null) return { timedOut: false, success: false, error: `ended by signal ${signal ?? "unknown"}` };
  return { exitCode: code, timedOut: false, success: code === 0, error: null };
}

async function notStarted({ path, cwd }: ProcessRequest, cause: unknown): Promise<ProcessResult> {
  const why = systemCode(cause) ?? (cause instanceof Error ? cause.message : "unknown error");
  if (why === "ENOENT" && !(await isDirectory(cwd)))
    return failedToStart(`could not start ${path}: no directory ${cwd}`);
  return failedToStart(`could not start ${path}: ${why}`);
}

/** The system names the program in an ENOENT that is the directory's fault. */
async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
}

/** The result of a program that never ran. */
export function failedToStart(error: string): ProcessResult {
  return { timedOut: false, success: false, stdout: "", stderr: "", error };
}
