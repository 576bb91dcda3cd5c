/** Takes a lock, says so, and keeps it until it is killed. Run: node lock-holder.ts <lock>. */
import { acquireLock } from "../../src/store/lock.ts";

const [path = ""] = process.argv.slice(2);
await acquireLock(path, { timeoutMs: 30_000 });
process.stdout.write("held\n");
setInterval(() => {}, 60_000);
