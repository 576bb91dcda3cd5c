/** What a gateway remembers, in memory for every frame and in the store for every restart. */
import type { LogFields, Runtime } from "../../runtime.ts";
import type { DeviceRecord, DeviceRequestRecord, SurfaceRequestRecord } from "../../pairing/records.ts";
import type { InviteRecord } from "../../pairing/invites.ts";
import { liveHashes } from "../../pairing/token-handover.ts";
import { isRole, type Role } from "../../protocol/vocabulary.ts";
import type { RecordStore, RecordTransaction } from "../../store/record-store.ts";

interface Rows {
  readonly devices: DeviceRecord;
  readonly deviceRequests: DeviceRequestRecord;
  readonly surfaceRequests: SurfaceRequestRecord;
  readonly invites: InviteRecord;
}
type TableName = keyof Rows;
const tableNames = ["devices", "deviceRequests", "surfaceRequests", "invites"] as const;

/** Whom a device token was issued to. */
export interface TokenOwner {
  readonly deviceId: string;
  readonly role: Role;
}

/** One table inside a change: reads see what the change has written so far. */
class Draft<Row> {
  readonly changes = new Map<string, Row | undefined>();
  readonly #rows: ReadonlyMap<string, Row>;

  constructor(rows: ReadonlyMap<string, Row>) {
    this.#rows = rows;
  }

  get(key: string): Row | undefined {
    return this.changes.has(key) ? this.changes.get(key) : this.#rows.get(key);
  }

  all(): Row[] {
    const kept = [...this.#rows].filter(([key]) => !this.changes.has(key)).map(([, row]) => row);
    return [...kept, ...[...this.changes.values()].filter((row) => row !== undefined)];
  }

  put(key: string, row: Row): void {
    this.changes.set(key, row);
  }

  delete(key: string): void {
    this.changes.set(key, undefined);
  }
}

/** A change in the making. It is pure: it reads, decides and writes drafts; the store makes them true or none of them. */
export interface Change {
  readonly devices: Draft<DeviceRecord>;
  readonly deviceRequests: Draft<DeviceRequestRecord>;
  readonly surfaceRequests: Draft<SurfaceRequestRecord>;
  readonly invites: Draft<InviteRecord>;
  readonly nowMs: number;
  /** One line that says who decided what about whom; it is kept with the change, or not at all. */
  audit(entry: LogFields & { readonly action: string }): void;
}

/** The gateway's memory, equal to the store after every change, also after one that another process made. */
export class Tables {
  readonly #store: RecordStore;
  readonly #runtime: Runtime;
  #rows: { readonly [Name in TableName]: Map<string, Rows[Name]> } = emptyRows();
  readonly #tokenOwners = new Map<string, TokenOwner>();
  #revision: number | undefined;
  #generation = 0;
  /** Changes and refreshes take turns: a change must see what the one before it left in memory. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #isFresh = false;
  #devicesChanged: () => void = () => {};

  private constructor(store: RecordStore, runtime: Runtime) {
    this.#store = store;
    this.#runtime = runtime;
  }

  /** Reads everything that the store holds. */
  static async open(store: RecordStore, runtime: Runtime): Promise<Tables> {
    const tables = new Tables(store, runtime);
    await tables.refresh();
    return tables;
  }

  get devices(): ReadonlyMap<string, DeviceRecord> {
    return this.#rows.devices;
  }

  get deviceRequests(): ReadonlyMap<string, DeviceRequestRecord> {
    return this.#rows.deviceRequests;
  }

  get surfaceRequests(): ReadonlyMap<string, SurfaceRequestRecord> {
    return this.#rows.surfaceRequests;
  }

  get invites(): ReadonlyMap<string, InviteRecord> {
    return this.#rows.invites;
  }

  /** True when a live device token has this hash: what the HTTP upgrade may ask before it knows the device. */
  hasTokenHash(hash: string): boolean {
    return this.#tokenOwners.has(hash);
  }

  /** Whom the live device token with this hash was issued to: what plain HTTP asks, where a token comes without its device's key. */
  tokenOwner(hash: string): TokenOwner | undefined {
    return this.#tokenOwners.get(hash);
  }

  /** Counts how often what another process wrote was taken over, whoever's turn it was to notice. */
  get generation(): number {
    return this.#generation;
  }

  /** Has `listener` called whenever a device has changed, here or in another process. */
  onDevices(listener: () => void): void {
    this.#devicesChanged = listener;
  }

  /**
   * Takes over what other processes have written. Asking the store costs a tenth of a handshake, and of many at once one asks for all:
   * memory counts as equal for the rest of the event loop's turn.
   */
  async refresh(): Promise<void> {
    if (this.#isFresh) return;
    const turn = this.#lastChange.then(() => this.#catchUp(this.#store));
    this.#lastChange = turn.catch(() => {});
    await turn;
  }

  /**
   * Runs `change` on the current state and makes its drafts durable: when this resolves they survive `kill -9`, when it rejects
   * nothing has changed. Changes run one after the other.
   */
  change<Result>(change: (draft: Change) => Result): Promise<Result> {
    const turn = this.#lastChange.then(() => this.#changeNow(change));
    this.#lastChange = turn.catch(() => {});
    return turn;
  }

  async close(): Promise<void> {
    await this.#lastChange;
    await this.#store.close();
  }

  async #changeNow<Result>(change: (draft: Change) => Result): Promise<Result> {
    const { result, drafts } = await this.#store.update(async (transaction) => {
      await this.#catchUp(transaction);
      const audited: LogFields[] = [];
      const drafts = {
        devices: new Draft(this.#rows.devices),
        deviceRequests: new Draft(this.#rows.deviceRequests),
        surfaceRequests: new Draft(this.#rows.surfaceRequests),
        invites: new Draft(this.#rows.invites),
      };
      const nowMs = this.#runtime.now();
      const result = change({ ...drafts, nowMs, audit: (entry) => void audited.push({ atMs: nowMs, ...entry }) });
      for (const name of tableNames) await write(transaction, name, drafts[name].changes);
      for (const entry of audited) await transaction.append("audit", entry);
      return { result, drafts };
    });
    for (const id of drafts.devices.changes.keys()) this.#forgetTokens(this.#rows.devices.get(id));
    for (const name of tableNames) applyTo<unknown>(this.#rows[name], drafts[name].changes);
    for (const id of drafts.devices.changes.keys()) this.#rememberTokens(this.#rows.devices.get(id));
    if (drafts.devices.changes.size > 0) this.#devicesChanged();
    return result;
  }

  /** Makes memory equal to the store when another process has written since. */
  async #catchUp(source: Pick<RecordStore, "revision" | "all">): Promise<void> {
    const revision = await source.revision();
    if (revision !== this.#revision) await this.#readAll(source, revision);
    if (!this.#isFresh) setImmediate(() => (this.#isFresh = false));
    this.#isFresh = true;
  }

  async #readAll(source: Pick<RecordStore, "all">, revision: number): Promise<void> {
    this.#rows = {
      devices: await source.all<DeviceRecord>("devices"),
      deviceRequests: await source.all<DeviceRequestRecord>("deviceRequests"),
      surfaceRequests: await source.all<SurfaceRequestRecord>("surfaceRequests"),
      invites: await source.all<InviteRecord>("invites"),
    };
    this.#revision = revision;
    this.#tokenOwners.clear();
    for (const device of this.#rows.devices.values()) this.#rememberTokens(device);
    this.#generation++;
    this.#devicesChanged();
  }

  #rememberTokens(device: DeviceRecord | undefined): void {
    if (device === undefined) return;
    for (const [role, token] of Object.entries(device.tokens)) {
      if (token.revokedAtMs !== undefined || !isRole(role)) continue;
      const owner = { deviceId: device.deviceId, role };
      for (const hash of liveHashes(token)) this.#tokenOwners.set(hash, owner);
    }
  }

  #forgetTokens(device: DeviceRecord | undefined): void {
    for (const token of Object.values(device?.tokens ?? {})) {
      for (const hash of liveHashes(token)) this.#tokenOwners.delete(hash);
    }
  }
}

function emptyRows(): { readonly [Name in TableName]: Map<string, Rows[Name]> } {
  return { devices: new Map(), deviceRequests: new Map(), surfaceRequests: new Map(), invites: new Map() };
}

function applyTo<Row>(rows: Map<string, Row>, changes: ReadonlyMap<string, Row | undefined>): void {
  for (const [key, row] of changes) {
    if (row === undefined) rows.delete(key);
    else rows.set(key, row);
  }
}

async function write(
  transaction: RecordTransaction,
  table: TableName,
  changes: ReadonlyMap<string, unknown>,
): Promise<void> {
  for (const [key, row] of changes) {
    if (row === undefined) await transaction.delete(table, key);
    else await transaction.put(table, key, row);
  }
}
