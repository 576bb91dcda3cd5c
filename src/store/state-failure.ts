/** What the system's refusal to read or write a state file means, in words that name the file and the way out. */
import { OpenClawError, systemCode } from "../errors.ts";

/** `state-unreadable`: the file is there and cannot be used. It is never replaced by a fresh one. */
export function unreadable(path: string, why: string, hint: string, cause?: unknown): OpenClawError {
  return new OpenClawError("state-unreadable", `cannot read ${path}: ${why}`, { hint, details: { path }, cause });
}

/** `state-unwritable`: nothing was changed. */
export function unwritable(path: string, why: string, hint: string, cause?: unknown): OpenClawError {
  return new OpenClawError("state-unwritable", `cannot write ${path}: ${why}`, { hint, details: { path }, cause });
}

/** The failure of a system call that was to read `path`. */
export function readFailure(path: string, cause: unknown): OpenClawError {
  return unreadable(path, ...explain(cause), cause);
}

/** The failure of a system call that was to write `path`. */
export function writeFailure(path: string, cause: unknown): OpenClawError {
  return unwritable(path, ...explain(cause), cause);
}

const elsewhere = "or keep the state elsewhere with --state-dir or OPENCLAW_STATE_DIR";

/** Error names: errno(3). */
function explain(cause: unknown): [why: string, hint: string] {
  const code = systemCode(cause);
  switch (code) {
    case "EACCES":
    case "EPERM":
      return ["permission denied", `give the user that runs this command access to it, ${elsewhere}`];
    case "EROFS":
      return ["the file system is read-only", `mount it writable, ${elsewhere}`];
    case "ENOSPC":
    case "EDQUOT":
      return ["the disk is full", `free some space, ${elsewhere}`];
    case "EISDIR":
      return ["it is a directory", `move it away, ${elsewhere}`];
    case "ENOTDIR":
    case "EEXIST":
      return ["a part of its path is not a directory", `move that file away, ${elsewhere}`];
    case "ELOOP":
      return ["its symbolic links go in a circle", `repair the links, ${elsewhere}`];
    default:
      return [code ?? String(cause), `look at the file and its directory, ${elsewhere}`];
  }
}
