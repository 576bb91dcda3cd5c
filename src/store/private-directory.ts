/** Directories only their owner may look into, and the promise that what was put into one is still there after a crash. */
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";

/** Makes `path` and the directories above it that are missing, each 0700 and durable. Existing ones stay as they are. */
export async function makePrivateDirectory(path: string): Promise<void> {
  const firstMade = await mkdir(path, { recursive: true, mode: 0o700 });
  if (firstMade === undefined) return;
  const last = dirname(firstMade);
  for (let at = path; at !== last && at !== dirname(at); at = dirname(at)) await syncDirectory(dirname(at));
}

/** Makes new, renamed and removed names in a directory durable (fsync(2): a file's own sync does not cover its name). */
export async function syncDirectory(path: string): Promise<void> {
  // Windows opens no directories; NTFS journals names by itself.
  if (process.platform === "win32") return;
  await using directory = await open(path, "r");
  await directory.sync();
}
