/** Private key files: whether they may be used, and how they are unlocked. */
import { access, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ParsedKey } from "ssh2";
import { OpenClawError, systemCode } from "../errors.ts";
import type { Secret } from "../secret.ts";
import { shellWord } from "../shell-word.ts";
import { blobType } from "./known-hosts.ts";
import { isEncryptedKey, keyCipher, publicBlobOf, publicBlobOfLine, readableKeyText } from "./ssh-key.ts";
import { loadKeyParser } from "./ssh2.ts";

/** A key file that was read and may be used. */
export interface IdentityFile {
  readonly path: string;
  readonly text: string;
  /** Known before decryption for OpenSSH files and for those with their `.pub` file beside them. */
  readonly publicBlob?: Buffer;
  /** Only the public half: an agent must hold the other one. */
  readonly isPublic: boolean;
  /** A certificate for the key that lies beside it. */
  readonly certificate?: string;
}

export interface PassphraseSource {
  readonly passphrase?: Secret | undefined;
  /** Asks a person; resolves undefined when they would rather not say. */
  readonly askPassphrase?: ((path: string) => Promise<Secret | undefined>) | undefined;
}

/** What became of an attempt to unlock a key. */
export type Unlocked = { readonly key: ParsedKey } | { readonly problem: string };

// As often as ssh(1) asks (NumberOfPasswordPrompts).
const passphrasePrompts = 3;

/** The files that are tried when nobody names one, in OpenSSH's order of preference among today's key types. */
export function defaultIdentityFiles(home: string): string[] {
  return ["id_ed25519", "id_ecdsa", "id_rsa"].map((name) => join(home, ".ssh", name));
}

/** Reads a key file that was asked for by name. Throws `usage` when it cannot be read, `ssh-auth` when others can read it. */
export async function readNamedIdentity(path: string): Promise<IdentityFile> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new OpenClawError("usage", `cannot read the identity file ${path}: ${systemCode(cause)}`, {
      hint: "name a private key that is there and that you may read, by -i or IdentityFile",
      cause,
    });
  });
  const file = await identity(path, text);
  if (!file.isPublic && (await isExposed(path))) throw exposed(path);
  return file;
}

/** Reads a key file that may be missing: undefined when it is, the problem when it must not be used. */
export async function readDefaultIdentity(path: string): Promise<IdentityFile | { problem: string } | undefined> {
  try {
    const file = await identity(path, await readFile(path, "utf8"));
    if (file.isPublic || !(await isExposed(path))) return file;
    return { problem: `${exposed(path).message}; run: chmod 600 ${path}` };
  } catch (error) {
    const code = systemCode(error);
    return code === "ENOENT" ? undefined : { problem: `cannot be read: ${code}` };
  }
}

/** True when only a passphrase opens the file, and there is neither one nor anybody to ask for it. */
export function isLockedFor({ text }: IdentityFile, { passphrase, askPassphrase }: PassphraseSource): boolean {
  return isEncryptedKey(text) && passphrase === undefined && askPassphrase === undefined;
}

/** Decrypts a key if it must be, with the passphrase at hand first and a person's answers after that. */
export async function unlockIdentity(file: IdentityFile, source: PassphraseSource): Promise<Unlocked> {
  const { path, text } = file;
  const unusable = unusableKind(file);
  if (unusable !== undefined) return { problem: unusable };
  if (!isEncryptedKey(text)) return parseIdentity(text);
  if (source.passphrase !== undefined) {
    const unlocked = await parseIdentity(text, source.passphrase);
    if ("key" in unlocked || source.askPassphrase === undefined) return unlocked;
  }
  if (source.askPassphrase === undefined)
    return { problem: "is encrypted, and there is no passphrase (--passphrase-file)" };
  for (let prompt = 0; prompt < passphrasePrompts; prompt++) {
    const answer = await source.askPassphrase(path);
    if (answer === undefined) return { problem: "is encrypted, and no passphrase was given" };
    const unlocked = await parseIdentity(text, answer);
    if ("key" in unlocked) return unlocked;
  }
  return { problem: `is encrypted, and ${passphrasePrompts} passphrases did not fit` };
}

/** Keys that are sound but not for us, told apart before anybody is asked for a passphrase. */
function unusableKind({ path, text, isPublic, publicBlob }: IdentityFile): string | undefined {
  if (isPublic) return "is a public key, and the agent does not hold its private one";
  const type = publicBlob === undefined ? "" : blobType(publicBlob);
  if (type.startsWith("sk-")) return "is a security key (FIDO), which is not supported";
  if (type === "ssh-dss") return "is a DSA key, which servers no longer take";
  const cipher = keyCipher(text);
  if (cipher?.startsWith("chacha20") === true) {
    return `is encrypted with ${cipher}, which this tool cannot open; ssh-keygen -p -Z aes256-ctr -f ${shellWord(path)} changes that`;
  }
  return undefined;
}

async function parseIdentity(text: string, passphrase?: Secret): Promise<Unlocked> {
  const parseKey = await loadKeyParser();
  try {
    const key = parseKey(readableKeyText(text, passphrase), passphrase?.reveal());
    if (!(key instanceof Error) && key.isPrivateKey()) return { key };
  } catch {
    // node:crypto says no more than the library does: wrong passphrase or broken file, told apart below.
  }
  return {
    problem:
      passphrase === undefined ? "is not a private key this tool can read" : "does not open with this passphrase",
  };
}

/** Others may read it: then it is nobody's secret. Like OpenSSH, only for one's own files; systems without owners pass. */
async function isExposed(path: string): Promise<boolean> {
  const { uid, mode } = await stat(path);
  return uid === process.getuid?.() && (mode & 0o077) !== 0;
}

function exposed(path: string): OpenClawError {
  return new OpenClawError("ssh-auth", `the identity file ${path} can be read by others, so it is not used`, {
    hint: "make it yours alone",
    fix: `chmod 600 ${shellWord(path)}`,
  });
}

async function identity(path: string, text: string): Promise<IdentityFile> {
  const ownBlob = publicBlobOfLine(text);
  const beside = async () => publicBlobOfLine(await readFile(`${path}.pub`, "utf8").catch(() => ""));
  const publicBlob = ownBlob ?? publicBlobOf(text) ?? (await beside());
  const certificate = `${path.replace(/\.pub$/, "")}-cert.pub`;
  const hasCertificate = await access(certificate).then(
    () => true,
    () => false,
  );
  return {
    path,
    text,
    isPublic: ownBlob !== undefined,
    ...(publicBlob && { publicBlob }),
    ...(hasCertificate && { certificate }),
  };
}
