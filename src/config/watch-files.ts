/** Notices that files changed, came or went, whoever wrote them and however: their directories are watched, for editors replace files. */
import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { Runtime } from "../runtime.ts";

/** A file is written in more than one step: what happens within this time is one change. */
const settleMs = 50;

/** Calls `changed` after each change of one of the files, until it is disposed of. A directory that is not there is not watched. */
export function watchFiles(paths: readonly string[], changed: () => void, runtime: Runtime): Disposable {
  let cancel: (() => void) | undefined;
  const names = new Map<string, Set<string>>();
  for (const path of paths) {
    const directory = dirname(path);
    names.set(directory, (names.get(directory) ?? new Set()).add(basename(path)));
  }
  const watchers = [...names].map(([directory, wanted]) =>
    open(directory, (name) => {
      if (name !== null && !wanted.has(name)) return;
      cancel?.();
      cancel = runtime.after(settleMs, changed);
    }),
  );
  return {
    [Symbol.dispose]() {
      cancel?.();
      for (const watcher of watchers) watcher?.close();
    },
  };
}

function open(directory: string, seen: (name: string | null) => void): FSWatcher | undefined {
  try {
    const watcher = watch(directory, { persistent: false }, (_event, name) => seen(name));
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}
