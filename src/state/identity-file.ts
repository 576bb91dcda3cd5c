/**
 * This machine's device identity on disk: created once, 0600, and never made anew because it could not be read. The private key is in the
 * file, or in the keychain under the entry that the file names.
 */
import { lstat } from "node:fs/promises";
import { dirname } from "node:path";
import { OpenClawError } from "../errors.ts";
import {
  createIdentity,
  type DeviceIdentity,
  formatIdentity,
  formatKeychainIdentity,
  type IdentityFile,
  parseIdentityFile,
  privateKeyPem,
  type PublicIdentity,
  withPrivateKey,
} from "../identity/device-identity.ts";
import type { Runtime } from "../runtime.ts";
import { hashSecret, Secret } from "../secret.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import { keepPrivate } from "../store/private-mode.ts";
import { fileStore, type SecretStore, type StoreName } from "./secret-store.ts";

/** What the file says, or undefined when there is none; no keychain is asked. Anything else that is not an identity is `state-unreadable`. */
export async function readIdentityFile(path: string): Promise<IdentityFile | undefined> {
  const text = await readTextFile(path);
  return text === undefined ? undefined : parseIdentityFile(text, path);
}

/** The identity with its private key, or undefined when there is no file. `state-unreadable` also when the key's keychain is locked or away. */
export async function readIdentity(path: string, secrets: SecretStore): Promise<DeviceIdentity | undefined> {
  const file = await readIdentityFile(path);
  if (file === undefined) return undefined;
  try {
    return await unlocked(file, path, secrets);
  } catch (error) {
    // Another process may have moved the key out of the keychain since the file was read.
    const later = await readIdentityFile(path);
    if (later?.store !== "file") throw error;
    return later.identity;
  }
}

/**
 * The identity in the file, made first when there is none. Two processes that start together get the same one. A file that others can
 * read is closed to them, with a line in the log.
 */
export async function openIdentity(
  path: string,
  runtime: Runtime,
  secrets: SecretStore = fileStore(runtime),
): Promise<DeviceIdentity> {
  await keepPrivate(path, runtime);
  const known = await readIdentity(path, secrets);
  if (known !== undefined) return known;
  return withLock(
    `${path}.lock`,
    async () => (await readIdentity(path, secrets)) ?? (await create(path, runtime, secrets)),
    { runtime },
  );
}

/** The same for who only has to name it: a keychain that is locked is no hindrance. */
export async function openPublicIdentity(
  path: string,
  runtime: Runtime,
  secrets: SecretStore = fileStore(runtime),
): Promise<PublicIdentity> {
  await keepPrivate(path, runtime);
  return (await readIdentityFile(path))?.identity ?? (await openIdentity(path, runtime, secrets));
}

/** A new identity in a file that does not exist yet; `conflict` when it does. */
export async function createIdentityFile(
  path: string,
  runtime: Runtime,
  secrets: SecretStore = fileStore(runtime),
): Promise<DeviceIdentity> {
  return withLock(
    `${path}.lock`,
    async () => {
      const known = await readIdentityFile(path);
      if (known !== undefined) {
        const { deviceId } = known.identity;
        throw new OpenClawError("conflict", `there is an identity already: ${deviceId}`, {
          hint: "openclaw identity show prints it; use --profile for a second one on the same machine",
          details: { path, deviceId },
        });
      }
      return create(path, runtime, secrets);
    },
    { runtime },
  );
}

/** Where an identity was put that had to make room. */
export interface Replaced {
  readonly deviceId: string;
  readonly path: string;
}

/**
 * Puts an identity that was made elsewhere into the file. Another one that is there is `conflict`, unless `replace` is set: then its file
 * gets its device id into the name and stays, since devices approved under it would have to be paired again without it.
 */
export async function adoptIdentity(
  path: string,
  identity: DeviceIdentity,
  {
    replace,
    runtime,
    secrets,
  }: { readonly replace: boolean; readonly runtime: Runtime; readonly secrets: SecretStore },
): Promise<Replaced | undefined> {
  return withLock(
    `${path}.lock`,
    async () => {
      const known = await readIdentityFile(path);
      if (known?.identity.deviceId === identity.deviceId) return undefined;
      if (known !== undefined && !replace) {
        const { deviceId } = known.identity;
        throw new OpenClawError("conflict", `there is another identity already: ${deviceId}`, {
          hint: "--force puts the imported one in its place and keeps its file; --profile takes a second one beside it",
          details: { path, deviceId, importing: identity.deviceId },
        });
      }
      const replaced = known === undefined ? undefined : await putAside(path, known.identity);
      if (replaced === undefined) await refuseDangling(path);
      const store = known?.store ?? (await secrets.placement()).store;
      await writeIdentity(path, identity, store, secrets);
      return replaced;
    },
    { runtime },
  );
}

/** The identity of a file with its private key, wherever that is. */
export async function unlocked(file: IdentityFile, path: string, secrets: SecretStore): Promise<DeviceIdentity> {
  if (file.store === "file") return file.identity;
  const identity = withPrivateKey(file.identity, (await secrets.readEntry(file.entry)).reveal());
  if (identity !== undefined) return identity;
  throw new OpenClawError("state-unreadable", `the keychain's entry "${file.entry}" is not the key of ${path}`, {
    hint: "nothing was changed; restore the entry, or move the file away to start with a new identity that has to be paired again",
    details: { path, store: "keychain", entry: file.entry },
  });
}

/** Writes the file whole: with the key in it, or with the key in the keychain first. */
export async function writeIdentity(
  path: string,
  identity: DeviceIdentity,
  store: StoreName,
  secrets: SecretStore,
): Promise<void> {
  if (store === "file") return writeTextFile(path, formatIdentity(identity));
  const entry = keyEntry(path, identity);
  await secrets.writeEntry(entry, new Secret(privateKeyPem(identity)));
  return writeTextFile(path, formatKeychainIdentity(identity, entry));
}

/** The keychain entry for a device's key in this directory: a repeated attempt finds the entry of the one before it. */
export function keyEntry(path: string, { deviceId }: PublicIdentity): string {
  return `device key ${deviceId.slice(0, 16)} ${hashSecret(dirname(path)).slice(0, 8)}`;
}

/** Its text as it is: where its key is does not change. */
async function putAside(path: string, { deviceId }: PublicIdentity): Promise<Replaced> {
  const aside = `${path.replace(/\.json$/u, "")}.${deviceId.slice(0, 8)}.json`;
  await writeTextFile(aside, (await readTextFile(path)) ?? "");
  return { deviceId, path: aside };
}

async function create(path: string, runtime: Runtime, secrets: SecretStore): Promise<DeviceIdentity> {
  await refuseDangling(path);
  const identity = createIdentity(runtime.random(32), runtime.now());
  const { store } = await secrets.placement();
  await writeIdentity(path, identity, store, secrets);
  return identity;
}

/** A symbolic link whose end is missing reads like no file at all, and is something else: an unmounted disk, most often. */
async function refuseDangling(path: string): Promise<void> {
  if (!(await isDangling(path))) return;
  throw new OpenClawError("state-unreadable", `${path} is a link to a file that is not there`, {
    hint: "nothing was changed; mount what it points to, or remove the link to have a new identity made",
    details: { path },
  });
}

async function isDangling(path: string): Promise<boolean> {
  return lstat(path).then(
    (stat) => stat.isSymbolicLink(),
    () => false,
  );
}
