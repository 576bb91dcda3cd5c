/** Adds one to a shared counter as often as it is told. Run: node store-counter.ts <database> <times>. */
import { openSqliteStore } from "../../src/store/sqlite-store.ts";

const [path = "", times = "0"] = process.argv.slice(2);
await using store = await openSqliteStore(path, { timeoutMs: 30_000 });
for (let done = 0; done < Number(times); done++) {
  await store.update(async (records) => {
    const count = (await records.get<number>("counters", "shared")) ?? 0;
    await records.put("counters", "shared", count + 1);
  });
}
