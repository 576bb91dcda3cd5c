/** What a gateway of ours keeps to itself in its state directory: the shared token, the key of its device tokens, the secret of this start. */
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { Secret } from "../secret.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import { keepPrivate } from "../store/private-mode.ts";

/** 32 random bytes are 43 characters of base64url: the length of every token here. */
const secretBytes = 32;
const secretForm = /^[A-Za-z0-9_-]{43}$/u;

/** The token in the file, or undefined when there is none. Whatever a person put there counts, as long as it is one line. */
export async function readGatewayToken(path: string): Promise<Secret | undefined> {
  const text = (await readTextFile(path))?.trim();
  if (text === undefined) return undefined;
  if (text === "" || /\s/u.test(text)) {
    throw new OpenClawError("state-unreadable", `${path} does not hold a token`, {
      hint: "nothing was changed; it should be one line without spaces. Remove the file to have a new token made",
      details: { path },
    });
  }
  return new Secret(text);
}

/** The token in the file, made first when there is none. */
export async function openGatewayToken(
  path: string,
  runtime: Runtime,
): Promise<{ readonly token: Secret; readonly isNew: boolean }> {
  return withLock(
    `${path}.lock`,
    async () => {
      await keepPrivate(path, runtime);
      const known = await readGatewayToken(path);
      if (known !== undefined) return { token: known, isNew: false };
      return { token: await writeNewSecret(path, runtime), isNew: true };
    },
    { runtime },
  );
}

/** A new token in place of the old one. */
export async function rotateGatewayToken(path: string, runtime: Runtime): Promise<Secret> {
  return withLock(`${path}.lock`, () => writeNewSecret(path, runtime), { runtime });
}

/** The key that device tokens are derived with, made first when there is none. */
export async function openTokenKey(path: string, runtime: Runtime): Promise<Uint8Array> {
  return withLock(
    `${path}.lock`,
    async () => {
      await keepPrivate(path, runtime);
      const text = (await readTextFile(path))?.trim();
      if (text === undefined) return Buffer.from((await writeNewSecret(path, runtime)).reveal(), "base64url");
      if (secretForm.test(text)) return Buffer.from(text, "base64url");
      throw new OpenClawError("state-unreadable", `${path} does not hold the key of the device tokens`, {
        hint: "nothing was changed; restore it, or move it away: tokens in use stay valid, and devices get new ones when they are rotated",
        details: { path },
      });
    },
    { runtime },
  );
}

/** A secret for this start of the gateway, in a file that only its owner reads. */
export async function writeNewSecret(path: string, runtime: Runtime): Promise<Secret> {
  const secret = new Secret(Buffer.from(runtime.random(secretBytes)).toString("base64url"));
  await writeTextFile(path, `${secret.reveal()}\n`);
  return secret;
}
