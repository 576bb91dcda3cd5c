/** `system.execApprovals.get` and `.set`: the gateway's view of this node's exec approvals. */
import { isFailure } from "../../errors.ts";
import { type ApprovalsFile, readSnapshot, replaceApprovals } from "../exec-approvals.ts";
import { InvokeError, type InvokeHandler, invalidRequest } from "./invoke.ts";
import { readReplaceParams } from "./params.ts";

/** Answers `{path, exists, hash, file}`, without the socket's token. */
export function getExecApprovals(approvals: ApprovalsFile): InvokeHandler {
  return () => answer(readSnapshot(approvals));
}

/** Replaces the file and answers like `get`. Throws INVALID_REQUEST when it changed since `baseHash`, or has a wrong shape. */
export function setExecApprovals(approvals: ApprovalsFile): InvokeHandler {
  return async (params, { runtime }) => {
    const { file, baseHash } = readReplaceParams(params);
    const snapshot = await answer(replaceApprovals(approvals, file, baseHash ?? undefined));
    runtime.log("warn", "the gateway changed this node's exec approvals", { path: snapshot.path, hash: snapshot.hash });
    return snapshot;
  };
}

/** Our failures in the wire's words. */
async function answer<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (isFailure(cause, "conflict", "usage")) throw invalidRequest(cause.message);
    if (isFailure(cause)) throw new InvokeError("UNAVAILABLE", cause.message, { cause });
    throw cause;
  }
}
