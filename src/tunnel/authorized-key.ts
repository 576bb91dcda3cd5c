/**
 * A line for `authorized_keys` that lets a key do the forwards of one tunnel and nothing else (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
 *
 * `restrict` takes everything away, also what later versions of OpenSSH will know. `port-forwarding` gives all forwards back, in both
 * directions, so that each direction has to be narrowed again; and it leaves shells and commands as they are, which only a forced
 * command takes away.
 */
import { OpenClawError } from "../errors.ts";
import { bracketed, formatForward, reachableAt } from "../ssh/destination.ts";
import type { ForwardSpec } from "../ssh/destination.ts";
import { blobType } from "../ssh/known-hosts.ts";

export interface KeyRestriction {
  readonly forwards: readonly ForwardSpec[];
  /** True: each remote forward's own listening port may be dialled through the connection too, as `tunnel check` does. */
  readonly allowCheck?: boolean;
}

/**
 * An address that nobody can listen on or reach, for a direction with nothing to permit: there is `none` in sshd_config, but not here, and
 * a line with it lets nobody in. The name never resolves (RFC 6761 § 6.4); and since sshd compares the listening host of a request in
 * lower case, capitals also fit no request of root, whose listener for a name would otherwise be put on loopback.
 */
const nowhere = "NOWHERE.INVALID:1";
/** Ends at once, for whatever is asked for. Found by every shell, also where `/bin/false` is somewhere else. */
const nothing = "false";

/**
 * The line: options, key, comment. Throws `usage` for forwards that cannot be named in one: without a port of their own. Local forwards
 * to unix sockets need no name: every key that may forward at all may open those, unless sshd_config says otherwise.
 */
export function authorizedKeyLine(publicKey: Buffer, restriction: KeyRestriction, comment: string): string {
  return `${keyOptions(restriction)} ${blobType(publicKey)} ${publicKey.toString("base64")} ${comment}`;
}

function keyOptions({ forwards, allowCheck = false }: KeyRestriction): string {
  const remote = forwards.filter(({ direction }) => direction === "remote");
  const local = forwards.filter(({ direction }) => direction === "local");
  const listening = remote.map(listeningAddress);
  const open = [...local.flatMap(targetAddress), ...(allowCheck ? remote.map(checkAddress) : [])];
  return [
    "restrict",
    "port-forwarding",
    option("command", nothing),
    ...named("permitlisten", listening),
    ...named("permitopen", open),
  ].join(",");
}

/** What a check of a remote forward dials, `host:port`, on the server. */
export function checkAddress({ bind, port }: ForwardSpec): string {
  return `${bracketed(reachableAt(bind))}:${port}`;
}

function listeningAddress(forward: ForwardSpec): string {
  if (forward.port !== 0) return `${bracketed(forward.bind)}:${forward.port}`;
  throw new OpenClawError(
    "usage",
    `-R ${formatForward(forward)} leaves the port to the server, which a key cannot be restricted to`,
    {
      hint: "name the port that the server is to listen on",
    },
  );
}

function targetAddress({ target }: ForwardSpec): string[] {
  return target.type === "unix" ? [] : [`${bracketed(target.host)}:${target.port}`];
}

function named(name: string, addresses: readonly string[]): string[] {
  return [...new Set(addresses.length === 0 ? [nowhere] : addresses)].map((address) => option(name, address));
}

function option(name: string, value: string): string {
  return `${name}="${value.replaceAll('"', '\\"')}"`;
}
