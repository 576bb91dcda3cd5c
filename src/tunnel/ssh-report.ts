/** What `tunnel inspect` says about the SSH connection in use. */
import type { SshConnection } from "../ssh/connect.ts";
import type { SshReport } from "./report.ts";
import { hasNativeCrypto } from "../ssh/ssh2.ts";

/** The connection's negotiated algorithms, its host key, and what encrypts. */
export function describeSsh(connection: SshConnection, hotSpare: boolean): SshReport {
  const { hostKeyFingerprint, connectedAtMs, algorithms } = connection;
  const serverPid = connection.serverSession?.pid;
  const base = { hostKeyFingerprint, connectedAtMs, serverPid, nativeCrypto: hasNativeCrypto(), hotSpare };
  if (algorithms === undefined) return base;
  const { kex, serverHostKey, cs, sc } = algorithms;
  return {
    ...base,
    keyExchange: kex,
    hostKeyAlgorithm: serverHostKey,
    cipher: { out: cs.cipher, in: sc.cipher },
    mac: { out: cs.mac, in: sc.mac },
  };
}
