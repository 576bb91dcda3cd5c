import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  encodeSetupCode,
  isExpired,
  maxSetupCodeLength,
  readSetupCode,
  type SetupCodeParts,
  setupLink,
} from "../../src/protocol/setup-code.ts";

const token = "k3cHEyaKZ0yyF4g8pN1J9wXoVbQm2sT7uRl6dAeIhCg";
const pin = "ab".repeat(32);

/** A code whose payload is what another program might have put there. */
function codeOf(payload: unknown): string {
  return Buffer.from(JSON.stringify(payload)).toString("base64url");
}
const plain = { url: "ws://127.0.0.1:23900", bootstrapToken: token, expiresAtMs: 1_795_230_712_164 };
const pinned = { ...plain, url: "wss://gateway.example:18789", tlsFingerprint: pin };

test("a code of 2026.9.6 is read (protocol.md § 4.7)", () => {
  expect(readSetupCode(codeOf(plain))).toEqual({ code: { ...plain, urls: [plain.url] } });
});

test("a code of 2026.5.27, which does not say when it expires, is read", () => {
  const { expiresAtMs: _expires, ...old } = plain;
  expect(readSetupCode(codeOf(old))).toEqual({ code: { ...old, urls: [old.url] } });
});

describe("what it is wrapped in does not matter:", () => {
  test.each<[name: string, wrap: (code: string) => string]>([
    ["a link", setupLink],
    ["a link in capitals, as some QR readers give it", (code) => `OC-PAIR://${code}`],
    ["a link with a slash at its end", (code) => `${setupLink(code)}/`],
    ["padding", (code) => `${code}=`],
    ["blanks around it", (code) => `  ${code}\n`],
    ["line breaks of a narrow terminal", (code) => code.replaceAll(/.{40}/gu, "$&\r\n  ")],
  ])("%s", (_name, wrap) => {
    expect(readSetupCode(wrap(codeOf(pinned)))).toMatchObject({ code: { url: pinned.url, bootstrapToken: token } });
  });
});

describe("what later versions may add is left alone:", () => {
  test.each<[name: string, more: object]>([
    ["fields that nobody knows", { relay: { url: "https://x" }, version: 7, profile: "node" }],
    ["further addresses", { urls: ["ws://127.0.0.1:23900", "wss://gateway.example/claw"] }],
    ["a fingerprint with colons, in capitals", { url: "wss://g.example", tlsFingerprint: "AB:".repeat(31) + "AB" }],
  ])("%s", (_name, more) => {
    expect(readSetupCode(codeOf({ ...plain, ...more }))).toHaveProperty("code");
  });

  test("a pinned code keeps no address at which the pin cannot be checked", () => {
    const read = readSetupCode(codeOf({ ...pinned, urls: [pinned.url, "ws://192.0.2.1:1", "wss://b.example"] }));
    expect(read).toMatchObject({ code: { urls: [pinned.url, "wss://b.example"], tlsFingerprint: pin } });
  });
});

describe("refused, each with a sentence of its own:", () => {
  const refusals: [name: string, text: string, says: RegExp][] = [
    ["nothing", " \n", /is empty/u],
    ["a book", "a".repeat(maxSetupCodeLength + 1), /too long/u],
    ["a join URL of the product", "https://gateway.example/join/abc", /web address/u],
    ["a link of another kind", "oc-share://abc", /begins with oc-pair:\/\//u],
    ["characters of no code", "eyJ1cmwi*", /characters/u],
    ["half a code", codeOf(plain).slice(0, 40), /damaged/u],
    ["bytes that are no text", Buffer.from([0xff, 0xfe, 0x7b]).toString("base64url"), /damaged/u],
    ["JSON that is no object", codeOf([plain]), /damaged/u],
    ["no address", codeOf({ bootstrapToken: token }), /./u],
    ["a web server's address", codeOf({ ...plain, url: "https://g.example" }), /no ws:\/\/ or wss:\/\//u],
    ["a file", codeOf({ ...plain, url: "unix:///run/x" }), /no ws:\/\/ or wss:\/\//u],
    ["an address with a password", codeOf({ ...plain, url: "ws://u:p@g.example" }), /user name or password/u],
    ["an address with a query", codeOf({ ...plain, url: "ws://g.example/?token=x" }), /query or fragment/u],
    ["port 0", codeOf({ ...plain, url: "ws://g.example:0" }), /port 0/u],
    ["an address that steers a terminal", codeOf({ ...plain, url: "ws://g.example/\u001b[2J" }), /no ws:\/\//u],
    ["one bad address among good ones", codeOf({ ...plain, urls: ["ws://a.example", "javascript:1"] }), /no ws:\/\//u],
    ["more addresses than any gateway has", codeOf({ ...plain, urls: urls(9) }), /more than 8/u],
    ["no token", codeOf({ url: plain.url }), /./u],
    ["a token of three letters", codeOf({ ...plain, bootstrapToken: "abc" }), /token/u],
    ["a token with a line break in it", codeOf({ ...plain, bootstrapToken: `${token}\r\nX: y` }), /token/u],
    ["an end that is no time", codeOf({ ...plain, expiresAtMs: "soon" }), /not a time/u],
    ["an end before all time", codeOf({ ...plain, expiresAtMs: -1 }), /not a time/u],
    ["an end that no clock can show", codeOf({ ...plain, expiresAtMs: 9e15 }), /not a time/u],
    ["a pin that is none", codeOf({ ...pinned, tlsFingerprint: "abcd" }), /fingerprint/u],
    ["a pin that nobody can check", codeOf({ ...plain, tlsFingerprint: pin }), /cannot be checked/u],
    [
      "a code of 2026.3.8 with the token",
      codeOf({ url: plain.url, token: "shared" }),
      /gateway's own token.*2026\.3\.8/u,
    ],
    ["a code of 2026.3.8 with the password", codeOf({ url: plain.url, password: "shared" }), /gateway's own password/u],
    ["a good code with a shared token beside", codeOf({ ...plain, token: "shared" }), /gateway's own token/u],
  ];

  test.each(refusals)("%s", (_name, text, says) => {
    expect(readSetupCode(text)).toEqual({ problem: expect.stringMatching(says) });
  });

  test("none of the sentences repeats what was in the code", () => {
    for (const [, text] of refusals)
      expect(JSON.stringify(readSetupCode(text))).not.toMatch(/shared"|u:p|token=x|\u001b/u);
  });
});

test("a code is over at the millisecond that it names, and one without it never by our clock", () => {
  expect([999, 1000, 1001].map((nowMs) => isExpired({ expiresAtMs: 1000 }, nowMs))).toEqual([false, true, true]);
  expect(isExpired({}, Number.MAX_SAFE_INTEGER)).toBe(false);
});

const anyParts: fc.Arbitrary<SetupCodeParts> = fc
  .record({
    host: fc.constantFrom("127.0.0.1", "[::1]", "gateway.example"),
    port: fc.integer({ min: 1, max: 65_535 }),
    path: fc.constantFrom("", "/claw", "/a/b"),
    bootstrapToken: fc.stringMatching(/^[\w-]{43}$/u),
    expiresAtMs: fc.nat({ max: 8.64e15 }),
    isPinned: fc.boolean(),
    more: fc.nat({ max: 3 }),
  })
  .map(({ host, port, path, isPinned, more, ...rest }) => ({
    ...rest,
    url: `wss://${host}:${port}${path}`,
    urls: urls(more),
    ...(isPinned ? { tlsFingerprint: pin } : {}),
  }));

test("what is encoded is read again, whole", () => {
  fc.assert(
    fc.property(anyParts, (parts) => {
      const urlsOf = [...new Set([parts.url, ...(parts.urls ?? [])])];
      expect(readSetupCode(setupLink(encodeSetupCode(parts)))).toEqual({ code: { ...parts, urls: urlsOf } });
    }),
  );
});

test("any text and any payload is read or refused, and never throws", () => {
  const anything = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.anything().map(safeCodeOf),
    fc.record({}).map(safeCodeOf),
  );
  const fields = Object.entries(pinned).map(([name, value]) => [name, fc.oneof(fc.constant(value), fc.jsonValue())]);
  const nearly = fc.record(Object.fromEntries(fields)).map(safeCodeOf);
  fc.assert(
    fc.property(fc.oneof(anything, nearly), (text) => {
      const read = readSetupCode(text);
      const said = "problem" in read ? `refused: ${read.problem}` : read.code.url;
      expect(said).toMatch(/^(?:refused: .|wss?:)/iu);
    }),
  );
});

function urls(count: number): string[] {
  return Array.from({ length: count }, (_, number) => `wss://gateway-${number}.example`);
}

function safeCodeOf(value: unknown): string {
  try {
    return codeOf(value ?? null);
  } catch {
    return "";
  }
}
