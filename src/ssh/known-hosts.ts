/** What known_hosts files say about a host key (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): a pure decision over their text. */
import { createHash, createHmac } from "node:crypto";
import { matchesPatterns } from "./pattern.ts";

/** One usable line. */
export interface KnownHost {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  readonly marker?: "revoked";
  /** The host field as written: patterns, or one hashed name. */
  readonly hosts: string;
  readonly keyType: string;
  readonly keyBlob: Buffer;
}

/** A line whose key vouches for the keys of hosts. */
export interface Authority {
  readonly file: string;
  readonly line: number;
  readonly hosts: string;
}

/** One file, read. */
export interface KnownHosts {
  readonly entries: readonly KnownHost[];
  /** Lines that could not be read and were skipped, as `file:line`. */
  readonly brokenLines: readonly string[];
  /** `@cert-authority` lines: host certificates are not supported, so these say nothing. */
  readonly authorities: readonly Authority[];
}

export type HostKeyDecision =
  | { readonly verdict: "known" }
  | { readonly verdict: "unknown" }
  | { readonly verdict: "changed"; readonly file: string; readonly line: number; readonly keyType: string }
  | { readonly verdict: "revoked"; readonly file: string; readonly line: number };

/** Which host, as it was dialled. */
export interface HostAddress {
  readonly host: string;
  readonly port: number;
}

/** Where SSH servers listen when nobody says otherwise. */
export const sshPort = 22;

/** Reads the text of one known_hosts file; never throws, since one bad line must not hide the good ones. */
export function parseKnownHosts(text: string, file: string): KnownHosts {
  const entries: KnownHost[] = [];
  const brokenLines: string[] = [];
  const authorities: Authority[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const fields = line.split(/[ \t]+/);
    const marker = fields[0]?.startsWith("@") === true ? fields.shift() : undefined;
    const [hosts = "", keyType = "", encoded = ""] = fields;
    const keyBlob = readBlob(keyType, encoded);
    if (marker === "@cert-authority") authorities.push({ file, line: index + 1, hosts });
    else if (keyBlob === undefined || (marker !== undefined && marker !== "@revoked"))
      brokenLines.push(`${file}:${index + 1}`);
    else entries.push({ file, line: index + 1, ...(marker && { marker: "revoked" }), hosts, keyType, keyBlob });
  }
  return { entries, brokenLines, authorities };
}

/**
 * Whether the key a server shows is the one that is known for it. Like OpenSSH, any other key listed for the host makes
 * it `changed`, whatever its type: else an attacker would only have to offer a type that is not listed.
 * On a port other than 22, a key listed for the plain host name is good too, but a different one is no alarm.
 */
export function decideHostKey(
  entries: readonly KnownHost[],
  { host, port }: HostAddress,
  keyBlob: Buffer,
): HostKeyDecision {
  const onPort = entries.filter((entry) => matchesHost(entry.hosts, lookupName({ host, port })));
  const byHost = port === sshPort ? [] : entries.filter((entry) => matchesHost(entry.hosts, host.toLowerCase()));
  const same = [...onPort, ...byHost].filter((entry) => entry.keyBlob.equals(keyBlob));
  const revoked = same.find((entry) => entry.marker === "revoked");
  if (revoked !== undefined) return { verdict: "revoked", file: revoked.file, line: revoked.line };
  if (same.some((entry) => onPort.includes(entry))) return { verdict: "known" };
  const others = onPort.filter((entry) => entry.marker === undefined);
  // A line of the same type is the one that disagrees; of another type, the first stands for all.
  const other = others.find((entry) => entry.keyType === blobType(keyBlob)) ?? others[0];
  if (other !== undefined) return { verdict: "changed", file: other.file, line: other.line, keyType: other.keyType };
  return { verdict: same.length > 0 ? "known" : "unknown" };
}

/** The authorities that may vouch for a host. */
export function authoritiesFor(authorities: readonly Authority[], { host, port }: HostAddress): Authority[] {
  const names = [lookupName({ host, port }), host.toLowerCase()];
  return authorities.filter(({ hosts }) => names.some((name) => matchesHost(hosts, name)));
}

/** The types of the keys known for a host, in the order of the files: what to ask the server for first. */
export function knownKeyTypes(entries: readonly KnownHost[], { host, port }: HostAddress): string[] {
  const byName = (name: string) =>
    entries.filter((entry) => entry.marker === undefined && matchesHost(entry.hosts, name));
  const onPort = byName(lookupName({ host, port }));
  const found = onPort.length > 0 ? onPort : byName(host.toLowerCase());
  return [...new Set(found.map((entry) => entry.keyType))];
}

/** The line that makes a key known, without its newline. With a salt of 20 random bytes the name is hashed (`HashKnownHosts`). */
export function knownHostsLine(address: HostAddress, keyBlob: Buffer, salt?: Uint8Array): string {
  const name = salt === undefined ? lookupName(address) : hashedName(lookupName(address), salt);
  return `${name} ${blobType(keyBlob)} ${keyBlob.toString("base64")}`;
}

/** `SHA256:` and the unpadded base64 digest of a public key, as `ssh-keygen -l` prints it. */
export function keyFingerprint(keyBlob: Buffer): string {
  return `SHA256:${createHash("sha256").update(keyBlob).digest("base64").replace(/=+$/, "")}`;
}

/** The type inside a public key blob (RFC 4253 § 6.6), or "" when there is none. */
export function blobType(keyBlob: Buffer): string {
  if (keyBlob.length < 4) return "";
  const length = keyBlob.readUInt32BE(0);
  return length <= 64 && keyBlob.length > 4 + length ? keyBlob.toString("latin1", 4, 4 + length) : "";
}

/** How known_hosts names an address: the host in lower case, as `[host]:port` off the standard port. */
export function lookupName({ host, port }: HostAddress): string {
  return port === sshPort ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/** Whether the host field of a line covers `name`: a hashed name, or patterns of which none that matches is negated. */
export function matchesHost(hosts: string, name: string): boolean {
  if (hosts.startsWith("|")) return matchesHash(hosts, name);
  return matchesPatterns(hosts.toLowerCase().split(","), name);
}

/** `|1|salt|hash`, both base64: HMAC-SHA1 of the name under the salt (ssh-keygen -H). */
function matchesHash(hosts: string, name: string): boolean {
  const [, version, salt = "", hash = ""] = hosts.split("|");
  if (version !== "1") return false;
  return nameHash(name, Buffer.from(salt, "base64")).equals(Buffer.from(hash, "base64"));
}

function hashedName(name: string, salt: Uint8Array): string {
  return `|1|${Buffer.from(salt).toString("base64")}|${nameHash(name, salt).toString("base64")}`;
}

function nameHash(name: string, salt: Uint8Array): Buffer {
  return createHmac("sha1", salt).update(name).digest();
}

/** The key of a line, or undefined when it is not base64 or not of the type the line claims. */
function readBlob(keyType: string, encoded: string): Buffer | undefined {
  if (keyType === "" || !/^[A-Za-z0-9+/]+={0,2}$/.test(encoded)) return undefined;
  const blob = Buffer.from(encoded, "base64");
  return blobType(blob) === keyType ? blob : undefined;
}
