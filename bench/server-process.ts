/** Servers in processes of their own, so that they have a core to themselves and a memory that can be weighed. */
import { fork, type Serializable } from "node:child_process";
import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import * as v from "valibot";

const memory = v.object({ heapBytes: v.number(), residentBytes: v.number() });

/** What a process holds: its JavaScript heap with what hangs on it outside, and everything, as the system counts it. */
export type Memory = v.InferOutput<typeof memory>;

export interface ServerProcess<Ready> extends AsyncDisposable {
  /** What the server said when it was listening. */
  readonly ready: Ready;
  /** CPU time since the start, in milliseconds. */
  cpuMs(): Promise<number>;
  /** Memory after a garbage collection. */
  memory(): Promise<Memory>;
}

/** Starts a server module of this directory, hands it `task`, and waits until it says that it is ready. */
export async function startServer<Ready>(
  module: string,
  task: Serializable,
  readReady: (message: unknown) => Ready,
): Promise<ServerProcess<Ready>> {
  const child = fork(module, { execArgv: ["--expose-gc"] });
  const gone = once(child, "exit");
  const answerTo = async (message: Serializable): Promise<unknown> => {
    const answered = once(child, "message");
    child.send(message);
    const [answer] = await Promise.race([
      answered,
      gone.then(([code]) => Promise.reject(new Error(`${module} ended with ${code}`))),
    ]);
    return answer;
  };
  return {
    ready: readReady(await answerTo(task)),
    cpuMs: async () => v.parse(v.number(), await answerTo("cpu")),
    memory: async () => v.parse(memory, await answerTo("memory")),
    async [Symbol.asyncDispose]() {
      child.disconnect();
      await gone;
    },
  };
}

/** The server's end: the first message is its task, `start` answers it, and every later one asks for CPU time or memory. */
export function serve(start: (task: unknown) => Promise<unknown>): void {
  process.once("disconnect", () => process.exit()); // nobody is left to measure
  const begin = async (task: unknown) => {
    process.send?.(await start(task));
    process.on("message", (asked) => {
      if (asked === "cpu") process.send?.(cpuMs());
      else void memoryNow().then((memory) => process.send?.(memory));
    });
  };
  process.once("message", (task) => void begin(task)); // a failure ends the process, which its parent is told
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Sockets that were closed just now go in several turns of the event loop, and what hung on them in several collections. */
async function memoryNow(): Promise<Memory> {
  for (let pass = 0; pass < 5; pass++) {
    await nextTurn();
    globalThis.gc?.();
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heapBytes: heapUsed + external, residentBytes: rss };
}
