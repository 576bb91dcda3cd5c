/** SIGINT and SIGTERM as one AbortSignal; a second SIGINT does not ask again. */

/** The reason of an abort by a signal, with the exit code that shells expect of it. */
export class Interruption extends Error {
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM" | "SIGHUP") {
    super(`stopped by ${signal}`);
    this.name = "Interruption";
    this.exitCode = exitCodes[signal];
  }
}

const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Everything ends within this time after the first signal. */
const graceMs = 2000;

export function listenForSignals(from: NodeJS.Process): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const heard = (signal: "SIGINT" | "SIGTERM" | "SIGHUP") => {
    if (controller.signal.aborted && signal === "SIGINT") from.exit(exitCodes[signal]);
    if (controller.signal.aborted) return;
    controller.abort(new Interruption(signal));
    setTimeout(() => from.exit(from.exitCode ?? exitCodes[signal]), graceMs).unref();
  };
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of names) from.on(name, heard);
  return {
    signal: controller.signal,
    stop() {
      for (const name of names) from.off(name, heard);
    },
  };
}
