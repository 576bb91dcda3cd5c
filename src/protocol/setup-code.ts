/**
 * Setup codes: what one machine shows and another reads to join a gateway, in the product's own format (protocol.md § 4.7).
 *
 * code = base64url of JSON `{url, urls?, bootstrapToken, expiresAtMs?, tlsFingerprint?}`, without padding; link = `oc-pair://<code>`
 *
 * A later version may add fields: they are left alone. What would be dangerous to guess is refused: an address that is not a plain
 * ws or wss URL, a pin that cannot be checked, a code that carries a gateway's shared secret.
 */
import * as v from "valibot";

export interface SetupCode {
  /** `ws(s)://host:port/path`. */
  readonly url: string;
  /** Every address under which the gateway can be reached, `url` among them; more than one where the code has more. */
  readonly urls: readonly string[];
  /** Good for one device. */
  readonly bootstrapToken: string;
  /** Milliseconds since the epoch; 2026.5.27 does not say. */
  readonly expiresAtMs?: number;
  /** Lower-case hex SHA-256 of the only certificate to accept. */
  readonly tlsFingerprint?: string;
}

/** What goes into a code. `urls` are the further addresses. */
export interface SetupCodeParts extends Omit<SetupCode, "urls" | "expiresAtMs"> {
  readonly urls?: readonly string[] | undefined;
  readonly expiresAtMs: number;
}

const scheme = "oc-pair://";

/** Characters of a code. The product's have about 300; with every field filled to its limit ours stay under this. */
export const maxSetupCodeLength = 8192;

/** Addresses in one code, as the product has it. */
const maxUrls = 8;

/** The code of an invite. */
export function encodeSetupCode({
  url,
  urls = [],
  bootstrapToken,
  expiresAtMs,
  tlsFingerprint,
}: SetupCodeParts): string {
  const all = [...new Set([url, ...urls])];
  const payload = {
    url,
    ...(all.length > 1 ? { urls: all } : {}),
    bootstrapToken,
    expiresAtMs,
    ...(tlsFingerprint === undefined ? {} : { tlsFingerprint }),
  };
  return Buffer.from(JSON.stringify(payload)).toString("base64url");
}

/** The code as a link, for QR codes and for programs that open links. */
export function setupLink(code: string): string {
  return `${scheme}${code}`;
}

const payload = v.looseObject({
  url: v.string("the code names no gateway"),
  urls: v.optional(v.array(v.string("the code has an address in it that is none"))),
  bootstrapToken: v.pipe(
    v.string("the code has no token in it"),
    v.regex(/^[\x21-\x7e]{16,512}$/u, "the token in the code is not one that a gateway makes"),
  ),
  expiresAtMs: v.optional(
    v.pipe(
      v.number("the code's end is not a time"),
      v.integer("the code's end is not a time"),
      v.minValue(0, "the code's end is not a time"),
      v.maxValue(8.64e15, "the code's end is not a time"), // ECMA-262 § 21.4.1.1: no date lies behind it
    ),
  ),
  tlsFingerprint: v.optional(v.string("the certificate's fingerprint in the code is not one")),
});

/** Text, with or without the link's scheme -> the code's content, or a sentence that says why not. Never throws, never repeats the text. */
export function readSetupCode(text: string): { readonly code: SetupCode } | { readonly problem: string } {
  const bare = bareCode(text);
  if ("problem" in bare) return bare;
  const value = parsed(bare.encoded);
  if (value === undefined)
    return { problem: "the code is damaged: copy it whole, from its first to its last character" };
  const secret = sharedSecretIn(value);
  if (secret !== undefined) return { problem: secret };
  const read = v.safeParse(payload, value);
  if (!read.success) return { problem: read.issues[0].message };
  const { url, urls = [], bootstrapToken, expiresAtMs, tlsFingerprint } = read.output;
  const all = [...new Set([url, ...urls])];
  const problem =
    all.length > maxUrls ? `the code has more than ${maxUrls} addresses in it` : all.map(urlProblem).find(Boolean);
  if (problem !== undefined) return { problem };
  const pin = pinOf(tlsFingerprint, url);
  if ("problem" in pin) return pin;
  // Where a pin stands, an address at which nobody can check it is none.
  const reachable = "tlsFingerprint" in pin ? all.filter(hasTls) : all;
  return {
    code: { url, urls: reachable, bootstrapToken, ...(expiresAtMs === undefined ? {} : { expiresAtMs }), ...pin },
  };
}

/** True when the code's time is over by the clock of who reads it. One that does not say is left to the gateway. */
export function isExpired({ expiresAtMs }: Pick<SetupCode, "expiresAtMs">, nowMs: number): boolean {
  return expiresAtMs !== undefined && nowMs >= expiresAtMs;
}

function bareCode(text: string): { readonly encoded: string } | { readonly problem: string } {
  // A code that was copied off a terminal has line breaks where the lines ended.
  const joined = text.slice(0, 2 * maxSetupCodeLength).replace(/\s+/gu, "");
  if (joined === "") return { problem: "the code is empty" };
  if (text.length > 2 * maxSetupCodeLength || joined.length > maxSetupCodeLength) {
    return { problem: "this is too long to be a setup code" };
  }
  if (/^https?:/iu.test(joined)) return { problem: "this is a web address, not a setup code: ask for the code itself" };
  const isLink = joined.slice(0, scheme.length).toLowerCase() === scheme;
  const other = /^[a-z][a-z0-9+.-]*:/iu.test(joined) && !isLink;
  if (other) return { problem: `this is a link of another kind: a setup code's begins with ${scheme}` };
  const encoded = (isLink ? joined.slice(scheme.length) : joined).replace(/\/$/u, "").replace(/={1,2}$/u, "");
  if (/^[A-Za-z0-9_-]+$/u.test(encoded)) return { encoded };
  return { problem: "the code has characters in it that no setup code has" };
}

/** The JSON object behind the code, or undefined. Bytes that are no UTF-8 are damage. */
function parsed(encoded: string): object | undefined {
  try {
    const value: unknown = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(encoded, "base64url")),
    );
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** 2026.3.8 puts the gateway's own token or password into its codes: whoever sees such a code has the gateway. */
function sharedSecretIn(value: object): string | undefined {
  const kind = (["token", "password"] as const).find((name) => Object.hasOwn(value, name));
  if (kind === undefined) return undefined;
  return (
    `the code carries the gateway's own ${kind}, as those of 2026.3.8 do: it is no invite. ` +
    `Put the ${kind} into a file, give it with --${kind}-file and the address with --url, and take the code as seen by others`
  );
}

function urlProblem(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !/^wss?:$/u.test(url.protocol) || url.hostname === "" || /[\s\p{Cc}]/u.test(text)) {
    return "the code names a gateway by something that is no ws:// or wss:// address";
  }
  if (url.username !== "" || url.password !== "")
    return "the gateway's address in the code has a user name or password in it";
  if (url.search !== "" || url.hash !== "") return "the gateway's address in the code has a query or fragment in it";
  return url.port === "0" ? "the gateway's address in the code has port 0, where nothing can listen" : undefined;
}

/** A pin that is there has to be one, and has to be checkable: a code that looks pinned and is not would be worse than none. */
function pinOf(
  text: string | undefined,
  url: string,
): { readonly tlsFingerprint?: string } | { readonly problem: string } {
  if (text === undefined) return {};
  const hex = text
    .replace(/^sha-?256[:=]?/iu, "")
    .replaceAll(":", "")
    .toLowerCase();
  if (!/^[0-9a-f]{64}$/u.test(hex)) return { problem: "the certificate's fingerprint in the code is not one" };
  if (!hasTls(url)) {
    return { problem: "the code pins a certificate and names an address without TLS, where it cannot be checked" };
  }
  return { tlsFingerprint: hex };
}

function hasTls(url: string): boolean {
  return /^wss:/iu.test(url);
}
