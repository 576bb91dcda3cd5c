/** Why a host key was not trusted, with what to look at and what to type. */
import { OpenClawError } from "../errors.ts";
import { shellWord } from "../shell-word.ts";
import type { HostKeyQuestion } from "./host-keys.ts";
import { blobType, keyFingerprint, lookupName } from "./known-hosts.ts";
import type { HostAddress } from "./known-hosts.ts";

/** `host-key-changed`: another key was pinned. */
export function otherThanPinned(wanted: string, address: HostAddress, keyBlob: Buffer): OpenClawError {
  const fingerprint = keyFingerprint(keyBlob);
  return new OpenClawError(
    "host-key-changed",
    `${lookupName(address)} shows the ${keyName(keyBlob)} key ${fingerprint}, not ${wanted}`,
    {
      hint: `if ${wanted} is its key of another type, give the fingerprint of its ${keyName(keyBlob)} key; else do not connect`,
      details: { ...address, fingerprint, expected: wanted },
    },
  );
}

/** `host-key-changed`: another key is listed for the host. */
export function changed(
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

/** `host-key-changed`: the key is marked as revoked. */
export function revoked(address: HostAddress, keyBlob: Buffer, at: { file: string; line: number }): OpenClawError {
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

/** `usage`: nobody knows the key and nobody can be asked. */
export function unknown({ host, port, keyType, fingerprint, note }: HostKeyQuestion): OpenClawError {
  return new OpenClawError(
    "usage",
    `the host key of ${lookupName({ host, port })} is not known: ${keyType} ${fingerprint}${note === undefined ? "" : ` (${note})`}`,
    {
      hint: `compare it on the server, then add --host-key-fingerprint ${fingerprint}, or --host-key-policy accept-new to trust what answers`,
      details: { host, port, keyType, fingerprint },
    },
  );
}

/** `host-key-unknown`: a person looked at the key and said no. */
export function declined({ host, port, keyType, fingerprint }: HostKeyQuestion): OpenClawError {
  return new OpenClawError(
    "host-key-unknown",
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
