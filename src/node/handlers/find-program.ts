/** Where a program is: the look-up a shell would do in PATH, and what is behind the links. */
import { access, constants, realpath, stat } from "node:fs/promises";
import { basename, delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { type FoundProgram, isPathPattern } from "../exec-policy.ts";

/**
 * The first executable regular file called `name` in the directories of `pathEnv`, as an absolute path. Relative and empty
 * entries are skipped: they would mean a directory the caller chose. A name with a slash is never looked up.
 */
export async function findOnPath(name: string, pathEnv: string): Promise<string | undefined> {
  if (name === "" || isPathPattern(name)) return undefined;
  for (const directory of pathDirectories(pathEnv)) {
    for (const extension of extensions) {
      const path = join(directory, name + extension);
      if (await isExecutable(path)) return path;
    }
  }
  return undefined;
}

/** The absolute directories of a PATH value, in order. */
export function pathDirectories(pathEnv: string): string[] {
  return pathEnv.split(delimiter).filter((directory) => isAbsolute(directory));
}

/** What the first word of a command means: a name is looked up in `pathEnv`, a path is taken from `cwd`. */
export async function locateProgram(word: string, cwd: string, pathEnv: string): Promise<FoundProgram | undefined> {
  const asked = isPathPattern(word) ? resolve(cwd, word) : await findOnPath(word, pathEnv);
  if (asked === undefined) return undefined;
  try {
    const path = await followDirectory(asked);
    return { asked, path, realPath: await realpath(asked), onPath: await isOnPath(path, pathEnv) };
  } catch {
    return undefined; // no such file, or a directory on the way that may not be searched
  }
}

/**
 * Makes allowlist entries comparable with a `FoundProgram`: `~/` becomes `home`, and links are followed in the directories
 * before the first wildcard (`/bin/*` is `/usr/bin/*` on a merged system). The last name is left alone.
 */
export function resolveAllowlist(entries: readonly string[], home: string): Promise<string[]> {
  return Promise.all(entries.map((entry) => resolveEntry(expandHome(entry, home))));
}

/** `~` and `~/x` -> the same under `home`; anything else unchanged. */
export function expandHome(path: string, home: string): string {
  return path === "~" || path.startsWith("~/") ? join(home, path.slice(1)) : path;
}

// Of PATHEXT only these: `.cmd` and `.bat` would need a shell.
const extensions: readonly string[] = process.platform === "win32" ? ["", ".exe", ".com"] : [""];

async function isOnPath(path: string, pathEnv: string): Promise<boolean> {
  const found = await findOnPath(basename(path), pathEnv);
  return found !== undefined && (await followDirectory(found)) === path;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function resolveEntry(entry: string): Promise<string> {
  if (!isAbsolute(entry)) return entry;
  const wildcard = entry.search(/[*?]/u);
  const fixed = wildcard === -1 ? entry : entry.slice(0, wildcard);
  const directory = fixed.endsWith("/") ? fixed : dirname(fixed);
  try {
    return join(await realpath(directory), entry.slice(directory.length));
  } catch {
    return entry; // the directory is not there, so neither is a program in it
  }
}

async function followDirectory(path: string): Promise<string> {
  return join(await realpath(dirname(path)), basename(path));
}
