/** What stands in front of a gateway and answers in its place: an access proxy that wants a login, or its own service token. */
import type { IncomingHttpHeaders } from "node:http";

/** How an edge shows. */
export interface Edge {
  /** What to call it. */
  readonly name: string;
  readonly answer: "login-page" | "redirect" | "challenge" | "refusal";
  /** `Basic "staff"`: the scheme and realm of its own challenge (RFC 9110 § 11.6.1). */
  readonly challenge?: string;
  /** Where it leads a browser: scheme, host and path. */
  readonly location?: string;
  /** The headers that its service tokens travel in, where it is known. */
  readonly wants: readonly string[];
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** As far as it was read. */
  readonly body: string;
  /** Whether it explains itself as gateways do: JSON with an `error.message`. */
  readonly isGateways: boolean;
}

/** The edge that gave this answer, or undefined where it may as well be the gateway's, or some other service's. */
export function recogniseEdge(answer: HttpAnswer): Edge | undefined {
  const { status, headers } = answer;
  const known = isCloudflare(answer)
    ? { name: "Cloudflare Access", wants: ["CF-Access-Client-Id", "CF-Access-Client-Secret"] }
    : { name: "an access proxy in front of the gateway", wants: [] };
  if (status >= 300 && status < 400) {
    const location = plainLocation(headers.location);
    return { ...known, answer: "redirect", ...(location !== undefined && { location }) };
  }
  const isRefusal = status === 401 || status === 403;
  if ((isRefusal || status < 300) && isLoginPage(answer)) return { ...known, answer: "login-page" };
  if (!isRefusal || answer.isGateways) return undefined;
  const challenge = readChallenge(headers["www-authenticate"]);
  if (challenge !== undefined) return { ...known, answer: "challenge", challenge };
  return isHtml(answer) || known.wants.length > 0 ? { ...known, answer: "refusal" } : undefined;
}

/** Cloudflare names itself on every answer; its Access sends browsers to a host or a path of its own. */
function isCloudflare({ headers, body }: HttpAnswer): boolean {
  const { location = "", server = "" } = headers;
  return (
    /^https:\/\/[^/]+\.cloudflareaccess\.com(?:\/|$)/u.test(location) ||
    /\/cdn-cgi\/access\//u.test(location + body) ||
    headers["cf-ray"] !== undefined ||
    String(server).toLowerCase() === "cloudflare"
  );
}

function isHtml({ headers, body }: HttpAnswer): boolean {
  return /^text\/html\b/iu.test(headers["content-type"] ?? "") || /^\s*<(?:!doctype|html|head|body|h1)\b/iu.test(body);
}

/** A page that asks who one is: a password's field, or a title or form that says so. Tags without an end are looked into so far only. */
function isLoginPage(answer: HttpAnswer): boolean {
  if (!isHtml(answer)) return false;
  const { body } = answer;
  const word = String.raw`(?:sign|log)[ -]?(?:in|on)\b|single sign|\bsso\b|\bauthenticat|/cdn-cgi/access/`;
  return (
    /<input\b[^>]{0,300}\btype\s*=\s*["']?password/iu.test(body) ||
    new RegExp(String.raw`<title[^>]{0,100}>[^<]{0,300}(?:${word})`, "iu").test(body) ||
    new RegExp(String.raw`<form\b[^>]{0,300}(?:${word})`, "iu").test(body)
  );
}

/** What stands behind the path is for the browser: tokens of that login, and copies of what was asked for. */
function plainLocation(location: string | undefined): string | undefined {
  if (location === undefined) return undefined;
  const bare = (location.split(/[?#]/u, 1)[0] ?? "").replace(/\p{Cc}/gu, "");
  return bare.replace(/^([a-z][a-z0-9+.-]*:)?\/\/[^/]*@/iu, "$1//").slice(0, 200);
}

/** The first scheme, with its realm. */
function readChallenge(header: string | undefined): string | undefined {
  const [, scheme, rest = ""] = /^\s*([\w!#$%&'*+.^`|~-]+)(.*)$/u.exec(header ?? "") ?? [];
  if (scheme === undefined) return undefined;
  const [, realm] = /\brealm\s*=\s*("[^"]{0,100}")/iu.exec(rest) ?? [];
  return realm === undefined ? scheme : `${scheme} ${realm}`;
}
