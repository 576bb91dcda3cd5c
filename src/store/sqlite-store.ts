/**
 * Records in SQLite. Updates that wait together share one commit, since syncing the disk is the dear part: each runs in a
 * savepoint of its own, so one that fails takes only itself back, and all hear the outcome after the commit.
 */
import type { DatabaseSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Runtime, systemRuntime } from "../runtime.ts";
import type { RecordStore, RecordTransaction } from "./record-store.ts";
import { retryWhileBusy } from "./retry-busy.ts";
import { databaseFailure, translated } from "./sqlite-failure.ts";
import { openDatabase, openMemoryDatabase } from "./sqlite-file.ts";
import { Tables } from "./sqlite-tables.ts";

export interface SqliteStoreOptions {
  readonly runtime?: Runtime;
  /** How long another process may hold the database before an update fails with `locked`. */
  readonly timeoutMs?: number;
}

/** Updates in one commit at most: past this, sharing saves nothing more and the first ones wait for the last. */
const maxUpdatesPerCommit = 256;

/**
 * The store in the database file at `path`, made if it is missing; `:memory:` is one that ends with the process. Fails with
 * `state-unreadable` (foreign, damaged or newer file; it stays as it is), `state-unwritable` or `locked`.
 */
export async function openSqliteStore(
  path: string,
  { runtime = systemRuntime, timeoutMs = 5000 }: SqliteStoreOptions = {},
): Promise<RecordStore> {
  const database = path === ":memory:" ? openMemoryDatabase() : await openDatabase(path, { timeoutMs, runtime });
  return new SqliteStore(database, path, { timeoutMs, runtime });
}

interface Update {
  /** Runs the change and returns how to tell the caller that it was committed. */
  run(records: RecordTransaction): Promise<() => void>;
  fail(error: unknown): void;
}

class SqliteStore implements RecordStore {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #patience: { readonly timeoutMs: number; readonly runtime: Runtime };
  readonly #tables: Tables;
  readonly #waiting: Update[] = [];
  #writing: Promise<void> | undefined;
  #transaction: Promise<void> | undefined;
  #closed = false;

  constructor(database: DatabaseSync, path: string, patience: { timeoutMs: number; runtime: Runtime }) {
    this.#database = database;
    this.#path = path;
    this.#patience = patience;
    this.#tables = new Tables(database, path);
  }

  all<Value>(collection: string): Promise<Map<string, Value>> {
    return this.#read(() => this.#tables.all(collection));
  }

  tail<Value>(journal: string, limit: number): Promise<Value[]> {
    return this.#read(() => this.#tables.tail(journal, limit));
  }

  revision(): Promise<number> {
    return this.#read(() => this.#tables.revision());
  }

  async update<Result>(change: (records: RecordTransaction) => Promise<Result> | Result): Promise<Result> {
    this.#assertOpen();
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.#waiting.push({
      async run(records) {
        const result = await change(records);
        return () => resolve(result);
      },
      fail: reject,
    });
    this.#writing ??= this.#writeWaiting();
    return promise;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writing;
    translated(this.#path, () => this.#database.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Reads between transactions, so that only committed records are seen. */
  async #read<Result>(read: () => Result): Promise<Result> {
    this.#assertOpen();
    while (this.#transaction !== undefined) await this.#transaction;
    return read();
  }

  async #writeWaiting(): Promise<void> {
    while (this.#waiting.length > 0) {
      // What is asked for in the same turn of the event loop comes along; readers and other processes get theirs in between.
      await nextTurn();
      this.#transaction = this.#commit(this.#waiting.splice(0, maxUpdatesPerCommit));
      await this.#transaction;
      this.#transaction = undefined;
    }
    this.#writing = undefined;
  }

  /** Never rejects: what goes wrong is told to those who asked. */
  async #commit(updates: readonly Update[]): Promise<void> {
    const outcomes: (() => void)[] = [];
    try {
      await retryWhileBusy(() => this.#tables.begin(), this.#patience);
      for (const update of updates) outcomes.push(await this.#attempt(update));
      this.#tables.commit();
    } catch (error) {
      this.#rollback();
      const failure = databaseFailure(this.#path, error);
      for (const update of updates) update.fail(failure);
      return;
    }
    for (const tellOutcome of outcomes) tellOutcome();
  }

  #rollback(): void {
    try {
      if (this.#database.isTransaction) this.#tables.rollback();
    } catch (error) {
      this.#patience.runtime.log("error", "a transaction could not be rolled back", { error: String(error) });
    }
  }

  async #attempt(update: Update): Promise<() => void> {
    const records = new OpenTransaction(this.#tables);
    this.#tables.savepoint();
    try {
      const tellSuccess = await update.run(records);
      this.#tables.release();
      return tellSuccess;
    } catch (error) {
      // A full disk ends the whole transaction, not only this savepoint.
      if (!this.#database.isTransaction) throw error;
      this.#tables.rollbackToSavepoint();
      return () => update.fail(error);
    } finally {
      records.end();
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error(`the store ${this.#path} is closed`);
  }
}

/** The records as one change sees them; of no use once the change has ended. */
class OpenTransaction implements RecordTransaction {
  readonly #tables: Tables;
  #ended = false;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  end(): void {
    this.#ended = true;
  }

  async get<Value>(collection: string, key: string): Promise<Value | undefined> {
    const [value] = this.#open().at<Value>(collection, key);
    return value;
  }

  async all<Value>(collection: string): Promise<Map<string, Value>> {
    return this.#open().all(collection);
  }

  async put(collection: string, key: string, value: unknown): Promise<void> {
    this.#open().put(collection, key, value);
  }

  async delete(collection: string, key: string): Promise<void> {
    this.#open().delete(collection, key);
  }

  async append(journal: string, value: unknown): Promise<void> {
    this.#open().append(journal, value);
  }

  async revision(): Promise<number> {
    return this.#open().revision();
  }

  #open(): Tables {
    if (this.#ended) throw new Error("a change used its records after it had ended");
    return this.#tables;
  }
}
