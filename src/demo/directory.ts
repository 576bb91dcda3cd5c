/**
 * The demo's throw-away directory. Nothing of ours runs after `kill -9`, so what such a demo leaves is removed by the next one: each
 * directory has a lock that the kernel keeps for its owner and drops when the owner ends, in whatever way.
 */
import { rmSync } from "node:fs";
import { lstat, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Runtime } from "../runtime.ts";
import { acquireLock } from "../store/lock.ts";

export interface DemoDirectory extends AsyncDisposable {
  readonly path: string;
}

const prefix = "openclaw-demo-";
const lockName = "owner.lock";
/** Written once the lock is held: where it stands and the lock is free, the owner is gone. */
const markName = "owner.txt";
const mark = "openclaw demo: its owner removes this directory, or else the next demo does\n";

/** Makes a new directory, 0700, after it has removed those of dead demos. It is removed when it is disposed of, or when the process exits. */
export async function makeDemoDirectory(runtime: Runtime): Promise<DemoDirectory> {
  await removeDeadDirectories(runtime);
  await using things = new AsyncDisposableStack();
  const path = await mkdtemp(join(tmpdir(), prefix));
  things.defer(() => rm(path, { recursive: true, force: true }));
  // Whoever is told to end at once does so without waiting for promises; what can be tidied then is tidied all the same.
  const tidyAtOnce = () => rmSync(path, { recursive: true, force: true });
  process.once("exit", tidyAtOnce);
  things.defer(() => void process.off("exit", tidyAtOnce));
  things.use(await acquireLock(join(path, lockName), { runtime, timeoutMs: 0 }));
  await writeFile(join(path, markName), mark, { mode: 0o600 });
  const made = things.move();
  return { path, [Symbol.asyncDispose]: () => made.disposeAsync() };
}

/** Removes what killed demos of this user left. What is not certainly such a directory is left alone, and no failure is one of this demo. */
async function removeDeadDirectories(runtime: Runtime): Promise<void> {
  const names = await readdir(tmpdir()).catch(() => []);
  for (const path of names.filter((name) => name.startsWith(prefix)).map((name) => join(tmpdir(), name)))
    if (await isDemoDirectory(path)) await removeIfDead(path, runtime).catch(() => {});
}

async function isDemoDirectory(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined); // a link leads to what is somebody else's
  const user = process.getuid?.();
  if (found?.isDirectory() !== true || (user !== undefined && found.uid !== user)) return false;
  return (await readFile(join(path, markName), "utf8").catch(() => "")) === mark;
}

/** Fails when the owner lives: the lock is not free. */
async function removeIfDead(path: string, runtime: Runtime): Promise<void> {
  await using lock = await acquireLock(join(path, lockName), { runtime, timeoutMs: 0 });
  // The mark goes last: what cannot be removed now is still known by it to the next demo.
  const contents = (await readdir(path)).filter((name) => name !== markName && !name.startsWith(lockName));
  for (const name of contents) await rm(join(path, name), { recursive: true, force: true });
  await lock.release(); // some systems remove no file that is open
  await rm(path, { recursive: true, force: true });
}
