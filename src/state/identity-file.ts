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

async function create(path: string, runtime: Runtime): Promise<DeviceIdentity> {
  if (await isDangling(path)) {
    throw new OpenClawError("state-unreadable", `${path} is a link to a file that is not there`, {
      hint: "nothing was changed; mount what it points to, or remove the link to have a new identity made",
      details: { path },
    });
  }
  const identity = createIdentity(runtime.random(32), runtime.now());
  await writeTextFile(path, formatIdentity(identity));
  return identity;
}

/** A symbolic link whose end is missing reads like no file at all, and is something else: an unmounted disk, most often. */
async function isDangling(path: string): Promise<boolean> {
  return lstat(path).then(
    (stat) => stat.isSymbolicLink(),
    () => false,
  );
}
