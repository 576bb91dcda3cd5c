/** Secrets from where other users of the machine cannot read them: files, and standard input. */
import { readFile } from "node:fs/promises";
import { OpenClawError, systemCode } from "../errors.ts";
import { Secret } from "../secret.ts";

/** Bytes a secret may have; a file that is longer is not one. */
const maxSecretBytes = 64 * 1024;

/** What `-` reads; `process.stdin` fits. */
export type Input = AsyncIterable<Uint8Array | string>;

/**
 * The secret in a file, or on `stdin` for `-`, without the line break at its end. Empty, too long, unreadable: `usage`, which names
 * `what` (the flag) and the file.
 */
export async function readSecretFile(path: string, stdin: Input | undefined, what = "the secret"): Promise<Secret> {
  const where = path === "-" ? `${what} on standard input` : `${what} in ${path}`;
  const bytes = path === "-" ? await readInput(stdin, where) : await readBytes(path, where);
  if (bytes.length > maxSecretBytes) {
    throw new OpenClawError("usage", `${where} is too long to be a secret`, {
      hint: "name the file that holds only the secret",
    });
  }
  const text = bytes.toString("utf8").replace(/\r?\n$/, "");
  if (text !== "") return new Secret(text);
  throw new OpenClawError("usage", `${where} is empty`, { hint: "write the secret into it, on one line" });
}

/** As `readSecretFile`, but a file that is not there is undefined. */
export async function readSecretFileIfThere(path: string, what: string): Promise<Secret | undefined> {
  try {
    return await readSecretFile(path, undefined, what);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function readBytes(path: string, where: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new OpenClawError("usage", `cannot read ${where} (${systemCode(cause) ?? String(cause)})`, {
      hint: "check the path, and that this user may read the file",
      details: { path },
      cause,
    });
  }
}

async function readInput(stdin: Input | undefined, where: string): Promise<Buffer> {
  if (stdin === undefined) {
    throw new OpenClawError("usage", `${where} cannot be read: there is no standard input`, {
      hint: "name a file instead",
    });
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    chunks.push(Buffer.from(chunk));
    size += chunk.length;
    if (size > maxSecretBytes) break;
  }
  return Buffer.concat(chunks);
}
