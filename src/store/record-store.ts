/**
 * Where records are kept, as the rest of the program sees it: collections of JSON values by key, journals that only grow,
 * and updates that are transactions. SQLite stands behind it; another database can.
 */

/** What a change may do. It sees its own writes; nobody else does until the update is done. */
export interface RecordTransaction {
  /** The value under a key, or undefined. `Value` is what was put there: the store keeps JSON and knows no shapes. */
  get<Value>(collection: string, key: string): Promise<Value | undefined>;
  /** Every record of a collection, ordered by key. */
  all<Value>(collection: string): Promise<Map<string, Value>>;
  /** Stores a JSON value under a key, in place of the one that may be there. */
  put(collection: string, key: string, value: unknown): Promise<void>;
  /** Removes a record; one that is not there stays so. */
  delete(collection: string, key: string): Promise<void>;
  /** Adds a JSON value to the end of a journal, for instance the audit log. Entries are never changed. */
  append(journal: string, value: unknown): Promise<void>;
  /** As in `RecordStore`, seen from inside the transaction. */
  revision(): Promise<number>;
}

export interface RecordStore extends AsyncDisposable {
  /** Every committed record of a collection, ordered by key. */
  all<Value>(collection: string): Promise<Map<string, Value>>;
  /** The last `limit` entries of a journal, oldest first. */
  tail<Value>(journal: string, limit: number): Promise<Value[]>;
  /**
   * Runs a change alone, and makes it durable: when the promise resolves the change survives `kill -9` and a power cut, when
   * it rejects nothing has changed. Changes run in the order they were asked for, and other processes wait, so a change
   * awaits nothing but its records. Inside one, use its own records: the store's methods would wait for it to end.
   */
  update<Result>(change: (records: RecordTransaction) => Promise<Result> | Result): Promise<Result>;
  /** A number that is another one whenever another process, or another store on the same data, has written since. */
  revision(): Promise<number>;
  /** Lets the updates that were asked for finish, then lets go of the data. */
  close(): Promise<void>;
}
