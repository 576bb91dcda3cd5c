/** The device tokens that gateways issued to this machine: a 0600 file, one row for each gateway, device and role, with the token in it or in the keychain. */
import { dirname } from "node:path";
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { hashSecret, Secret } from "../secret.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import { keepPrivate } from "../store/private-mode.ts";
import { fileStore, type KeptSecret, keptSecret, type SecretStore, type StoreName } from "./secret-store.ts";

interface TokenKey {
  readonly gateway: string;
  readonly deviceId: string;
  readonly role: string;
}

interface StoredToken {
  readonly token: Secret;
  /** The token before this one, until this one has let its device in. */
  readonly previous?: Secret | undefined;
  readonly scopes: readonly string[];
  readonly updatedAtMs: number;
}

const tokenFile = v.object({
  version: v.literal(1),
  tokens: v.array(
    v.object({
      gateway: v.string(),
      deviceId: v.string(),
      role: v.string(),
      token: keptSecret,
      previous: v.optional(keptSecret),
      scopes: v.array(v.string()),
      updatedAtMs: v.number(),
    }),
  ),
  /** Keychain entries that no row names any more, and that may still be there. */
  discarded: v.optional(v.array(v.string()), []),
});
type TokenFileContent = v.InferOutput<typeof tokenFile>;
type TokenRow = TokenFileContent["tokens"][number];

export interface TokenPlaces {
  readonly secrets: SecretStore;
  /** Where new tokens go: to where the device's key is. */
  readonly storeForNew: () => Promise<StoreName>;
}

export class TokenFile {
  readonly #path: string;
  readonly #runtime: Runtime;
  readonly #places: TokenPlaces;

  constructor(
    path: string,
    runtime: Runtime,
    places: TokenPlaces = { secrets: fileStore(runtime), storeForNew: async () => "file" },
  ) {
    this.#path = path;
    this.#runtime = runtime;
    this.#places = places;
  }

  async recall(key: TokenKey): Promise<StoredToken | undefined> {
    const row = await this.#row(key);
    if (row === undefined) return undefined;
    try {
      return await this.#reveal(row);
    } catch (error) {
      // Another process may have replaced it, or moved it to the other store, since the file was read.
      const later = await this.#row(key);
      if (JSON.stringify(later) === JSON.stringify(row)) throw error;
      return later === undefined ? undefined : this.#reveal(later);
    }
  }

  /** Written down, synced and in place when this resolves. */
  async remember(key: TokenKey, { token, previous, scopes, updatedAtMs }: StoredToken): Promise<void> {
    const { gateway, deviceId, role } = key;
    const store = await this.#places.storeForNew();
    const row: TokenRow = {
      gateway,
      deviceId,
      role,
      token: await this.#keep(store, key, token),
      ...(previous === undefined ? {} : { previous: await this.#keep(store, key, previous) }),
      scopes: [...scopes],
      updatedAtMs,
    };
    await this.#change((rows) => [...rows.filter((other) => !isFor(key)(other)), row]);
  }

  forget(key: TokenKey): Promise<void> {
    return this.#change((rows) => rows.filter((row) => !isFor(key)(row)));
  }

  /** What is kept, without the tokens themselves. */
  async list(): Promise<readonly (TokenKey & { readonly digest: string; readonly updatedAtMs: number })[]> {
    const { tokens } = await this.#read();
    return tokens.map(({ token, previous: _previous, scopes: _scopes, ...row }) => ({
      ...row,
      digest: digestOf(token),
    }));
  }

  /** How many tokens are in each store. */
  async count(): Promise<Readonly<Record<StoreName, number>>> {
    const { tokens } = await this.#read();
    const keychain = tokens.filter(({ token }) => storeOf(token) === "keychain").length;
    return { keychain, file: tokens.length - keychain };
  }

  /**
   * Puts every token into this store, and resolves with how many were elsewhere. Each is in its new place, and was read back from there,
   * before its old copy goes: stopped at any moment every token is in one of the two, and the next run does the rest.
   */
  async move(to: StoreName): Promise<number> {
    const moved = new Map<string, TokenRow>();
    const { tokens } = await this.#read();
    for (const row of tokens) {
      if (secretsOf(row).every((kept) => storeOf(kept) === to)) continue;
      const { previous } = row;
      const token = await this.#moveOne(to, row, row.token);
      const before = previous === undefined ? {} : { previous: await this.#moveOne(to, row, previous) };
      moved.set(JSON.stringify(row), { ...row, token, ...before });
    }
    // A row that was replaced meanwhile stays as it is now.
    await this.#change((rows) => rows.map((row) => moved.get(JSON.stringify(row)) ?? row));
    return moved.size;
  }

  async #row(key: TokenKey): Promise<TokenRow | undefined> {
    return (await this.#read()).tokens.find(isFor(key));
  }

  async #reveal({ token, previous, scopes, updatedAtMs }: TokenRow): Promise<StoredToken> {
    const { secrets } = this.#places;
    return {
      token: await secrets.reveal(token),
      ...(previous === undefined ? {} : { previous: await secrets.reveal(previous) }),
      scopes,
      updatedAtMs,
    };
  }

  async #moveOne(to: StoreName, key: TokenKey, kept: KeptSecret): Promise<KeptSecret> {
    return storeOf(kept) === to ? kept : this.#keep(to, key, await this.#places.secrets.reveal(kept));
  }

  /** A keychain entry's name is its content's: a new token does not touch the entry that the file still names. */
  #keep(store: StoreName, { gateway, role }: TokenKey, token: Secret): Promise<KeptSecret> {
    const place = hashSecret(dirname(this.#path)).slice(0, 8);
    return this.#places.secrets.keep(store, `${role} token of ${gateway} ${token.digest()} ${place}`, token);
  }

  async #change(change: (rows: readonly TokenRow[]) => readonly TokenRow[]): Promise<void> {
    const { discarded } = await this.#changeFile(({ tokens, discarded }) => {
      const changed = [...change(tokens)];
      const entries = new Set([...discarded, ...entriesOf(tokens)]).difference(new Set(entriesOf(changed)));
      return { version: 1, tokens: changed, discarded: [...entries] };
    });
    if (discarded.length > 0) await this.#discard(discarded);
  }

  /** Removes entries that nothing names any more. One that cannot be removed now is tried again at the next change. */
  async #discard(entries: readonly string[]): Promise<void> {
    const gone = new Set<string>();
    for (const entry of entries) {
      try {
        await this.#places.secrets.removeEntry(entry);
        gone.add(entry);
      } catch (error) {
        this.#runtime.log("warn", "an old token stays in the keychain for now", { entry, why: String(error) });
      }
    }
    await this.#changeFile((content) => ({
      ...content,
      discarded: content.discarded.filter((entry) => !gone.has(entry)),
    }));
  }

  #changeFile(change: (content: TokenFileContent) => TokenFileContent): Promise<TokenFileContent> {
    return withLock(
      `${this.#path}.lock`,
      async () => {
        const content = change(await this.#read());
        const { discarded, ...file } = content;
        const text = JSON.stringify(discarded.length === 0 ? file : content, null, 2);
        await writeTextFile(this.#path, `${text}\n`);
        return content;
      },
      { runtime: this.#runtime },
    );
  }

  async #read(): Promise<TokenFileContent> {
    await keepPrivate(this.#path, this.#runtime);
    const text = await readTextFile(this.#path);
    if (text === undefined) return { version: 1, tokens: [], discarded: [] };
    const read = v.safeParse(v.pipe(v.string(), v.parseJson(), tokenFile), text);
    if (read.success) return read.output;
    throw new OpenClawError("state-unreadable", `${this.#path} is not a file of device tokens`, {
      hint: "nothing was changed; restore it, or move it away: the next connection with the gateway's token brings new ones",
      details: { path: this.#path },
    });
  }
}

function isFor(key: TokenKey): (row: TokenRow) => boolean {
  return (row) => row.gateway === key.gateway && row.deviceId === key.deviceId && row.role === key.role;
}

function storeOf(kept: KeptSecret): StoreName {
  return typeof kept === "string" ? "file" : "keychain";
}

function digestOf(kept: KeptSecret): string {
  return typeof kept === "string" ? new Secret(kept).digest() : kept.digest;
}

function secretsOf({ token, previous }: TokenRow): KeptSecret[] {
  return previous === undefined ? [token] : [token, previous];
}

function entriesOf(rows: readonly TokenRow[]): string[] {
  return rows.flatMap(secretsOf).flatMap((kept) => (typeof kept === "string" ? [] : [kept.keychain]));
}
