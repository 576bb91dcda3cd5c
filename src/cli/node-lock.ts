/** One node host for each gateway: two with one identity would only take turns in throwing each other out. */
import { originOf } from "../client/open-session.ts";
import { acquireLock } from "../store/lock.ts";
import type { Context } from "./context.ts";

/** Taken for as long as this machine serves the gateway; `locked` while another process does. */
export function lockNode(context: Context, url: string): Promise<AsyncDisposable> {
  const name = originOf(url).replaceAll(/[^A-Za-z0-9.]+/gu, "-");
  return acquireLock(`${context.paths().node}.${name}.lock`, { runtime: context.runtime, timeoutMs: 0 });
}
