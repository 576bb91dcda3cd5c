/** Writes numbered records for ever and prints each number once its write was acknowledged. Run: node store-writer.ts <database> <from>. */
import { openSqliteStore } from "../../src/store/sqlite-store.ts";

const [path = "", from = "0"] = process.argv.slice(2);
const store = await openSqliteStore(path);
for (let first = Number(from); ; first += 3) {
  // Alone and in company: both ways to a commit must keep the promise.
  const numbers = first % 2 === 0 ? [first] : [first, first + 1, first + 2];
  await Promise.all(
    numbers.map(async (number) => {
      await store.update((records) => records.put("written", `n${number}`, { number, padding: "x".repeat(200) }));
      process.stdout.write(`${number}\n`);
    }),
  );
}
