/** The address of a gateway: `ws(s)://host:port/path`, and nothing else in it. */
import { isIPv6 } from "node:net";
import { OpenClawError } from "../errors.ts";
import { isLoopbackHost, withoutBrackets } from "./address.ts";

export const defaultPort = 18_789;

export interface GatewayUrl {
  readonly tls: boolean;
  /** A name or an address; an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  /** Begins with a slash. */
  readonly path: string;
}

/**
 * Reads an address as typed. Without a port it is the scheme's own (80, 443), as in any URL. Other schemes, credentials and
 * queries are `usage`: a URL ends up in logs and process lists. `what` names where it was typed; the text is not repeated when a
 * secret may be in it.
 */
export function parseGatewayUrl(text: string, what: string): GatewayUrl {
  const problem = urlProblem(text);
  if (problem !== undefined) throw new OpenClawError("usage", `${what} ${problem.says}`, { hint: problem.hint });
  const url = new URL(text.trim());
  const tls = url.protocol === "wss:";
  return {
    tls,
    host: withoutBrackets(url.hostname),
    port: url.port === "" ? (tls ? 443 : 80) : Number(url.port),
    path: url.pathname,
  };
}

/** What keeps a text from being a gateway's address, or undefined. */
export function urlProblem(text: string): { readonly says: string; readonly hint: string } | undefined {
  const hint = `write ws://host:${defaultPort} or wss://host:${defaultPort}`;
  const url = URL.parse(text.trim());
  if (url === null || !/^wss?:$/.test(url.protocol)) return schemeProblem(text, url, hint);
  if (url.username !== "" || url.password !== "") {
    return {
      says: "has a user name or password in it, where others can read it",
      hint: "use --password-file or --token-file",
    };
  }
  if (url.search !== "" || url.hash !== "") {
    return {
      says: "has a query or fragment in it, which gateways do not read",
      hint: "a token goes into --token-file",
    };
  }
  if (url.port === "0") return { says: "has port 0, where nothing can listen", hint };
  return undefined;
}

function schemeProblem(text: string, url: URL | null, hint: string) {
  // A host and port alone parse as scheme and path.
  const host = /^\s*([A-Za-z0-9.-]+)(?::(\d{1,5}))?\s*$/.exec(text);
  if (host !== null) {
    const [, name = "", port = String(defaultPort)] = host;
    return { says: "does not begin with ws:// or wss://", hint: `write ws://${name}:${port} or wss://${name}:${port}` };
  }
  if (url?.protocol === "http:" || url?.protocol === "https:") {
    const scheme = url.protocol === "http:" ? "ws" : "wss";
    return {
      says: `begins with ${url.protocol}//`,
      hint: `write ${scheme}://${url.host}${url.pathname === "/" ? "" : url.pathname}`,
    };
  }
  if (text.startsWith("/") || /^(unix|ws\+unix|wss\+unix|file|pipe):/i.test(text)) {
    return { says: "names a file; gateways are reached over TCP", hint };
  }
  return { says: "is not the address of a gateway", hint };
}

/** An address from its parts. A host that is a URL, a port out of range and a path with a query are `usage`. */
export function gatewayUrlOf({
  host,
  port,
  tls,
  contextPath,
}: {
  readonly host: string;
  readonly port: string | number;
  readonly tls: boolean;
  readonly contextPath?: string | undefined;
}): GatewayUrl {
  return { tls, host: checkedHost(host), port: checkedPort(port, "--port"), path: checkedPath(contextPath ?? "/") };
}

/** A TCP port that something can listen on, from what was typed; else `usage`. */
export function checkedPort(port: string | number, what: string): number {
  const number = typeof port === "number" || /^\d{1,5}$/.test(port) ? Number(port) : Number.NaN;
  if (Number.isInteger(number) && number >= 1 && number <= 65_535) return number;
  throw new OpenClawError("usage", `${what} ${JSON.stringify(port)} is not a port`, {
    hint: "write a whole number from 1 to 65535",
  });
}

/** The normal form: lower-case host, port always written, path at least a slash. */
export function formatGatewayUrl(url: GatewayUrl): string {
  return `${formatOrigin(url)}${url.path}`;
}

/** The same without the path: what tells one gateway from another. */
export function formatOrigin({ tls, host, port }: GatewayUrl): string {
  return `${tls ? "wss" : "ws"}://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** True when both are one gateway. On this machine that is a question of the port: every loopback name leads to it. */
export function isSameGateway(a: GatewayUrl, b: GatewayUrl): boolean {
  if (isLoopbackHost(a.host) && isLoopbackHost(b.host)) return a.port === b.port;
  return formatGatewayUrl(a) === formatGatewayUrl(b);
}

function checkedHost(host: string): string {
  const bare = withoutBrackets(host.trim());
  const written = isIPv6(bare) ? `[${bare}]` : bare;
  const url = isIPv6(bare) || /^[A-Za-z0-9._-]+$/.test(bare) ? URL.parse(`ws://${written}`) : null;
  if (url !== null) return withoutBrackets(url.hostname);
  throw new OpenClawError("usage", "--host is not a host name or an IP address", {
    hint: "write --host gateway.example, or give a whole address with --url ws://host:port/path",
  });
}

function checkedPath(path: string): string {
  const url = URL.parse(`ws://host${path.startsWith("/") ? "" : "/"}${path}`);
  if (url !== null && url.search === "" && url.hash === "" && !/[\s?#]/.test(path)) return url.pathname;
  throw new OpenClawError("usage", "--context-path is not a plain path", { hint: "write it like /gateway" });
}
