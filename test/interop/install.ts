/** The real product from npm, outside the lockfile: fetched once per version into a folder that git ignores. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

/** Today's product, and the one of the bug reports. */
export const versions = ["2026.9.6", "2026.3.8"] as const;
export type Version = (typeof versions)[number];

const run = promisify(execFile);
const cache = join(import.meta.dirname, "../../.cache/openclaw");

/** The product's own entry file. Throws when `installProduct` did not put it there. */
export function entryOf(version: Version): string {
  const entry = join(cache, version, packageFolder(version), "openclaw.mjs");
  if (!existsSync(entry)) throw new Error(`openclaw ${version} is not installed; npm run interop does that`);
  return entry;
}

/** Fetches a version unless it is there. No install script runs. About half a minute, and 600 MB. */
export async function installProduct(version: Version): Promise<void> {
  const place = join(cache, version);
  if (existsSync(place)) return;
  const draft = `${place}.${process.pid}`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  try {
    if (version === "2026.3.8") await unpackWithStandIns(draft, version);
    else writeFileSync(join(draft, "package.json"), '{ "name": "interop", "version": "1.0.0", "private": true }');
    const what = version === "2026.3.8" ? [] : [`openclaw@${version}`];
    const flags = ["--ignore-scripts", "--omit=dev", "--omit=peer", "--no-package-lock", "--no-fund", "--no-audit"];
    await npm(join(draft, version === "2026.3.8" ? "package" : ""), ["install", ...flags, ...what]);
    renameSync(draft, place); // only what is whole gets its name
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    throw error;
  }
}

function packageFolder(version: Version): string {
  return version === "2026.3.8" ? "package" : "node_modules/openclaw";
}

/**
 * Two of the packages that 2026.3.8 names cannot be had any more, one from git and one that left the registry. Gateway, node and the
 * commands about devices use neither.
 */
async function unpackWithStandIns(folder: string, version: Version): Promise<void> {
  await npm(folder, ["pack", "--silent", `openclaw@${version}`]);
  await run("tar", ["xzf", `openclaw-${version}.tgz`], { cwd: folder });
  const path = join(folder, "package/package.json");
  const { name, type, bin, exports, main, dependencies, engines } = JSON.parse(readFileSync(path, "utf8"));
  const overrides = { cssom: "0.5.0", libsignal: "npm:ms@2.1.3", cssomnom: "npm:ms@2.1.3" };
  const manifest = { name, version, type, bin, exports, main, dependencies, engines, overrides };
  writeFileSync(path, JSON.stringify(manifest, null, 2));
}

async function npm(cwd: string, args: readonly string[]): Promise<void> {
  await run("npm", [...args], { cwd, env: { ...process.env, PATH: pathWithThisNode() }, maxBuffer: 64 * 1024 * 1024 });
}

/** The product looks for Node.js on its PATH, and takes none older than 24. */
export function pathWithThisNode(): string {
  return [dirname(process.execPath), process.env["PATH"]].join(delimiter);
}
