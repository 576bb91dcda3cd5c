/** This process as the home of one command line: its signals, its streams, its exit code. */
import type { Streams } from "./output.ts";
import type { Background } from "./background.ts";
import { detachVariable } from "./detach-message.ts";
import { runCommandLine } from "./run.ts";
import { listenForSignals } from "./signals.ts";

const defaultColumns = 80;

/** Runs the command line and sets the exit code. */
export async function runProcess(argv: readonly string[]): Promise<void> {
  const signals = listenForSignals(process);
  const background = await findBackground(() => signals.interrupt("SIGHUP"));
  const exitCode = await runCommandLine(argv, {
    env: process.env,
    streams: background?.streams ?? streamsOf(process, () => signals.interrupt("SIGPIPE")),
    signal: signals.signal,
    interrupt: (signal) => signals.interrupt(signal),
    ...(background === undefined ? {} : { starter: background }),
  });
  await background?.leave();
  process.exitCode ||= exitCode;
  signals.stop();
}

/** Who started this process in the background and waits for it, if that is how it was started. */
async function findBackground(abandoned: () => void): Promise<Background | undefined> {
  if (!(detachVariable in process.env)) return undefined;
  const { Background } = await import("./background.ts");
  return Background.find(process, abandoned);
}

/** The process's streams, each opened by its first use: one that nobody asked for takes milliseconds to make. */
function streamsOf(process: NodeJS.Process, readerLeft: () => void): Streams {
  const opened = new Set<string>();
  let isLost = false;
  const output = (name: "stdout" | "stderr") => {
    const stream = process[name];
    if (opened.has(name)) return stream;
    opened.add(name);
    // A terminal whose size nobody ever set.
    if (stream.isTTY && stream.columns === 0) stream.columns = defaultColumns;
    return stream.on("error", (error: NodeJS.ErrnoException) => {
      // A closed pipe (`openclaw … | head`) is the reader's decision and no failure of ours; a full disk is one.
      if (error.code === "EPIPE") return readerLeft();
      if (!isLost) output("stderr").write(`openclaw: cannot write the output (${error.code})\n`);
      isLost = true;
      process.exitCode = 1;
    });
  };
  return {
    get stdin() {
      return process.stdin;
    },
    get stdout() {
      return output("stdout");
    },
    get stderr() {
      return output("stderr");
    },
  };
}
