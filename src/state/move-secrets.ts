/**
 * Device key and tokens from one store to the other. Every secret is in its new place, and was read back from there, before the file stops
 * naming the old one; the old copy goes last. Stopped anywhere, the next run finds everything and does the rest.
 */
import { OpenClawError } from "../errors.ts";
import { formatIdentity, type IdentityFile } from "../identity/device-identity.ts";
import type { Runtime } from "../runtime.ts";
import { writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import { keyEntry, readIdentity, readIdentityFile, unlocked, writeIdentity } from "./identity-file.ts";
import type { SecretStore, StoreName } from "./secret-store.ts";
import type { TokenFile } from "./token-memory.ts";

export interface MoveOptions {
  readonly identityPath: string;
  readonly tokens: TokenFile;
  readonly secrets: SecretStore;
  readonly to: StoreName;
  readonly runtime: Runtime;
}

export interface Moved {
  readonly deviceId: string;
  readonly from: StoreName;
  readonly to: StoreName;
  /** Tokens that were elsewhere; those that were there already do not count. */
  readonly tokens: number;
}

/** Moves what is not there yet. `not-found` without an identity; nothing has changed when the other store cannot be used. */
export async function moveSecrets({ identityPath, tokens, secrets, to, runtime }: MoveOptions): Promise<Moved> {
  const { deviceId, from } = await withLock(
    `${identityPath}.lock`,
    async () => {
      const file = await readIdentityFile(identityPath);
      if (file === undefined) throw noIdentity(identityPath);
      await moveKey(file, identityPath, secrets, to);
      return { deviceId: file.identity.deviceId, from: file.store };
    },
    { runtime },
  );
  // New tokens go to where the key is by now: none is left behind.
  return { deviceId, from, to, tokens: await tokens.move(to) };
}

async function moveKey(file: IdentityFile, path: string, secrets: SecretStore, to: StoreName): Promise<void> {
  if (file.store === "file" && to === "keychain") {
    await secrets.assertKeychain();
    // Whoever is stopped here and changes their mind finds the copy.
    await writeTextFile(path, formatIdentity(file.identity, keyEntry(path, file.identity)));
    await writeIdentity(path, file.identity, "keychain", secrets);
    await assertSame(file, path, secrets);
  } else if (file.store === "keychain" && to === "file") {
    const identity = await unlocked(file, path, secrets);
    // The file names the entry until that is gone: who is stopped here removes it next time.
    await writeTextFile(path, formatIdentity(identity, file.entry));
    await assertSame(file, path, secrets);
    await forgetEntry(path, file.entry, secrets);
  } else if (file.store === "file" && file.copyIn !== undefined) {
    await forgetEntry(path, file.copyIn, secrets);
  }
}

/** Removes the copy, and then the word of it. */
async function forgetEntry(path: string, entry: string, secrets: SecretStore): Promise<void> {
  await secrets.removeEntry(entry);
  const file = await readIdentityFile(path);
  if (file?.store === "file") await writeTextFile(path, formatIdentity(file.identity));
}

async function assertSame({ identity }: IdentityFile, path: string, secrets: SecretStore): Promise<void> {
  const found = await readIdentity(path, secrets);
  if (found?.deviceId === identity.deviceId) return;
  throw new OpenClawError("state-unwritable", `${path} does not read as it was written`, { details: { path } });
}

function noIdentity(path: string): OpenClawError {
  return new OpenClawError("not-found", "this machine has no identity yet, and so nothing to move", {
    hint: "--secret-store, or the setting secretStore, says where one is made",
    fix: "openclaw identity create",
    details: { path },
  });
}
