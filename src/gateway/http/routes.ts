/**
 * `gateway.http.routes`: which local service answers which paths (auth.md § 7). A path may be written in many ways that a service takes for the
 * same one; a route counts only for the plainest of them, so that no other spelling leads past the scope of a narrower route.
 */
import { OpenClawError } from "../../errors.ts";
import { operatorScopes } from "../../protocol/vocabulary.ts";

export interface HttpRoute {
  /** `/v1/` and `/v1` both mean that path and all below it. */
  readonly path: string;
  /** An http or https URL. A path in it stands in place of the route's; without one, paths stay as they are. */
  readonly upstream: string;
  /** The operator scope that callers need; operator.write when left out, for what a service does is not known here. */
  readonly scope?: string | undefined;
}

export interface Route {
  /** Without the slash at the end: `/v1`; empty for every path. */
  readonly prefix: string;
  readonly upstream: URL;
  readonly scope: string;
}

/** What is asked for: the request-target of RFC 9112 § 3.2.1. */
export interface Target {
  readonly path: string;
  /** With its question mark; empty without one. */
  readonly query: string;
  /** The path as the most lenient service would read it: decoded, in lower case, without parameters. */
  readonly folded: string;
}

/** Where the gateway answers itself. */
export const ownPaths: ReadonlyMap<string, "health" | "ready" | "metrics"> = new Map([
  ["/health", "health"],
  ["/healthz", "health"],
  ["/ready", "ready"],
  ["/readyz", "ready"],
  ["/metrics", "metrics"],
]);

const defaultScope = "operator.write";

/** Times that a path is decoded: who encodes one more often wants something. */
const maxDecodings = 3;

/** The routes of a configuration, the longest first. Fails with `usage` for one that cannot work. */
export function compileRoutes(configured: readonly HttpRoute[]): readonly Route[] {
  const routes = configured.map(compile);
  for (const [at, { prefix }] of routes.entries()) {
    const isTaken = routes.slice(0, at).some((other) => other.prefix.toLowerCase() === prefix.toLowerCase());
    if (isTaken) throw wrong(`${prefix}/`, "the path is there twice", "one path leads to one upstream");
  }
  return routes.toSorted((one, other) => other.prefix.length - one.prefix.length);
}

/** Reads a request-target in origin form; undefined for any other, and for a path that means something else than it says. */
export function readTarget(text = ""): Target | undefined {
  if (!/^\/[\u0021\u0022\u0024-\u007e]*$/u.test(text)) return undefined;
  const at = text.indexOf("?");
  const path = at === -1 ? text : text.slice(0, at);
  const folded = fold(path);
  return folded === undefined ? undefined : { path, query: at === -1 ? "" : text.slice(at), folded };
}

/** The route of a path: the longest one on a segment's border, if the path spells it the way the configuration does. */
export function findRoute(routes: readonly Route[], { path, folded }: Target): Route | undefined {
  const route = routes.find(({ prefix }) => isBelow(folded, prefix.toLowerCase()));
  return route !== undefined && isBelow(path, route.prefix) ? route : undefined;
}

/** Path and query to ask the upstream for. */
export function upstreamTarget({ prefix, upstream }: Route, { path, query }: Target): string {
  const base = basePath(upstream);
  return (base === "" ? path : base + path.slice(prefix.length)) + query;
}

/** Where a redirect of the upstream leads for clients of the gateway; what leads elsewhere stays as it is. */
export function publicLocation({ prefix, upstream }: Route, location: string): string {
  if (!/^(?:https?:)?\//iu.test(location)) return location;
  const url = URL.parse(location, upstream.href);
  if (url === null || url.origin !== upstream.origin) return location;
  const base = basePath(upstream);
  const rest = url.search + url.hash;
  if (base === "") return url.pathname + rest;
  return isBelow(url.pathname, base) ? prefix + url.pathname.slice(base.length) + rest : location;
}

function compile({ path, upstream, scope = defaultScope }: HttpRoute): Route {
  const target = readTarget(path);
  const isPlain = target !== undefined && target.query === "" && target.folded === path.toLowerCase();
  if (!isPlain) throw wrong(path, "is no plain path", "begin with / and leave out dots, escapes and empty segments");
  const prefix = path.replace(/\/$/u, "");
  if (ownPaths.has(prefix)) throw wrong(path, "is answered by the gateway itself", "take another path");
  const url = URL.parse(upstream);
  if (url === null || !/^https?:$/u.test(url.protocol)) {
    throw wrong(path, "has an upstream that is no http:// or https:// URL", "such as http://127.0.0.1:8000");
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw wrong(
      path,
      "has an upstream with more than host, port and path",
      "leave out credentials, query and fragment",
    );
  }
  if (!operatorScopes.some((known) => known === scope)) {
    throw wrong(path, `wants a scope that does not exist: ${scope}`, `one of ${operatorScopes.join(", ")}`);
  }
  return { prefix, upstream: url, scope };
}

function wrong(path: string, problem: string, hint: string): OpenClawError {
  return new OpenClawError("usage", `gateway.http.routes: ${path}: ${problem}`, { hint });
}

/** RFC 3986 § 6.2.3: no path and `/` are the same. */
function basePath({ pathname }: URL): string {
  return pathname.replace(/\/$/u, "");
}

function isBelow(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}

/** Undefined for what climbs, for empty segments and control characters, and for bytes that are no UTF-8. */
function fold(path: string): string | undefined {
  const decoded = decodeFully(path);
  if (decoded === undefined || /[\u0000-\u001f\u007f]/u.test(decoded)) return undefined;
  const segments = decoded
    .split(/[/\\]/u)
    .slice(1)
    .map((segment) => segment.replace(/;.*$/u, ""));
  const isClimbing = segments.some((segment) => segment === "." || segment === "..");
  if (isClimbing || segments.slice(0, -1).includes("")) return undefined;
  return `/${segments.join("/").toLowerCase()}`;
}

function decodeFully(path: string): string | undefined {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    return undefined;
  }
  for (let times = 1; times < maxDecodings; times++) decoded = decodeOnce(decoded);
  return decodeOnce(decoded) === decoded ? decoded : undefined;
}

function decodeOnce(text: string): string {
  return text.replace(/%([0-9a-f]{2})/giu, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
