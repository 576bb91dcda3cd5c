/** The two tables, and every statement we run on them. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import { translated } from "./sqlite-failure.ts";

/** The statements, each prepared once. They see what is uncommitted on their connection: when to call them is up to the store. */
export class Tables {
  readonly #path: string;
  readonly #prepare: (sql: string) => StatementSync;

  constructor(database: DatabaseSync, path: string) {
    const prepared = new Map<string, StatementSync>();
    this.#path = path;
    this.#prepare = (sql) => {
      const statement = prepared.get(sql) ?? database.prepare(sql);
      prepared.set(sql, statement);
      return statement;
    };
  }

  /** The value under a key, or nothing. */
  at<Value>(collection: string, key: string): Value[] {
    return valuesOf(this.#rows("SELECT value FROM records WHERE collection = ? AND key = ?", collection, key));
  }

  all<Value>(collection: string): Map<string, Value> {
    const rows = this.#rows("SELECT key, value FROM records WHERE collection = ? ORDER BY key", collection);
    const values = valuesOf<Value>(rows);
    return new Map(values.map((value, index) => [String(rows[index]?.["key"]), value]));
  }

  tail<Value>(journal: string, limit: number): Value[] {
    const sql = "SELECT value FROM entries WHERE journal = ? ORDER BY position DESC LIMIT ?";
    return valuesOf<Value>(this.#rows(sql, journal, Math.max(0, limit))).toReversed();
  }

  put(collection: string, key: string, value: unknown): void {
    const sql =
      "INSERT INTO records (collection, key, value) VALUES (?, ?, ?) " +
      "ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value";
    this.#run(sql, collection, key, json(value));
  }

  delete(collection: string, key: string): void {
    this.#run("DELETE FROM records WHERE collection = ? AND key = ?", collection, key);
  }

  append(journal: string, value: unknown): void {
    this.#run("INSERT INTO entries (journal, value) VALUES (?, ?)", journal, json(value));
  }

  /** https://sqlite.org/pragma.html#pragma_data_version: other connections' commits change it, our own do not. */
  revision(): number {
    return Number(this.#row("PRAGMA data_version")?.["data_version"]);
  }

  /** Throws SQLite's own error, for `retryWhileBusy` to look at. */
  begin(): void {
    this.#prepare("BEGIN IMMEDIATE").run();
  }

  commit(): void {
    this.#run("COMMIT");
  }

  rollback(): void {
    this.#run("ROLLBACK");
  }

  savepoint(): void {
    this.#run("SAVEPOINT change");
  }

  release(): void {
    this.#run("RELEASE change");
  }

  rollbackToSavepoint(): void {
    this.#run("ROLLBACK TO change");
    this.#run("RELEASE change");
  }

  #run(sql: string, ...values: string[]): void {
    translated(this.#path, () => this.#prepare(sql).run(...values));
  }

  #row(sql: string, ...values: string[]) {
    return translated(this.#path, () => this.#prepare(sql).get(...values));
  }

  #rows(sql: string, ...values: (string | number)[]) {
    return translated(this.#path, () => this.#prepare(sql).all(...values));
  }
}

/** What callers put is what they get: the one place where JSON takes on the shape its caller knows. */
function valuesOf<Value>(rows: readonly Readonly<Record<string, SQLOutputValue>>[]): Value[] {
  return rows.map((row) => JSON.parse(String(row["value"])));
}

function json(value: unknown): string {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError("a record must be a JSON value");
  return text;
}
