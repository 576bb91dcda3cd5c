/** `system.which`: which of these programs are here, and where. */
import { findOnPath } from "./find-program.ts";
import type { InvokeHandler } from "./invoke.ts";
import { readWhichParams } from "./params.ts";

/** Answers `{bins: {name: path}}`, only those found in `pathEnv`. Throws INVALID_REQUEST for missing or too many names. */
export function systemWhich(pathEnv: string): InvokeHandler {
  return async (params) => {
    const { bins } = readWhichParams(params);
    const found = await Promise.all(bins.map(async (name) => [name, await findOnPath(name, pathEnv)] as const));
    return { bins: Object.fromEntries(found.filter(([, path]) => path !== undefined)) };
  };
}
