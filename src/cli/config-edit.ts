/** Changing our configuration file: under its lock, comments kept, and never to something that cannot be read again. */
import { readConfigText } from "../config/file.ts";
import { OpenClawError } from "../errors.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import type { Context } from "./context.ts";

/** Applies `edit` to the file's text. Returns whether it changed anything. */
export async function editConfig(context: Context, edit: (text: string, path: string) => string): Promise<boolean> {
  const path = context.paths().config;
  return withLock(
    `${path}.lock`,
    async () => {
      const before = (await readTextFile(path)) ?? "";
      const after = edit(before, path);
      if (after === before) return false;
      assertReadable(after, path, context);
      await writeTextFile(path, after);
      return true;
    },
    { runtime: context.runtime },
  );
}

/** Other keys may have been wrong before; this change must not be what breaks the file. */
function assertReadable(text: string, path: string, context: Context): void {
  try {
    readConfigText(text, { path, dialect: "toolkit", env: context.options.env });
  } catch (cause) {
    throw new OpenClawError("config-invalid", `the change would leave ${path} unreadable, so it was not made`, {
      cause,
    });
  }
}
