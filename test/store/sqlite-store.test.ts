import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RecordTransaction } from "../../src/store/record-store.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { runScript } from "../support/run-script.ts";

const scratch = () => mkdtempDisposable(join(tmpdir(), "openclaw-store-"));

describe.each([
  ["in memory", () => ":memory:"],
  ["in a file", (directory: string) => join(directory, "state", "gateway.db")],
])("a store %s", (_name, pathIn) => {
  test("keeps JSON values by collection and key, ordered by key", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    await store.update(async (records) => {
      await records.put("devices", "b", { name: "kitchen" });
      await records.put("devices", "a", [1, null, "ü"]);
      await records.put("other", "a", "elsewhere");
    });
    expect([...(await store.all("devices"))]).toEqual([
      ["a", [1, null, "ü"]],
      ["b", { name: "kitchen" }],
    ]);
    expect(await store.all("none")).toEqual(new Map());
  });

  test("a change sees its own writes, and its result is passed on", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    const seen = await store.update(async (records) => {
      await records.put("c", "k", 1);
      await records.put("c", "k", 2);
      await records.put("c", "gone", 3);
      await records.delete("c", "gone");
      await records.delete("c", "never there");
      return [await records.get("c", "k"), await records.get("c", "gone"), (await records.all("c")).size];
    });
    expect(seen).toEqual([2, undefined, 1]);
  });

  test("a journal grows, and its tail is the newest entries, oldest first", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    for (const entry of ["one", "two", "three"]) await store.update((records) => records.append("audit", { entry }));
    await store.update((records) => records.append("other", "elsewhere"));
    expect(await store.tail("audit", 2)).toEqual([{ entry: "two" }, { entry: "three" }]);
    expect(await store.tail("audit", 0)).toEqual([]);
    expect(await store.tail("none", 5)).toEqual([]);
  });

  test("of changes that wait together, the one that fails takes only itself back", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    const outcomes = await Promise.allSettled([
      store.update((records) => records.put("c", "first", 1)),
      store.update(async (records) => {
        await records.put("c", "first", "overwritten");
        await records.put("c", "second", 2);
        await records.append("audit", "second");
        throw new Error("changed my mind");
      }),
      store.update((records) => records.put("c", "third", 3)),
    ]);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(await store.all("c")).toEqual(
      new Map([
        ["first", 1],
        ["third", 3],
      ]),
    );
    expect(await store.tail("audit", 9)).toEqual([]);
  });

  test("readers see nothing of a change before it is committed", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    const inside = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const update = store.update(async (records) => {
      await records.put("c", "k", 1);
      inside.resolve();
      await goOn.promise;
      throw new Error("no");
    });
    await inside.promise;
    const read = store.all("c");
    goOn.resolve();
    await expect(update).rejects.toThrow("no");
    expect(await read).toEqual(new Map());
  });

  test("changes run one after the other, in the order they were asked for", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    const counts = await Promise.all(
      Array.from({ length: 600 }, () =>
        store.update(async (records) => {
          const count = ((await records.get<number>("c", "count")) ?? 0) + 1;
          await records.put("c", "count", count);
          return count;
        }),
      ),
    );
    expect(counts).toEqual(counts.map((_count, index) => index + 1));
  });

  test("its own writes do not change its revision", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    const before = await store.revision();
    await store.update((records) => records.put("c", "k", 1));
    expect(await store.revision()).toBe(before);
  });

  test("what is no JSON value is refused, and nothing of that change is kept", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    const change = store.update(async (records) => {
      await records.put("c", "k", 1);
      await records.put("c", "k", undefined);
    });
    await expect(change).rejects.toThrow("JSON value");
    expect(await store.all("c")).toEqual(new Map());
  });

  test("records kept beyond their change are of no use", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    let kept: RecordTransaction | undefined;
    await store.update((records) => void (kept = records));
    await expect(kept?.put("c", "k", 1)).rejects.toThrow("after it had ended");
  });

  test("closing lets waiting updates finish, and then takes no more", async () => {
    await using directory = await scratch();
    const store = await openSqliteStore(pathIn(directory.path));
    const update = store.update((records) => records.put("c", "k", 1));
    await store.close();
    await store.close();
    await expect(update).resolves.toBeUndefined();
    await expect(store.update(() => {})).rejects.toThrow("is closed");
    await expect(store.all("c")).rejects.toThrow("is closed");
  });

  test("behaves like a map, whatever is done to it", async () => {
    await using directory = await scratch();
    await using store = await openSqliteStore(pathIn(directory.path));
    const model = new Map<string, unknown>();
    const step = fc.tuple(fc.constantFrom("a", "b", "\u{1F980}", ""), fc.option(fc.jsonValue()), fc.boolean());
    await fc.assert(
      fc.asyncProperty(fc.array(step), async (steps) => {
        const updates = steps.map(([key, value, fails]) =>
          store.update(async (records) => {
            if (value === null) await records.delete("c", key);
            else await records.put("c", key, value);
            if (fails) throw new Error("undone");
          }),
        );
        for (const [key, value, fails] of steps) {
          if (fails) continue;
          if (value === null) model.delete(key);
          else model.set(key, JSON.parse(JSON.stringify(value)));
        }
        await Promise.allSettled(updates);
        expect(await store.all("c")).toEqual(model);
      }),
      { numRuns: 30 },
    );
  });
});

describe("two stores on one file", () => {
  test("each sees what the other has committed, and knows that it has", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "gateway.db");
    await using one = await openSqliteStore(path);
    await using two = await openSqliteStore(path);
    const before = await one.revision();
    await two.update((records) => records.put("c", "k", 1));
    expect(await one.revision()).not.toBe(before);
    expect(await one.revision()).toBe(await one.revision());
    expect(await one.all("c")).toEqual(new Map([["k", 1]]));
    expect(await one.update((records) => records.revision())).toBe(await one.revision());
  });

  test("one that waits too long for the other fails with `locked`, and changes nothing", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "gateway.db");
    await using busy = await openSqliteStore(path);
    await using waiting = await openSqliteStore(path, { timeoutMs: 0 });
    const inside = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const update = busy.update(async () => {
      inside.resolve();
      await goOn.promise;
    });
    await inside.promise;
    await expect(waiting.update((records) => records.put("c", "k", 1))).rejects.toMatchObject({
      code: "locked",
      details: { path },
    });
    goOn.resolve();
    await update;
    expect(await busy.all("c")).toEqual(new Map());
    await waiting.update((records) => records.put("c", "k", 2));
  });

  test("two processes that count on the same counter lose nothing", async () => {
    await using directory = await scratch();
    const path = join(directory.path, "state", "gateway.db");
    await Promise.all([runScript("store-counter.ts", path, "200"), runScript("store-counter.ts", path, "200")]);
    await using store = await openSqliteStore(path);
    expect(await store.all("counters")).toEqual(new Map([["shared", 400]]));
  });
});
