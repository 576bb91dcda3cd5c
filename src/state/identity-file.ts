/** This machine's device identity on disk: created once, 0600, and never made anew because it could not be read. */
import { lstat } from "node:fs/promises";
import { OpenClawError } from "../errors.ts";
import { createIdentity, type DeviceIdentity, formatIdentity, parseIdentity } from "../identity/device-identity.ts";
import type { Runtime } from "../runtime.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import { keepPrivate } from "../store/private-mode.ts";

/** The identity in the file, or undefined when there is no file. Anything else that is not an identity is `state-unreadable`. */
export async function readIdentity(path: string): Promise<DeviceIdentity | undefined> {
  const text = await readTextFile(path);
  return text === undefined ? undefined : parseIdentity(text, path);
}

/**
 * The identity in the file, made first when there is none. Two processes that start together get the same one. A file that others can
 * read is closed to them, with a line in the log.
 */
export async function openIdentity(path: string, runtime: Runtime): Promise<DeviceIdentity> {
  await keepPrivate(path, runtime);
  const known = await readIdentity(path);
  if (known !== undefined) return known;
  return withLock(`${path}.lock`, async () => (await readIdentity(path)) ?? (await create(path, runtime)), { runtime });
}

/** A new identity in a file that does not exist yet; `conflict` when it does. */
export async function createIdentityFile(path: string, runtime: Runtime): Promise<DeviceIdentity> {
  return withLock(
    `${path}.lock`,
    async () => {
      const known = await readIdentity(path);
      if (known !== undefined) {
        throw new OpenClawError("conflict", `there is an identity already: ${known.deviceId}`, {
          hint: "openclaw identity show prints it; use --profile for a second one on the same machine",
          details: { path, deviceId: known.deviceId },
        });
      }
      return create(path, runtime);
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
  { replace, runtime }: { readonly replace: boolean; readonly runtime: Runtime },
): Promise<Replaced | undefined> {
  return withLock(
    `${path}.lock`,
    async () => {
      const known = await readIdentity(path);
      if (known?.deviceId === identity.deviceId) return undefined;
      if (known !== undefined && !replace) {
        throw new OpenClawError("conflict", `there is another identity already: ${known.deviceId}`, {
          hint: "--force puts the imported one in its place and keeps its file; --profile takes a second one beside it",
          details: { path, deviceId: known.deviceId, importing: identity.deviceId },
        });
      }
      const replaced = known === undefined ? undefined : await putAside(path, known);
      if (replaced === undefined) await refuseDangling(path);
      await writeTextFile(path, formatIdentity(identity));
      return replaced;
    },
    { runtime },
  );
}

async function putAside(path: string, known: DeviceIdentity): Promise<Replaced> {
  const aside = `${path.replace(/\.json$/u, "")}.${known.deviceId.slice(0, 8)}.json`;
  await writeTextFile(aside, formatIdentity(known));
  return { deviceId: known.deviceId, path: aside };
}

async function create(path: string, runtime: Runtime): Promise<DeviceIdentity> {
  await refuseDangling(path);
  const identity = createIdentity(runtime.random(32), runtime.now());
  await writeTextFile(path, formatIdentity(identity));
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
