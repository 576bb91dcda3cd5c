/** Finds and reads the SSH configuration: a person's file, the system's, and what they include. */
import { glob, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join } from "node:path";
import { OpenClawError, systemCode } from "../errors.ts";
import { configError, parseConfig } from "./ssh-config-syntax.ts";
import type { ConfigFile, ConfigLine } from "./ssh-config-syntax.ts";

export interface SshConfigOptions {
  readonly home: string;
  /** `-F`: the only file to read, or `none`. */
  readonly file?: string | undefined;
}

/** As deep as OpenSSH lets files include one another. */
const maxDepth = 16;
const systemDirectory = "/etc/ssh";

/** Where an included file is looked for, and whether strangers must not be able to write it. */
interface Origin {
  readonly directory: string;
  readonly home: string;
  readonly isChecked: boolean;
}

/**
 * The configuration's files in the order they count. A default file that is missing says nothing. Throws `usage` for a named file that
 * cannot be read, one that others can write, and what `parseConfig` refuses.
 */
export async function readSshConfig({ home, file }: SshConfigOptions): Promise<ConfigFile[]> {
  if (file?.toLowerCase() === "none") return [];
  const own = { directory: join(home, ".ssh"), home, isChecked: false };
  if (file !== undefined) {
    const read = await readConfigFile(file, own, 0);
    if (read !== undefined) return [read];
    throw new OpenClawError("usage", `there is no SSH configuration ${file}`, { hint: "-F none reads no file at all" });
  }
  const files = await Promise.all([
    readConfigFile(join(own.directory, "config"), { ...own, isChecked: true }, 0),
    readConfigFile(join(systemDirectory, "ssh_config"), { ...own, directory: systemDirectory }, 0),
  ]);
  return files.filter((one) => one !== undefined);
}

/** Undefined when there is no such file. */
async function readConfigFile(path: string, origin: Origin, depth: number): Promise<ConfigFile | undefined> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    if (systemCode(cause) === "ENOENT") return undefined;
    throw new OpenClawError("usage", `cannot read the SSH configuration ${path}: ${systemCode(cause)}`, { cause });
  });
  if (text === undefined) return undefined;
  if (origin.isChecked) await refuseOpenFile(path);
  const lines = parseConfig(text, path);
  return { path, lines: await Promise.all(lines.map((line) => withIncluded(line, origin, depth))) };
}

async function withIncluded(line: ConfigLine, origin: Origin, depth: number): Promise<ConfigLine> {
  if (line.keyword !== "include") return line;
  if (depth >= maxDepth) throw configError(line.at, "files include one another without end");
  const named = await Promise.all(line.words.map((word) => filesNamed(word, origin)));
  const read = await Promise.all(named.flat().map((path) => readConfigFile(path, origin, depth + 1)));
  return { ...line, included: read.filter((file) => file !== undefined) };
}

/** The files a pattern names, sorted; names that begin with a dot only when the pattern does (glob(7)). */
async function filesNamed(word: string, { directory, home }: Origin): Promise<string[]> {
  const path = word.startsWith("~/") ? join(home, word.slice(2)) : word;
  const pattern = isAbsolute(path) ? path : join(directory, path);
  if (!isWild(pattern)) return [pattern];
  // The system's own file has an Include of a directory that is mostly empty, and what matches patterns is large.
  if (!isWild(dirname(pattern)) && (await readdir(dirname(pattern)).catch(() => [])).length === 0) return [];
  const wantsHidden = basename(pattern).startsWith(".");
  const found: string[] = [];
  for await (const one of glob(pattern)) if (wantsHidden || !basename(one).startsWith(".")) found.push(one);
  return found.toSorted();
}

function isWild(pattern: string): boolean {
  return /[*?[]/.test(pattern);
}

/** A configuration decides whom a person trusts, so nobody else may write it (as ssh(1) has it). */
async function refuseOpenFile(path: string): Promise<void> {
  const user = process.getuid?.();
  const { uid, mode } = await stat(path);
  if (user === undefined || ((uid === 0 || uid === user) && (mode & 0o022) === 0)) return;
  throw new OpenClawError("usage", `the SSH configuration ${path} can be written by others, so it is not used`, {
    hint: "make it yours alone",
    fix: `chmod 600 ${path}`,
  });
}
