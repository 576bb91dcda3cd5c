/** Whether to trust the host key a server shows: known_hosts files, the policy, a pinned fingerprint, a person. */
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ServerHostKeyAlgorithm } from "ssh2";
import { OpenClawError, systemCode } from "../errors.ts";
import { changed, declined, otherThanPinned, revoked, unknown } from "./host-key-failure.ts";
import {
  authoritiesFor,
  blobType,
  decideHostKey,
  keyFingerprint,
  knownHostsLine,
  knownKeyTypes,
  parseKnownHosts,
  sshPort,
} from "./known-hosts.ts";
import type { HostAddress, KnownHosts } from "./known-hosts.ts";

/** Places of unreadable lines that a message names. */
const mostListed = 3;

export interface HostKeyOptions {
  readonly files: KnownHostsFiles;
  /** What to do with a host nobody has seen: ask (`strict`), or remember it unasked (`accept-new`). */
  readonly policy?: "strict" | "accept-new";
  /** `SHA256:…`: the only key that is accepted, whatever the files say, unless they revoke it. */
  readonly fingerprint?: string;
  /** The name to look up instead of the address (`HostKeyAlias`). */
  readonly alias?: string;
  /** Append names as hashes (`HashKnownHosts`), so that the file does not tell where its owner goes. */
  readonly hashesNames?: boolean;
  /** Shows an unknown key to a person; resolves true when they trust it. Absent when there is nobody to ask. */
  readonly askHostKey?: ((question: HostKeyQuestion) => Promise<boolean>) | undefined;
}

export interface HostKeyQuestion extends HostAddress {
  readonly keyType: string;
  readonly fingerprint: string;
  /** What the files hold for this host that could not be used, as one sentence fragment. */
  readonly note?: string;
}

export interface KnownHostsFiles {
  readonly read: readonly string[];
  /** Where a newly trusted key is appended; nowhere when absent. */
  readonly append?: string;
}

export interface HostKeyCheck {
  /** What to ask the server for, best first: the types of the keys already known for it lead. */
  readonly algorithms: ServerHostKeyAlgorithm[];
  /** Resolves when the key (a public key blob) is trusted; throws `host-key-changed`, `host-key-unknown` or `usage` when it is not. */
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

/** What OpenSSH reads for everybody on the machine. */
export const systemKnownHosts: readonly string[] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

/** The files OpenSSH reads for a person whose home directory is `home`, or only `given`. */
export function knownHostsFiles(home: string, given?: string): KnownHostsFiles {
  if (given !== undefined) return { read: [given], append: given };
  const own = join(home, ".ssh", "known_hosts");
  return { read: [own, join(home, ".ssh", "known_hosts2"), ...systemKnownHosts], append: own };
}

/** Reads what is known about a host. A missing file knows nothing; an unreadable one is `state-unreadable`. */
export async function loadHostKeyCheck(options: HostKeyOptions, dialled: HostAddress): Promise<HostKeyCheck> {
  // An alias stands without a port, which is what a name on the standard port looks like.
  const address = options.alias === undefined ? dialled : { host: options.alias, port: sshPort };
  const known = await Promise.all(options.files.read.map(readKnownHosts));
  const entries = known.flatMap((file) => file.entries);
  return {
    algorithms: algorithmsFor(knownKeyTypes(entries, address)),
    async trust(keyBlob) {
      const decision = decideHostKey(entries, address, keyBlob);
      if (decision.verdict === "revoked") throw revoked(address, keyBlob, decision);
      if (options.fingerprint !== undefined) {
        if (isPinned(options.fingerprint, keyBlob)) return;
        throw otherThanPinned(options.fingerprint, address, keyBlob);
      }
      if (decision.verdict === "changed") throw changed(address, keyBlob, decision);
      if (decision.verdict === "unknown")
        await admit(options, address, keyBlob, unused(known, options.files.read, address));
    },
  };
}

/** Padding is forgiven: some tools print it. */
function isPinned(fingerprint: string, keyBlob: Buffer): boolean {
  return fingerprint.replace(/=+$/, "") === keyFingerprint(keyBlob);
}

/** Every algorithm we speak, those of the known key types first, as OpenSSH orders them. */
export function algorithmsFor(knownTypes: readonly string[]): ServerHostKeyAlgorithm[] {
  const isKnown = (algorithm: string) => knownTypes.includes(algorithm.startsWith("rsa-") ? "ssh-rsa" : algorithm);
  return [...hostKeyAlgorithms.filter(isKnown), ...hostKeyAlgorithms.filter((algorithm) => !isKnown(algorithm))];
}

async function readKnownHosts(file: string): Promise<KnownHosts & { isMissing?: true }> {
  try {
    return parseKnownHosts(await readFile(file, "utf8"), file);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return { entries: [], brokenLines: [], authorities: [], isMissing: true };
    throw new OpenClawError("state-unreadable", `cannot read the known hosts in ${file}: ${systemCode(cause)}`, {
      hint: "it must be a file that you may read; nothing is written to it until then",
      cause,
    });
  }
}

async function admit(
  { policy, askHostKey, files, hashesNames = false }: HostKeyOptions,
  address: HostAddress,
  keyBlob: Buffer,
  note: string,
): Promise<void> {
  if (policy !== "accept-new") {
    const key = { ...address, keyType: blobType(keyBlob), fingerprint: keyFingerprint(keyBlob) };
    const question = note === "" ? key : { ...key, note };
    if (askHostKey === undefined) throw unknown(question);
    if (!(await askHostKey(question))) throw declined(question);
  }
  const line = knownHostsLine(address, keyBlob, hashesNames ? randomBytes(20) : undefined);
  if (files.append !== undefined) await remember(files.append, line);
}

/** Appends one line and never rewrites what is there; a last line without its newline stays a line of its own. */
async function remember(file: string, line: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await using handle = await open(file, "a+", 0o600);
    const stats = await handle.stat();
    const { size } = stats;
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1));
    const needsNewline = size > 0 && buffer.toString() !== "\n";
    await handle.appendFile(`${needsNewline ? "\n" : ""}${line}\n`);
    // Not every file that people name here can be synced: /dev/null is a popular one.
    if (stats.isFile()) await handle.sync();
  } catch (cause) {
    throw new OpenClawError("state-unwritable", `cannot add the host key to ${file}: ${systemCode(cause)}`, {
      hint: "name another file with --known-hosts, or trust the key for this time with --host-key-fingerprint",
      cause,
    });
  }
}

/** Why a host may be unknown that a person expected to be known; "" when there is no such reason. */
function unused(
  known: readonly (KnownHosts & { isMissing?: true })[],
  files: readonly string[],
  address: HostAddress,
): string {
  const broken = known.flatMap(({ brokenLines }) => brokenLines);
  const [authority] = known.flatMap(({ authorities }) => authoritiesFor(authorities, address));
  const isMissing = files.length === 1 && known[0]?.isMissing === true;
  const parts = [
    ...(isMissing ? [`there is no ${files[0]}`] : []),
    ...(broken.length > 0 ? [`skipped what cannot be read: ${listed(broken)}`] : []),
    ...(authority
      ? [`${authority.file}:${authority.line} is a @cert-authority line, and host certificates are not supported`]
      : []),
  ];
  return parts.join("; ");
}

/** The first few of many. */
function listed(items: readonly string[]): string {
  const more = items.length - mostListed;
  return `${items.slice(0, mostListed).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
