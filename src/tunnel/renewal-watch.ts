/** Notices while a connection still works that another one should take its place: the way to the server has changed, or a key file has. */
import { createSocket } from "node:dgram";
import { stat } from "node:fs/promises";
import { isIPv6 } from "node:net";
import type { Runtime } from "../runtime.ts";

export interface RenewalWatchOptions {
  /** The ends of the connection, as addresses; without both the way is not watched. */
  readonly ends: { readonly local?: string | undefined; readonly remote?: string | undefined };
  readonly files: readonly string[];
  readonly everyMs: number;
  readonly runtime: Runtime;
}

/** Calls `renew` with the reason, once. The returned function ends the watch. */
export function watchForRenewal(options: RenewalWatchOptions, renew: (reason: string) => void): () => void {
  const { runtime, everyMs } = options;
  let isOver = false;
  let cancel = () => {};
  const before = fileStamps(options.files);
  const look = async () => {
    const reason = (await changedWay(options.ends)) ?? (await changedFile(await before, options.files));
    if (isOver) return;
    if (reason === undefined) lookLater();
    else renew(reason);
  };
  const lookLater = () => (cancel = runtime.after(everyMs, () => void look()));
  lookLater();
  return () => {
    isOver = true;
    cancel();
  };
}

async function changedWay({ local, remote }: RenewalWatchOptions["ends"]): Promise<string | undefined> {
  if (local === undefined || remote === undefined) return undefined;
  const now = await sourceAddress(remote);
  if (now === undefined || plain(now) === plain(local)) return undefined;
  return `this machine now reaches the server from ${now} instead of ${local}`;
}

/** The address that this machine would dial `remote` from now: connecting a UDP socket asks the routing table and sends nothing (connect(2)). */
async function sourceAddress(remote: string): Promise<string | undefined> {
  const socket = createSocket(isIPv6(plain(remote)) ? "udp6" : "udp4");
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  socket.once("error", () => resolve(undefined)); // no way at all is not a better one
  socket.connect(9, plain(remote), () => resolve(socket.address().address));
  try {
    return await promise;
  } finally {
    socket.close();
  }
}

/** `::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 § 2.5.5.2). */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/iu, "");
}

type Stamps = ReadonlyMap<string, string>;

async function changedFile(before: Stamps, files: readonly string[]): Promise<string | undefined> {
  const now = await fileStamps(files);
  // A file that is gone for a moment is about to be replaced.
  const changed = files.find((file) => now.has(file) && now.get(file) !== before.get(file));
  return changed === undefined ? undefined : `the key file ${changed} has changed`;
}

async function fileStamps(files: readonly string[]): Promise<Stamps> {
  const stamps = new Map<string, string>();
  for (const file of files) {
    const found = await stat(file).catch(() => undefined);
    if (found !== undefined) stamps.set(file, `${found.mtimeMs} ${found.size} ${found.ino}`);
  }
  return stamps;
}
