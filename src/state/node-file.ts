/** `node.json`: the id under which this machine's node host is known, kept over restarts. */
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";

const nodeFile = v.object({ version: v.literal(1), nodeId: v.pipe(v.string(), v.nonEmpty()) });

/** The node id in the file, made first when there is none. */
export async function openNodeId(path: string, runtime: Runtime): Promise<string> {
  const known = await readNodeId(path);
  if (known !== undefined) return known;
  return withLock(
    `${path}.lock`,
    async () => {
      const nodeId = (await readNodeId(path)) ?? runtime.uuid();
      await writeTextFile(path, `${JSON.stringify({ version: 1, nodeId }, null, 2)}\n`);
      return nodeId;
    },
    { runtime },
  );
}

async function readNodeId(path: string): Promise<string | undefined> {
  const text = await readTextFile(path);
  if (text === undefined) return undefined;
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), nodeFile), text);
  if (read.success) return read.output.nodeId;
  throw new OpenClawError("state-unreadable", `${path} is not a node file`, {
    hint: "nothing was changed; restore it, or move it away to get a new node id",
    details: { path },
  });
}
