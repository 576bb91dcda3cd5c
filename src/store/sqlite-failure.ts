/** SQLite's result codes as failures of ours: the one place that knows their numbers. */
import { OpenClawError, isFailure, systemCode } from "../errors.ts";
import { unreadable, unwritable, writeFailure } from "./state-failure.ts";

/** Primary result codes, https://sqlite.org/rescode.html; the extended ones have more bits above these eight. */
const results = {
  perm: 3,
  busy: 5,
  readonly: 8,
  ioerr: 10,
  corrupt: 11,
  full: 13,
  cantOpen: 14,
  protocol: 15,
  notADb: 26,
};

/** True when another connection holds what this one needed: waiting may help. */
export function isBusy(error: unknown): boolean {
  const result = primaryResult(error);
  return result === results.busy || result === results.protocol;
}

/** What an error thrown while working on the database at `path` means. What is not SQLite's is returned as it is. */
export function databaseFailure(path: string, error: unknown): unknown {
  switch (primaryResult(error)) {
    case results.notADb:
      return unreadable(
        path,
        "it is not a database of this program",
        "move it away, or use another --state-dir",
        error,
      );
    case results.corrupt:
      return unreadable(path, "the database is damaged", "restore it from a backup, or move it away", error);
    case results.perm:
    case results.readonly:
    case results.cantOpen:
      return unwritable(path, "the file or its directory does not let us", "make both writable for this user", error);
    case results.full:
      return unwritable(path, "the disk is full", "free some space", error);
    case results.ioerr:
      return unwritable(path, "the disk reports an error", "check the disk and its file system", error);
    case results.busy:
    case results.protocol:
      return new OpenClawError("locked", `${path} is in use by another process`, {
        hint: "wait until the other openclaw process is done, or stop it",
        details: { path },
        cause: error,
      });
    default:
      return error;
  }
}

/** As `databaseFailure`, for work that also makes files by itself: a refused system call is `state-unwritable`. */
export function creationFailure(path: string, error: unknown): unknown {
  const failure = databaseFailure(path, error);
  return isFailure(failure) || systemCode(failure) === undefined ? failure : writeFailure(path, failure);
}

/** Runs `action`, and throws its SQLite errors as failures of ours. */
export function translated<Result>(path: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw databaseFailure(path, error);
  }
}

function primaryResult(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return undefined;
  return error.errcode & 0xff;
}
