/** Files that hold secrets stay closed to other users, also when a copy or a restored backup has opened them. */
import { chmod, stat } from "node:fs/promises";
import { systemCode } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { shellWord } from "../shell-word.ts";

/** Permission bits of everybody but the owner (chmod(2)). */
const othersBits = 0o077;

/** Files of which it was said already that they are open and stay so. */
const told = new Set<string>();

/**
 * Makes a file 0600 again when others may read or write it and it belongs to this user, and says so in one line of the log: the secret may
 * have been read. Where the file cannot be changed the line says what to type. A file that is missing, or whose system has no such
 * permissions, is left alone. Never rejects: what is wrong with the file itself is told by who reads it.
 */
export async function keepPrivate(path: string, { log }: Pick<Runtime, "log">): Promise<void> {
  const user = process.getuid?.();
  const found = await stat(path).catch(() => undefined);
  if (user === undefined || found?.isFile() !== true || (found.mode & othersBits) === 0) return;
  const facts = { file: path, mode: (found.mode & 0o777).toString(8).padStart(4, "0") };
  const why = found.uid === user ? await closeToOthers(path) : "it belongs to another user";
  if (why === undefined) {
    log("warn", "other users could open this file; it is private again (chmod 600)", facts);
  } else if (!told.has(path)) {
    told.add(path);
    log("warn", "other users can open this file", { ...facts, why, fix: `chmod 600 ${shellWord(path)}` });
  }
}

/** Why it cannot be done, or undefined when it is. */
async function closeToOthers(path: string): Promise<string | undefined> {
  try {
    await chmod(path, 0o600);
    return undefined;
  } catch (error) {
    return systemCode(error) ?? String(error);
  }
}
