/** The package as it is installed: built, without sources, in a directory of its own. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Builds into `dist/`, lays out what is published in `directory`, and returns the path of its launcher. */
export function stagePackage(directory: string): string {
  execFileSync(process.execPath, ["build.ts"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  const stage = join(directory, "package");
  mkdirSync(stage);
  for (const name of ["bin", "dist", "package.json"]) cpSync(join(root, name), join(stage, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(stage, "node_modules"), "junction");
  return join(stage, "bin/openclaw.js");
}
