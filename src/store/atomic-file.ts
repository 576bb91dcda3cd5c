/** Small files that are there as a whole or not at all, also after a crash, and that only their owner may read. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readlink, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { OpenClawError, systemCode } from "../errors.ts";
import { makePrivateDirectory, syncDirectory } from "./private-directory.ts";
import { readFailure, unreadable, writeFailure } from "./state-failure.ts";

/** Bytes a state file may have: ours are a few KiB, so anything near this is not ours. */
const maxTextFileBytes = 16 * 1024 * 1024;

export interface ReadOptions {
  readonly maxBytes?: number;
}

export interface WriteOptions {
  /** Permission bits, whatever the umask; 0600 unless told otherwise. */
  readonly mode?: number;
}

/**
 * The text of a file, or undefined when there is none. A file that is there and cannot be read as UTF-8 text, or holds more
 * than `maxBytes`, is `state-unreadable`.
 */
export async function readTextFile(
  path: string,
  { maxBytes = maxTextFileBytes }: ReadOptions = {},
): Promise<string | undefined> {
  try {
    // Without O_NONBLOCK a named pipe under this name would keep us waiting for its writer.
    await using file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    return await readWhole(file, path, maxBytes);
  } catch (error) {
    if (error instanceof OpenClawError) throw error;
    if (systemCode(error) === "ENOENT") return undefined;
    throw readFailure(path, error);
  }
}

/**
 * Replaces a file's text: readers see the old text or the new one, and once this resolves the new one survives a power cut.
 * Missing directories are made 0700. A symbolic link stays, and what it points to is replaced. When it rejects
 * (`state-unwritable`) the file is as it was.
 */
export async function writeTextFile(path: string, text: string, { mode = 0o600 }: WriteOptions = {}): Promise<void> {
  try {
    const target = await linkedPath(path);
    await makePrivateDirectory(dirname(target));
    await replace(target, text, mode);
  } catch (error) {
    throw writeFailure(path, error);
  }
}

async function readWhole(file: FileHandle, path: string, maxBytes: number): Promise<string> {
  const stat = await file.stat();
  if (!stat.isFile()) throw unreadable(path, "it is not a regular file", "move it away");
  if (stat.size > maxBytes) {
    throw unreadable(path, `${stat.size} bytes are more than the ${maxBytes} such a file may have`, "move it away");
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.readFile());
  } catch (cause) {
    if (systemCode(cause) !== "ERR_ENCODING_INVALID_ENCODED_DATA") throw cause;
    throw unreadable(path, "it is not UTF-8 text", "restore it from a backup, or move it away", cause);
  }
}

async function replace(target: string, text: string, mode: number): Promise<void> {
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    await writeNew(temporary, text, mode);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(target));
}

async function writeNew(path: string, text: string, mode: number): Promise<void> {
  await using file = await open(path, "wx", 0o600);
  await file.writeFile(text, "utf8");
  await file.chmod(mode);
  await file.sync();
}

/** Where a write to `path` goes: the end of its symbolic links, also when nothing is there yet. */
async function linkedPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
  try {
    return await linkedPath(resolve(dirname(path), await readlink(path)));
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "EINVAL") return path;
    throw error;
  }
}
