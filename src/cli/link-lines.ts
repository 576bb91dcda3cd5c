/** The processes that are the two ends of a link: this very program, here and over there. */
import { spawn } from "node:child_process";
import { OpenClawError } from "../errors.ts";
import { type EndLine, openLine } from "../link/end-line.ts";
import { shellWord } from "../shell-word.ts";
import type { ClientChannel } from "../ssh/ssh2.ts";
import type { Context } from "./context.ts";

export interface EndFlags {
  /** The gateway's port there, where it was given. */
  readonly port?: string | undefined;
  readonly stateDir?: string | undefined;
}

/** Starts the end on this machine. A process of its own, so that it can take back what it did when this one is killed. */
export function openNearEnd(context: Context, { port }: EndFlags): EndLine {
  const { command, args } = context.launcher();
  const words = [...args, ...context.stateWords(), "pair", "end", ...portWords(port)];
  // In a group of its own: Ctrl-C at our terminal is for us, and the end of its input tells it.
  const child = spawn(command, words, { stdio: "pipe", detached: true, env: { ...context.options.env } });
  child.once("error", (error) => child.stdout.destroy(error));
  const streams = {
    input: child.stdin,
    output: child.stdout,
    talk: child.stderr,
    kill: () => void child.kill("SIGKILL"),
  };
  return openLine(streams, "this machine", optionsOf(context));
}

/** The command line that starts the end over there. `program` is a shell's words, as the person gave them. */
export function farCommand(program: string, { port, stateDir }: EndFlags): string {
  const state = stateDir === undefined ? [] : ["--state-dir", shellWord(stateDir)];
  return [program, ...state, "pair", "end", ...portWords(port)].join(" ");
}

/** The end on the other side of an SSH connection. */
export function overChannel(context: Context, channel: ClientChannel, where: string, isCut: () => boolean): EndLine {
  const kill = () => {
    channel.signal("TERM"); // closing the channel alone ends no process that does not read
    channel.destroy();
  };
  const streams = { input: channel, output: channel, talk: channel.stderr, kill };
  return openLine(streams, where, { ...optionsOf(context), isCut });
}

function portWords(port: string | undefined): readonly string[] {
  return port === undefined ? [] : ["--port", shellWord(port)];
}

/** Milliseconds for an answer unless `--timeout` says otherwise: the other half has to start, and to ask its gateway. */
const patienceMs = 30_000;

function optionsOf({ runtime, timeoutGivenMs }: Context) {
  return { nonce: Buffer.from(runtime.random(16)).toString("hex"), patienceMs: timeoutGivenMs ?? patienceMs };
}

/** Throws `usage` for a port that cannot be one, before anything is dialled. */
export function checkPort(port: string | undefined, flag: string): void {
  if (port === undefined || (/^\d{1,5}$/u.test(port) && Number(port) > 0 && Number(port) <= 65_535)) return;
  throw new OpenClawError("usage", `${flag} takes a port from 1 to 65535, not ${JSON.stringify(port)}`);
}
