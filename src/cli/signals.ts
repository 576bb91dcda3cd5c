/** SIGINT, SIGTERM and readers that went away as one AbortSignal; a second SIGINT does not ask again. */

export type InterruptingSignal = keyof typeof exitCodes;

/** The reason of an abort by a signal, with the exit code that shells expect of it. */
export class Interruption extends Error {
  readonly exitCode: number;
  readonly signal: InterruptingSignal;

  constructor(signal: InterruptingSignal) {
    super(`stopped by ${signal}`);
    this.name = "Interruption";
    this.signal = signal;
    this.exitCode = exitCodes[signal];
  }
}

/** 128 and the signal's number, as shells have it; that nobody reads on is no failure. */
const exitCodes = { SIGINT: 130, SIGQUIT: 131, SIGTERM: 143, SIGHUP: 129, SIGPIPE: 0 } as const;

/** A Ctrl-C can come twice at once, from the terminal's group and from a launcher that passes it on; that is one wish. */
const sameWishMs = 300;

/** Everything ends within this time after the first signal. */
const graceMs = 2000;

/**
 * Set to 1 by who holds our standard input open for as long as we are to live. A process that is killed tells nobody, but its end of
 * the pipe closes.
 */
const endWithStdin = "OPENCLAW_END_WITH_STDIN";

/** Set by the launcher (bin/openclaw.js) to the file descriptor of a pipe that ends with it. */
const launcherFd = "OPENCLAW_LAUNCHER_FD";

export interface Signals {
  readonly signal: AbortSignal;
  /** As if the signal had come. */
  interrupt(signal: InterruptingSignal): void;
  /** Stops listening. */
  stop(): void;
}

export function listenForSignals(from: NodeJS.Process): Signals {
  const controller = new AbortController();
  let abortedAt = 0;
  let first: InterruptingSignal | undefined;
  const interrupt = (signal: InterruptingSignal) => {
    const isAgain = controller.signal.aborted && (signal !== first || performance.now() - abortedAt > sameWishMs);
    if (isAgain && signal === "SIGINT") from.exit(exitCodes[signal]);
    if (controller.signal.aborted) return;
    abortedAt = performance.now();
    first = signal;
    controller.abort(new Interruption(signal));
    setTimeout(() => from.exit(from.exitCode ?? exitCodes[signal]), graceMs).unref();
  };
  const names = ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"] as const;
  for (const name of names) from.on(name, interrupt);
  const letGo = from.env[endWithStdin] === "1" ? holdOnTo(from, () => interrupt("SIGHUP")) : undefined;
  const leaveLauncher = launcherFd in from.env ? followLauncher(from, () => interrupt("SIGTERM")) : undefined;
  return {
    signal: controller.signal,
    interrupt,
    stop() {
      for (const name of names) from.off(name, interrupt);
      letGo?.();
      leaveLauncher?.();
    },
  };
}

/** Calls `lost` when standard input ends. The wish is ours alone: programs that we start do not inherit it. */
function holdOnTo({ env, stdin }: NodeJS.Process, lost: () => void): () => void {
  delete env[endWithStdin];
  stdin.once("end", lost).once("error", lost).resume();
  stdin.unref(); // a command that is done does not wait for it
  return () => {
    stdin.off("end", lost).destroy();
  };
}

/**
 * Calls `lost` when the launcher is gone. Programs that we start get neither the variable nor the descriptor: Node.js closes at their
 * start what it inherited itself.
 */
function followLauncher(from: NodeJS.Process, lost: () => void): () => void {
  const fd = Number(from.env[launcherFd]);
  delete from.env[launcherFd];
  const { Socket } = from.getBuiltinModule("node:net");
  try {
    const line = new Socket({ fd });
    line
      .once("close", lost)
      .on("error", () => {})
      .resume()
      .unref();
    return () => void line.off("close", lost).destroy();
  } catch {
    return () => {}; // the variable is not of our launcher: there is no such pipe
  }
}
