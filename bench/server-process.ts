/** Servers in processes of their own, so that they have a core to themselves and a memory that can be weighed. */
import { fork } from "node:child_process";
import { once } from "node:events";
import * as v from "valibot";

const usage = v.object({ cpuMs: v.number(), heapBytes: v.number(), residentBytes: v.number() });

/** What a server has used up: CPU time since its start, and memory after a garbage collection. */
export type Usage = v.InferOutput<typeof usage>;

export interface ServerProcess<Ready> extends AsyncDisposable {
  /** What the server said when it was listening. */
  readonly ready: Ready;
  usage(): Promise<Usage>;
}

/** Starts a server module of this directory, hands it `task`, and waits until it says that it is ready. */
export async function startServer<Ready>(
  module: string,
  task: unknown,
  readReady: (message: unknown) => Ready,
): Promise<ServerProcess<Ready>> {
  const child = fork(module, { execArgv: ["--expose-gc"] });
  const gone = once(child, "exit");
  const answerTo = async (message: unknown): Promise<unknown> => {
    const answered = once(child, "message");
    child.send(message as object); // plain data of ours
    const [answer] = await Promise.race([answered, gone.then(([code]) => Promise.reject(new Error(`${module} ended with ${code}`)))]);
    return answer;
  };
  return {
    ready: readReady(await answerTo(task)),
    usage: async () => v.parse(usage, await answerTo({ ask: "usage" })),
    async [Symbol.asyncDispose]() {
      child.kill();
      await gone;
    },
  };
}

/** The server's end: the first message is its task, `start` answers it, and every later one asks for its usage. */
export function serve(start: (task: unknown) => Promise<unknown>): void {
  process.once("message", async (task) => {
    process.send?.(await start(task));
    process.on("message", () => process.send?.(usageNow()));
  });
}

function usageNow(): Usage {
  globalThis.gc?.();
  const { user, system } = process.cpuUsage();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { cpuMs: (user + system) / 1000, heapBytes: heapUsed + external, residentBytes: rss };
}
