/**
 * A look at a port that the command line names outright, before anything else is loaded: the most common failure, nothing listening
 * there, is then told at once. Loopback only, where the answer comes at once too.
 */
import { connect } from "node:net";
import { unreachable } from "../transport/unreachable.ts";
import type { TargetFlags } from "./target-options.ts";

/** Fails with `unreachable` when nothing listens; says nothing about anything else. */
export async function refuseDeadPort(flags: TargetFlags): Promise<void> {
  const url = namedUrl(flags);
  if (url === undefined) return;
  const socket = connect({ host: url.hostname, port: Number(url.port) });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") reject(unreachable(url, error));
      else resolve(); // whoever dials in earnest finds out and says more
    });
  });
  socket.destroy();
}

/** The address, when flags say all of it and it is one of this machine's. */
function namedUrl({ url, host, port, tls }: TargetFlags): URL | undefined {
  const named =
    url ?? (port === undefined ? undefined : `${tls === true ? "wss" : "ws"}://${host ?? "127.0.0.1"}:${port}`);
  const read = named === undefined ? null : URL.parse(named);
  if (read === null || !/^wss?:$/u.test(read.protocol) || read.username !== "" || read.search !== "") return undefined;
  return read.hostname === "127.0.0.1" && Number(read.port) > 0 ? read : undefined;
}
