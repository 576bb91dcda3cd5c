/** Where to connect and what to forward, as a person types it: `user@host:22` and `8080:127.0.0.1:18789`. */
import { isIPv6 } from "node:net";
import { OpenClawError } from "../errors.ts";

/** The far end of an SSH connection. What is absent is left to the SSH configuration or its defaults. */
export interface Destination {
  readonly user?: string;
  readonly host: string;
  readonly port?: number;
}

export type ForwardDirection = "remote" | "local";

/** What a forwarded connection reaches in the end. */
export type ForwardTarget =
  | { readonly type: "tcp"; readonly host: string; readonly port: number }
  | { readonly type: "unix"; readonly path: string };

/** One forward: `remote` listens on the server and leads here (`-R`), `local` listens here and leads there (`-L`). */
export interface ForwardSpec {
  readonly direction: ForwardDirection;
  /** The address that listens. `*` means every address. */
  readonly bind: string;
  /** The port that listens; 0 lets its machine choose. */
  readonly port: number;
  readonly target: ForwardTarget;
}

/** Where a forward listens when nobody says otherwise: only the machine itself can reach it. */
const loopbackBind = "127.0.0.1";

const maxPort = 65_535;

/**
 * Reads `[user@]host[:port]` or `ssh://[user@]host[:port]` (IPv6 in brackets, or bare without a port).
 * Throws `usage` naming the bad part; a password in the text is refused and never repeated.
 */
export function parseDestination(text: string): Destination {
  const isUri = /^ssh:\/\//i.test(text);
  const rest = isUri ? text.slice("ssh://".length).replace(/\/$/, "") : text;
  const at = rest.lastIndexOf("@");
  const user = at === -1 ? undefined : readUser(rest.slice(0, at), isUri);
  return { ...(user === undefined ? {} : { user }), ...readHostAndPort(rest.slice(at + 1)) };
}

/** The destination as text that `parseDestination` reads back. */
export function formatDestination({ user, host, port }: Destination): string {
  const address = port === undefined ? bracketed(host) : `${bracketed(host)}:${port}`;
  return user === undefined ? address : `${user}@${address}`;
}

/**
 * Reads `[bind:]port:host:hostport` or `[bind:]port:/socket/path` (IPv6 in brackets; `*` binds every address; port 0
 * is chosen by the machine that listens). Throws `usage` naming the bad part.
 */
export function parseForward(direction: ForwardDirection, text: string): ForwardSpec {
  const flag = direction === "remote" ? "-R" : "-L";
  const shape = `${flag} takes [bind:]port:host:hostport, for example ${flag} 18789:127.0.0.1:18789`;
  const { parts, path } = splitForward(text, shape);
  const listening = path === undefined ? parts.slice(0, -2) : parts;
  if (listening.length < 1 || listening.length > 2) throw bad(`cannot read the forward "${text}"`, shape);
  const bind = listening.length === 2 ? listening[0] : undefined;
  if (bind === "") {
    throw bad(
      `the bind address of "${text}" is empty`,
      "write * to listen on every address, or leave out the first colon",
    );
  }
  const port = readPort(listening.at(-1) ?? "", `listening port of "${text}"`, 0);
  return { direction, bind: bind === undefined ? loopbackBind : checkHost(bind, text), port, target: readTarget() };

  function readTarget(): ForwardTarget {
    if (path !== undefined) return { type: "unix", path };
    const [host = "", hostPort = ""] = parts.slice(-2);
    // A connection has one target; in an authorized_keys line a pattern would permit them all.
    if (/[*?]/.test(host)) throw bad(`the target "${host}" of "${text}" is a pattern`, "name one host");
    return { type: "tcp", host: checkHost(host, text), port: readPort(hostPort, `target port of "${text}"`, 1) };
  }
}

/** The forward as text that `parseForward` reads back: `bind:port:host:hostport`. */
export function formatForward({ bind, port, target }: Omit<ForwardSpec, "direction">): string {
  return `${bracketed(bind)}:${port}:${formatTarget(target)}`;
}

/** `host:port` with IPv6 in brackets, or the path of a unix socket. */
export function formatTarget(target: ForwardTarget): string {
  return target.type === "unix" ? target.path : `${bracketed(target.host)}:${target.port}`;
}

/** `host`, in brackets when it is an IPv6 address (RFC 3986 § 3.2.2). */
export function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** An address that reaches what is bound to `bind`, from the machine itself. */
export function reachableAt(bind: string): string {
  if (bind === "*" || bind === "0.0.0.0") return loopbackBind;
  return bind === "::" ? "::1" : bind;
}

function readUser(text: string, isUri: boolean): string {
  if (text.includes(":")) {
    throw bad("a password does not belong in a destination", "use --password-file, or a key");
  }
  const user = isUri ? percentDecoded(text) : text;
  if (user === "") throw bad("the user in front of @ is empty", "write user@host, or only host");
  if (user.startsWith("-") || hasBlankOrControl(user)) throw bad(`"${printable(user)}" cannot be a user name`);
  return user;
}

function readHostAndPort(text: string): { host: string; port?: number } {
  if (isIPv6(text)) return { host: text };
  const match = /^(?:\[(?<address>[^\]]*)\]|(?<name>[^:[\]]*))(?::(?<port>[^:]*))?$/s.exec(text);
  const { address, name = "", port } = match?.groups ?? {};
  if (match === null) {
    throw bad(`cannot read the host "${printable(text)}"`, "write an IPv6 address with a port as [address]:port");
  }
  if (address !== undefined && !isIPv6(address)) throw bad(`"${printable(address)}" is not an IPv6 address`);
  const host = checkHost(address ?? name, text);
  return port === undefined ? { host } : { host, port: readPort(port, `port of "${printable(text)}"`, 1) };
}

/** Splits at colons outside brackets; a part that starts with `/` is a socket path and takes the rest. */
function splitForward(text: string, shape: string): { parts: string[]; path?: string } {
  const parts: string[] = [];
  let rest = text;
  for (;;) {
    if (rest.startsWith("/")) return { parts, path: rest };
    const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::|$)/.exec(rest);
    if (match === null) throw bad(`cannot read "${printable(rest)}" in the forward "${printable(text)}"`, shape);
    parts.push(match[1] ?? match[2] ?? "");
    if (!match[0].endsWith(":")) return { parts };
    rest = rest.slice(match[0].length);
  }
}

function checkHost(host: string, within: string): string {
  if (host === "") throw bad(`a host is missing in "${printable(within)}"`);
  // A leading dash would be an option to whatever program gets the name next.
  if (host.startsWith("-") || hasBlankOrControl(host) || /[/@]/.test(host) || (host.includes(":") && !isIPv6(host))) {
    throw bad(`"${printable(host)}" cannot be a host name`);
  }
  return host;
}

function readPort(text: string, what: string, lowest: 0 | 1): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (port >= lowest && port <= maxPort) return port;
  throw bad(`the ${what} must be a number from ${lowest} to ${maxPort}, not "${printable(text)}"`);
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new OpenClawError("usage", `the user "${printable(text)}" has a broken percent escape`, { cause });
  }
}

function hasBlankOrControl(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused here
  return /[\s\u0000-\u001f\u007f]/.test(text);
}

/** Text as one harmless line, for a message. */
function printable(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function bad(message: string, hint?: string): OpenClawError {
  return new OpenClawError("usage", message, { hint });
}
