/** Custom headers of the HTTP upgrade: which ones a person may set, and how they are written. */
import { OpenClawError } from "../errors.ts";
import { Secret } from "../secret.ts";
import { type Environment, read } from "./environment.ts";

export type Header = readonly [name: string, value: Secret];

/** These belong to the connection itself or carry our own credential; a second voice there would break either. */
const reserved = new Set([
  "authorization",
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Why a header cannot be set, or undefined. Grammar: RFC 9110 §§ 5.1 and 5.5. The value is never repeated. */
export function headerProblem(name: string, value: string): string | undefined {
  if (!isToken(name)) return "has characters that a header name cannot have";
  if (reserved.has(name.toLowerCase()) || name.toLowerCase().startsWith("sec-websocket-")) {
    return "is set by the connection itself";
  }
  return /^[\t\x20-\x7e\x80-\xff]+$/.test(value)
    ? undefined
    : "needs a value, on one line and without control characters";
}

/** RFC 9110 § 5.6.2. */
function isToken(name: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name);
}

/** `Name: value` as typed; what is not that, or may not be set, is `usage`. */
export function parseHeader(line: string, what: string): Header {
  const colon = line.indexOf(":");
  if (colon < 1) {
    throw new OpenClawError("usage", `${what} has no name and colon`, { hint: "write it as 'Name: value'" });
  }
  const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
  const problem = headerProblem(name, value);
  if (problem === undefined) return [name, new Secret(value)];
  const hint = reserved.has(name.toLowerCase())
    ? "leave it out; --token-file and --no-auth-header decide about Authorization"
    : "write it as 'Name: value'";
  // What cannot be a name may be a part of a secret that stands in the wrong place.
  const whose = isToken(name) ? `${what} ${JSON.stringify(name)}` : what;
  throw new OpenClawError("usage", `${whose} ${problem}`, { hint });
}

/** One `Name: value` a line; empty lines and those that begin with # say nothing. `source` is where the text stands, for messages. */
export function parseHeaderLines(text: string, source: string): Header[] {
  return text.split(/\r?\n/).flatMap((line, at) => {
    const header = line.trim();
    if (header === "" || header.startsWith("#")) return [];
    return [parseHeader(header, `${source}:${at + 1}: the header`)];
  });
}

/** OPENCLAW_GATEWAY_HEADERS, one `Name: value` a line, and the service token of Cloudflare Access. */
export function environmentHeaders(env: Environment): Header[] {
  const lines = read(env, "OPENCLAW_GATEWAY_HEADERS") ?? "";
  return [...parseHeaderLines(lines, "OPENCLAW_GATEWAY_HEADERS"), ...accessHeaders(env)];
}

/** The headers of all sources, the strongest first: of the same name, in whatever case, the first counts. */
export function mergeHeaders(...sources: readonly (readonly Header[])[]): Header[] {
  const merged = new Map<string, Header>();
  for (const source of sources) {
    const known = new Set(merged.keys());
    for (const header of source) {
      const name = header[0].toLowerCase();
      if (!known.has(name)) merged.set(name, header);
    }
  }
  return [...merged.values()];
}

function accessHeaders(env: Environment): Header[] {
  const [id, secret] = [read(env, "CF_ACCESS_CLIENT_ID"), read(env, "CF_ACCESS_CLIENT_SECRET")];
  if (id === undefined && secret === undefined) return [];
  if (id === undefined || secret === undefined) {
    const [there, missing] = id === undefined ? ["SECRET", "ID"] : ["ID", "SECRET"];
    throw new OpenClawError("usage", `CF_ACCESS_CLIENT_${there} is set without CF_ACCESS_CLIENT_${missing}`, {
      hint: "set both, or neither",
    });
  }
  return [
    parseHeader(`CF-Access-Client-Id: ${id}`, "CF_ACCESS_CLIENT_ID, sent as"),
    parseHeader(`CF-Access-Client-Secret: ${secret}`, "CF_ACCESS_CLIENT_SECRET, sent as"),
  ];
}
