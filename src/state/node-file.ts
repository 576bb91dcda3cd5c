/** `node.json`: the id under which this machine's node host is known, and the gateway that it joined, kept over restarts. */
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";

/** A gateway that this machine joined with an invite. */
export interface JoinedGateway {
  /** `ws(s)://host:port/path`. */
  readonly url: string;
  /** The only certificate to accept there, lower-case hex SHA-256. */
  readonly tlsFingerprint?: string | undefined;
}

const nodeFile = v.object({
  version: v.literal(1),
  nodeId: v.pipe(v.string(), v.nonEmpty()),
  gateway: v.optional(v.object({ url: v.pipe(v.string(), v.nonEmpty()), tlsFingerprint: v.optional(v.string()) })),
});
type NodeFile = v.InferOutput<typeof nodeFile>;

/** The node id in the file, made first when there is none. */
export async function openNodeId(path: string, runtime: Runtime): Promise<string> {
  const known = await readNodeFile(path);
  return known?.nodeId ?? (await change(path, runtime, (file) => file)).nodeId;
}

/** The gateway that this machine joined last, if it joined one. */
export async function joinedGateway(path: string): Promise<JoinedGateway | undefined> {
  return (await readNodeFile(path))?.gateway;
}

/** Keeps the gateway that this machine joined, so that its node host finds it again without the invite. */
export async function rememberGateway(path: string, gateway: JoinedGateway, runtime: Runtime): Promise<void> {
  const { url, tlsFingerprint } = gateway;
  const known = await joinedGateway(path);
  if (known?.url === url && known.tlsFingerprint === tlsFingerprint) return;
  await change(path, runtime, (file) => ({
    ...file,
    gateway: { url, ...(tlsFingerprint === undefined ? {} : { tlsFingerprint }) },
  }));
}

function change(path: string, runtime: Runtime, edit: (file: NodeFile) => NodeFile): Promise<NodeFile> {
  return withLock(
    `${path}.lock`,
    async () => {
      const file = edit((await readNodeFile(path)) ?? { version: 1, nodeId: runtime.uuid() });
      await writeTextFile(path, `${JSON.stringify(file, null, 2)}\n`);
      return file;
    },
    { runtime },
  );
}

async function readNodeFile(path: string): Promise<NodeFile | undefined> {
  const text = await readTextFile(path);
  if (text === undefined) return undefined;
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), nodeFile), text);
  if (read.success) return read.output;
  throw new OpenClawError("state-unreadable", `${path} is not a node file`, {
    hint: "nothing was changed; restore it, or move it away to get a new node id",
    details: { path },
  });
}
