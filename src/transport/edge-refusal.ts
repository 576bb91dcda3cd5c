/** What to say of a refusal that is no word of the gateway: what answered, and which headers would get past it. */
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { Edge } from "./edge.ts";

/** What went along with the request: its names may be told, its values never. */
export interface SentAlong {
  readonly bearer?: Secret | undefined;
  readonly headers?: readonly (readonly [name: string, value: Secret])[] | undefined;
}

/** The failure: `upgrade-refused`, with the names of what the edge wants and what it got, and no values. */
export function refusedByEdge(
  url: URL,
  edge: Edge,
  known: Readonly<Record<string, unknown>>,
  sent: SentAlong,
): OpenClawError {
  const names = (sent.headers ?? []).map(([name]) => name);
  const location = edge.location === undefined ? undefined : masked(edge.location, sent);
  const challenge = edge.challenge === undefined ? undefined : masked(edge.challenge, sent);
  const details = {
    ...known,
    edge: { name: edge.name, answer: edge.answer, wants: edge.wants, sent: names, ...(challenge && { challenge }) },
    ...(location === undefined ? {} : { location }),
  };
  const [what, hint] = inWords(url, { ...edge, location, challenge }, remedy(edge, names));
  return new OpenClawError("upgrade-refused", `${url.host} ${what} (HTTP ${String(known["status"])})`, {
    hint,
    details,
  });
}

interface ShownEdge extends Omit<Edge, "location" | "challenge"> {
  readonly location: string | undefined;
  readonly challenge: string | undefined;
}

/** What it did, and what to do about it. */
function inWords(
  url: URL,
  { name, answer, location, challenge }: ShownEdge,
  way: string,
): readonly [what: string, hint: string] {
  switch (answer) {
    case "redirect": {
      const what = `answered the upgrade with a redirect${location === undefined ? "" : ` to ${location}`}`;
      const hint = isSameWithTls(url, location)
        ? "write wss:// instead of ws://, or add --tls"
        : `that is the login of ${name}; ${way}`;
      return [what, `${hint}. Redirects are not followed: they could carry the token elsewhere`];
    }
    case "login-page":
      return ["answered with a login page instead of a WebSocket upgrade", `that is ${name}; ${way}`];
    case "challenge":
      return [
        `wants a login of its own before the gateway: ${challenge}`,
        `that is ${name}, not the gateway, whose token goes in Authorization; ${way}. If it uses Authorization itself, --no-auth-header leaves that to it`,
      ];
    case "refusal":
      return ["refused the upgrade before the gateway saw it", `that is ${name}; ${way}`];
  }
}

/** `wants` are names only. */
function remedy({ wants }: Edge, sent: readonly string[]): string {
  const lower = new Set(sent.map((name) => name.toLowerCase()));
  const missing = wants.filter((name) => !lower.has(name.toLowerCase()));
  if (missing.length > 0) {
    const flags = missing.map((name) => `--header '${name}: …'`).join(" ");
    return `give it its service token with ${flags}, or CF_ACCESS_CLIENT_ID and CF_ACCESS_CLIENT_SECRET in the environment`;
  }
  if (sent.length > 0) return `it got ${sent.join(", ")} and did not take them: check their values, and its policy`;
  return "give it the headers of its service token with --header 'Name: value', OPENCLAW_GATEWAY_HEADERS or the setting headers";
}

/** True where a plain port sends everybody to the same place with TLS. */
function isSameWithTls(url: URL, location: string | undefined): boolean {
  const to = location === undefined ? null : URL.parse(location);
  return url.protocol === "ws:" && to !== null && /^(?:https|wss):$/u.test(to.protocol) && to.hostname === url.hostname;
}

/** Text of a server without what it repeats of our secrets. */
export function masked(text: string, { bearer, headers = [] }: SentAlong): string {
  const values = [bearer, ...headers.map(([, value]) => value)].map((secret) => secret?.reveal() ?? "");
  return values.reduce((rest, value) => (value.length < 4 ? rest : rest.replaceAll(value, "[secret]")), text);
}
