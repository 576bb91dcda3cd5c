/** The device tokens that gateways issued to this machine, in one 0600 file: one for each gateway, device and role. */
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { Secret } from "../secret.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import { keepPrivate } from "../store/private-mode.ts";

interface TokenKey {
  readonly gateway: string;
  readonly deviceId: string;
  readonly role: string;
}

interface StoredToken {
  readonly token: Secret;
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
      token: v.string(),
      scopes: v.array(v.string()),
      updatedAtMs: v.number(),
    }),
  ),
});
type TokenRow = v.InferOutput<typeof tokenFile>["tokens"][number];

export class TokenFile {
  readonly #path: string;
  readonly #runtime: Runtime;

  constructor(path: string, runtime: Runtime) {
    this.#path = path;
    this.#runtime = runtime;
  }

  async recall(key: TokenKey): Promise<StoredToken | undefined> {
    const row = (await this.#read()).find(isFor(key));
    if (row === undefined) return undefined;
    return { token: new Secret(row.token), scopes: row.scopes, updatedAtMs: row.updatedAtMs };
  }

  /** Written down, synced and in place when this resolves. */
  remember(key: TokenKey, { token, scopes, updatedAtMs }: StoredToken): Promise<void> {
    const { gateway, deviceId, role } = key;
    const row: TokenRow = { gateway, deviceId, role, token: token.reveal(), scopes: [...scopes], updatedAtMs };
    return this.#change((rows) => [...rows.filter((other) => !isFor(key)(other)), row]);
  }

  forget(key: TokenKey): Promise<void> {
    return this.#change((rows) => rows.filter((row) => !isFor(key)(row)));
  }

  /** What is kept, without the tokens themselves. */
  async list(): Promise<readonly (TokenKey & { readonly digest: string; readonly updatedAtMs: number })[]> {
    const rows = await this.#read();
    return rows.map(({ token, scopes: _scopes, ...row }) => ({ ...row, digest: new Secret(token).digest() }));
  }

  #change(change: (rows: readonly TokenRow[]) => readonly TokenRow[]): Promise<void> {
    return withLock(
      `${this.#path}.lock`,
      async () => {
        const tokens = change(await this.#read());
        await writeTextFile(this.#path, `${JSON.stringify({ version: 1, tokens }, null, 2)}\n`);
      },
      { runtime: this.#runtime },
    );
  }

  async #read(): Promise<readonly TokenRow[]> {
    await keepPrivate(this.#path, this.#runtime);
    const text = await readTextFile(this.#path);
    if (text === undefined) return [];
    const read = v.safeParse(v.pipe(v.string(), v.parseJson(), tokenFile), text);
    if (read.success) return read.output.tokens;
    throw new OpenClawError("state-unreadable", `${this.#path} is not a file of device tokens`, {
      hint: "nothing was changed; restore it, or move it away: the next connection with the gateway's token brings new ones",
      details: { path: this.#path },
    });
  }
}

function isFor(key: TokenKey): (row: TokenRow) => boolean {
  return (row) => row.gateway === key.gateway && row.deviceId === key.deviceId && row.role === key.role;
}
