/** Whether to trust the host key a server shows: known_hosts files, the policy, a pinned fingerprint, a person. */
import { mkdir, open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ServerHostKeyAlgorithm } from "ssh2";
import { OpenClawError, systemCode } from "../errors.ts";
import { sameSecret } from "../secret.ts";
import {
  blobType,
  decideHostKey,
  keyFingerprint,
  knownHostsLine,
  knownKeyTypes,
  lookupName,
  parseKnownHosts,
} from "./known-hosts.ts";
import type { HostAddress, KnownHosts } from "./known-hosts.ts";

export interface HostKeyOptions {
  readonly files: KnownHostsFiles;
  /** What to do with a host nobody has seen: ask (`strict`), or remember it unasked (`accept-new`). */
  readonly policy?: "strict" | "accept-new";
  /** `SHA256:…`: the only key that is accepted, whatever the files say, unless they revoke it. */
  readonly fingerprint?: string;
  /** Shows an unknown key to a person; resolves true when they trust it. Absent when there is nobody to ask. */
  readonly askHostKey?: ((question: HostKeyQuestion) => Promise<boolean>) | undefined;
}

export interface HostKeyQuestion extends HostAddress {
  readonly keyType: string;
  readonly fingerprint: string;
}

export interface KnownHostsFiles {
  readonly read: readonly string[];
  /** Where a newly trusted key is appended. */
  readonly append: string;
}

export interface HostKeyCheck {
  /** What to ask the server for, best first: the types of the keys already known for it lead. */
  readonly algorithms: ServerHostKeyAlgorithm[];
  /** Resolves when the key (a public key blob) is trusted; throws `host-key-changed` or `usage` when it is not. */
  trust(keyBlob: Buffer): Promise<void>;
}

// No ssh-rsa: it signs with SHA-1, which OpenSSH dropped in 8.8. RSA keys sign with the two rsa-sha2 algorithms.
const hostKeyAlgorithms = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
] as const satisfies ServerHostKeyAlgorithm[];

/** The files OpenSSH reads for a person whose home directory is `home`, or only `given`. */
export function knownHostsFiles(home: string, given?: string): KnownHostsFiles {
  if (given !== undefined) return { read: [given], append: given };
  const own = join(home, ".ssh", "known_hosts");
  return { read: [own, join(home, ".ssh", "known_hosts2"), "/etc/ssh/ssh_known_hosts"], append: own };
}

/** Reads what is known about a host. A missing file knows nothing; an unreadable one is `state-unreadable`. */
export async function loadHostKeyCheck(options: HostKeyOptions, address: HostAddress): Promise<HostKeyCheck> {
  const known = await Promise.all(options.files.read.map(readKnownHosts));
  const entries = known.flatMap((file) => file.entries);
  return {
    algorithms: algorithmsFor(knownKeyTypes(entries, address)),
    async trust(keyBlob) {
      const decision = decideHostKey(entries, address, keyBlob);
      if (decision.verdict === "revoked") throw revoked(address, keyBlob, decision);
      if (options.fingerprint !== undefined) return checkPin(options.fingerprint, address, keyBlob);
      if (decision.verdict === "changed") throw changed(address, keyBlob, decision);
      if (decision.verdict === "unknown") await admit(options, address, keyBlob);
    },
  };
}

/** Every algorithm we speak, those of the known key types first, as OpenSSH orders them. */
export function algorithmsFor(knownTypes: readonly string[]): ServerHostKeyAlgorithm[] {
  const isKnown = (algorithm: string) => knownTypes.includes(algorithm.startsWith("rsa-") ? "ssh-rsa" : algorithm);
  return [...hostKeyAlgorithms.filter(isKnown), ...hostKeyAlgorithms.filter((algorithm) => !isKnown(algorithm))];
}

async function readKnownHosts(file: string): Promise<KnownHosts> {
  try {
    return parseKnownHosts(await readFile(file, "utf8"), file);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return { entries: [], brokenLines: 0, certificateLines: 0 };
    throw new OpenClawError("state-unreadable", `cannot read the known hosts in ${file}: ${systemCode(cause)}`, {
      cause,
    });
  }
}

async function admit(options: HostKeyOptions, address: HostAddress, keyBlob: Buffer): Promise<void> {
  if (options.policy !== "accept-new") {
    const question = { ...address, keyType: blobType(keyBlob), fingerprint: keyFingerprint(keyBlob) };
    if (options.askHostKey === undefined) throw unknown(question);
    if (!(await options.askHostKey(question))) throw declined(question);
  }
  await remember(options.files.append, knownHostsLine(address, keyBlob));
}

/** Appends one line and never rewrites what is there; a last line without its newline stays a line of its own. */
async function remember(file: string, line: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await using handle = await open(file, "a+", 0o600);
    const { size } = await handle.stat();
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1));
    const needsNewline = size > 0 && buffer.toString() !== "\n";
    await handle.appendFile(`${needsNewline ? "\n" : ""}${line}\n`);
    await handle.sync();
  } catch (cause) {
    throw new OpenClawError("state-unwritable", `cannot add the host key to ${file}: ${systemCode(cause)}`, {
      hint: "name another file with --known-hosts, or trust the key for this time with --host-key-fingerprint",
      cause,
    });
  }
}

function checkPin(wanted: string, address: HostAddress, keyBlob: Buffer): void {
  const fingerprint = keyFingerprint(keyBlob);
  if (sameSecret(wanted.replace(/=+$/, ""), fingerprint)) return;
  throw new OpenClawError(
    "host-key-changed",
    `${lookupName(address)} shows the ${keyName(keyBlob)} key ${fingerprint}, not ${wanted}`,
    {
      hint: `if ${wanted} is its key of another type, give the fingerprint of its ${keyName(keyBlob)} key; else do not connect`,
      details: { ...address, fingerprint, expected: wanted },
    },
  );
}

function changed(
  address: HostAddress,
  keyBlob: Buffer,
  at: { file: string; line: number; keyType: string },
): OpenClawError {
  const fingerprint = keyFingerprint(keyBlob);
  const other = at.keyType === blobType(keyBlob) ? "another key" : `a key of another type (${at.keyType})`;
  return new OpenClawError(
    "host-key-changed",
    `the host key of ${lookupName(address)} has changed: it shows ${fingerprint}, but ${at.file}:${at.line} lists ${other}`,
    {
      hint: "somebody may be listening in; only when you know why the key changed, forget the old one",
      fix: `ssh-keygen -f ${shellWord(at.file)} -R ${shellWord(lookupName(address))}`,
      details: { ...address, fingerprint, file: at.file, line: at.line },
    },
  );
}

function revoked(address: HostAddress, keyBlob: Buffer, at: { file: string; line: number }): OpenClawError {
  const fingerprint = keyFingerprint(keyBlob);
  return new OpenClawError(
    "host-key-changed",
    `the host key ${fingerprint} of ${lookupName(address)} is marked as revoked in ${at.file}:${at.line}`,
    {
      hint: "the key may be in other hands: do not connect before the server has a new one",
      details: { ...address, fingerprint, file: at.file, line: at.line, revoked: true },
    },
  );
}

function unknown({ host, port, keyType, fingerprint }: HostKeyQuestion): OpenClawError {
  return new OpenClawError(
    "usage",
    `the host key of ${lookupName({ host, port })} is not known: ${keyType} ${fingerprint}`,
    {
      hint: `compare it on the server, then add --host-key-fingerprint ${fingerprint}, or --host-key-policy accept-new to trust what answers`,
      details: { host, port, keyType, fingerprint },
    },
  );
}

function declined({ host, port, keyType, fingerprint }: HostKeyQuestion): OpenClawError {
  return new OpenClawError(
    "host-key-changed",
    `the host key ${fingerprint} of ${lookupName({ host, port })} was not trusted`,
    {
      details: { host, port, keyType, fingerprint },
    },
  );
}

/** What people call a key type: `ED25519`, `ECDSA`, `RSA`. */
function keyName(keyBlob: Buffer): string {
  return (blobType(keyBlob).split("-")[1] ?? "").toUpperCase();
}

function shellWord(text: string): string {
  return /^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
