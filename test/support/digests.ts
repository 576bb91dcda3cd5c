/** Every file of a directory by its SHA-256: what stayed as it was, byte by byte, has the same digests. */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

/** Paths below `directory`, each with the digest of its file; what `skip` names is left out with all that is below it. */
export function digestsOf(directory: string, skip: readonly string[] = []): Readonly<Record<string, string>> {
  const files = globSync("**/*", { cwd: directory, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => relative(directory, join(entry.parentPath, entry.name))).toSorted();
  const kept = paths.filter((path) => !skip.some((name) => path === name || path.startsWith(`${name}/`)));
  return Object.fromEntries(kept.map((path) => [path, digestOf(join(directory, path))]));
}

function digestOf(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
