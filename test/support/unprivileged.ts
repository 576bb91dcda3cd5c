/** Opens a store and writes a file as a user without rights, and prints the failures' codes. Run: node unprivileged.ts <directory>. */
import { join } from "node:path";
import { isFailure } from "../../src/errors.ts";
import { readTextFile, writeTextFile } from "../../src/store/atomic-file.ts";
import { acquireLock } from "../../src/store/lock.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";

const [directory = ""] = process.argv.slice(2);
if (process.getuid?.() === 0) process.setuid?.(65_534);
const attempts = {
  newStore: () => openSqliteStore(join(directory, "new.db")),
  oldStore: () => openSqliteStore(join(directory, "old.db")),
  write: () => writeTextFile(join(directory, "file"), "text"),
  read: () => readTextFile(join(directory, "secret")),
  lock: () => acquireLock(join(directory, "lock")),
};
const codes: Record<string, string> = {};
for (const [name, attempt] of Object.entries(attempts)) {
  codes[name] = await attempt().then(
    () => "worked",
    (error: unknown) => (isFailure(error) && error.message.includes(directory) ? error.code : String(error)),
  );
}
process.stdout.write(JSON.stringify(codes));
