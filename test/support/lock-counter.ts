/** Adds one to a number in a file, each time under a lock. Run: node lock-counter.ts <lock> <file> <times>. */
import { readFile, writeFile } from "node:fs/promises";
import { withLock } from "../../src/store/lock.ts";

const [lock = "", file = "", times = "0"] = process.argv.slice(2);
for (let done = 0; done < Number(times); done++) {
  await withLock(
    lock,
    async () => {
      const count = Number(await readFile(file, "utf8"));
      await writeFile(file, String(count + 1));
    },
    { timeoutMs: 60_000 },
  );
}
