import { generateKeyPairSync, sign, verify } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createIdentity,
  deviceIdOf,
  formatIdentity,
  formatKeychainIdentity,
  parseIdentity,
  parseIdentityFile,
  privateKeyPem,
  rawPublicKey,
  withPrivateKey,
} from "../../src/identity/device-identity.ts";
import { fingerprint } from "../../src/identity/fingerprint.ts";
import { isFailure } from "../../src/errors.ts";
import { vectorKey } from "../fixtures/signed-vectors.ts";

const path = "/state/identity/device.json";
const identity = createIdentity(vectorKey.seed, 1760000000000);
const file = JSON.parse(formatIdentity(identity));

/** Everything that is said about an identity file with this content; empty when there is nothing to say. */
function complaint(content: unknown): string {
  try {
    parseIdentity(JSON.stringify(content), path);
    return "";
  } catch (error) {
    return isFailure(error) ? `${error.message} ${error.hint} ${JSON.stringify(error.details)}` : String(error);
  }
}

function pem(label: string, body: string): string {
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

/** RFC 8032 § 7.1, tests 1 to 3: seed, public key, message, signature. */
const rfc8032 = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
] as const;

test.each(rfc8032)("RFC 8032: seed %s", (seed, publicKey, message, signature) => {
  const { privateKey, publicKey: onWire } = createIdentity(Buffer.from(seed, "hex"), 0);
  expect(Buffer.from(onWire, "base64url").toString("hex")).toBe(publicKey);
  const signed = sign(null, Buffer.from(message, "hex"), privateKey);
  expect(signed.toString("hex")).toBe(signature);
  expect(verify(null, Buffer.from(message, "hex"), privateKey, Buffer.from(signature, "hex"))).toBe(true);
});

test("the published seed gives the published key, id and PEM bodies", () => {
  expect(identity).toMatchObject({ deviceId: vectorKey.deviceId, publicKey: vectorKey.publicKey });
  expect(file.publicKeyPem).toBe(pem("PUBLIC KEY", vectorKey.spkiBody));
  expect(file.privateKeyPem).toBe(pem("PRIVATE KEY", vectorKey.pkcs8Body));
});

test.each([0, 31, 33])("a seed of %i bytes is refused", (length) => {
  expect(() => createIdentity(new Uint8Array(length), 0)).toThrow(/an Ed25519 seed has 32 bytes/u);
});

test("the fingerprint is the first 80 bits, in groups to read aloud", () => {
  expect(fingerprint(vectorKey.deviceId)).toBe("5647:5aa7:5463:474c:0285");
});

describe("a public key", () => {
  const base64 = vectorKey.rawPublicKey.toString("base64");
  test.each<[form: string, key: string]>([
    ["base64url without padding", vectorKey.publicKey],
    ["base64url with padding", `${vectorKey.publicKey}=`],
    ["standard base64", base64],
    ["standard base64 without padding", base64.replace("=", "")],
    ["base64 with line breaks", `${base64.slice(0, 20)}\n${base64.slice(20)}\n`],
    ["SPKI PEM", pem("PUBLIC KEY", vectorKey.spkiBody)],
    ["SPKI PEM with Windows line ends", pem("PUBLIC KEY", vectorKey.spkiBody).replaceAll("\n", "\r\n")],
    ["the body of a PEM alone", vectorKey.spkiBody],
  ])("is read as %s", (_form, key) => {
    expect(rawPublicKey(key)).toEqual(vectorKey.rawPublicKey);
  });

  const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "pem", type: "spki" });
  const x25519 = generateKeyPairSync("x25519").publicKey.export({ format: "pem", type: "spki" });
  test.each<[form: string, key: string]>([
    ["nothing", ""],
    ["31 bytes", Buffer.alloc(31).toString("base64url")],
    ["33 bytes", Buffer.alloc(33).toString("base64url")],
    ["characters of no alphabet", "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMb!"],
    ["hex", vectorKey.rawPublicKey.toString("hex")],
    ["an RSA key", rsa.toString()],
    ["an X25519 key, which has the same length", x25519.toString()],
  ])("is not read from %s", (_form, key) => {
    expect(rawPublicKey(key)).toBeUndefined();
  });

  test("whatever the text, there are 32 bytes or none", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString("base64")),
    );
    fc.assert(
      fc.property(text, (key) => {
        expect(rawPublicKey(key)?.length).toBeOneOf([undefined, 32]);
      }),
    );
  });

  test("has one id, whatever the form it came in", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
        const { deviceId, publicKey } = createIdentity(seed, 0);
        const raw = rawPublicKey(Buffer.from(publicKey, "base64url").toString("base64"));
        expect(raw && deviceIdOf(raw)).toBe(deviceId);
        expect(deviceId).toMatch(/^[0-9a-f]{64}$/u);
      }),
      { numRuns: 20 },
    );
  });
});

describe("the identity file", () => {
  test("comes back as it was written, and ends in a line break", () => {
    const text = formatIdentity(identity);
    const read = parseIdentity(text, path);
    expect(read).toMatchObject({
      deviceId: identity.deviceId,
      publicKey: identity.publicKey,
      createdAtMs: identity.createdAtMs,
    });
    expect(formatIdentity(read)).toBe(text);
    expect(text.endsWith("}\n")).toBe(true);
  });

  const other = JSON.parse(formatIdentity(createIdentity(new Uint8Array(32), 0)));
  const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "pem", type: "pkcs8" });
  test.each<[what: string, text: string, says: RegExp]>([
    ["an empty file", "", /it is not JSON/u],
    ["half a file", formatIdentity(identity).slice(0, 100), /it is not JSON/u],
    ["another version", JSON.stringify({ ...file, version: 2 }), /version is missing or of the wrong type/u],
    ["a list", "[]", /is not a device identity/u],
    ["a missing key", JSON.stringify({ ...file, privateKeyPem: undefined }), /privateKeyPem is missing/u],
    [
      "a private key that is no PEM",
      JSON.stringify({ ...file, privateKeyPem: "x" }),
      /private key cannot be read as Ed25519/u,
    ],
    [
      "a private key of another kind",
      JSON.stringify({ ...file, privateKeyPem: p256 }),
      /private key cannot be read as Ed25519/u,
    ],
    [
      "a foreign public key",
      JSON.stringify({ ...file, publicKeyPem: other.publicKeyPem }),
      /public key does not belong/u,
    ],
    ["an unreadable public key", JSON.stringify({ ...file, publicKeyPem: "x" }), /public key does not belong/u],
    ["a foreign device id", JSON.stringify({ ...file, deviceId: other.deviceId }), /device id does not belong/u],
  ])("is refused by name when it is %s", (_what, text, says) => {
    const read = () => parseIdentity(text, path);
    expect(read).toThrow(says);
    expect(read).toThrow(expect.objectContaining({ code: "state-unreadable", message: expect.stringContaining(path) }));
  });

  test("never shows the private key in a complaint", () => {
    const body = vectorKey.pkcs8Body.slice(20, 40);
    const field = fc.constantFrom("version", "deviceId", "publicKeyPem", "createdAtMs");
    fc.assert(
      fc.property(field, fc.jsonValue(), (name, value) => {
        expect(complaint({ ...file, [name]: value })).not.toContain(body);
      }),
    );
  });
});

describe("a file whose key is in the keychain", () => {
  const text = formatKeychainIdentity(identity, "the entry");

  test("has the public parts and the entry's name, and reads back", () => {
    const { deviceId, publicKey, createdAtMs } = identity;
    expect(text).not.toContain("PRIVATE");
    expect(parseIdentityFile(text, path)).toEqual({
      store: "keychain",
      identity: { deviceId, publicKey, createdAtMs },
      entry: "the entry",
    });
  });

  test("is a clear error to who knows only files", () => {
    expect(() => parseIdentity(text, path)).toThrow(/privateKeyPem is missing/u);
  });

  test("is no identity when its id is another key's", () => {
    const forged = JSON.stringify({ ...JSON.parse(text), deviceId: "00".repeat(32) });
    expect(() => parseIdentityFile(forged, path)).toThrow(/device id does not belong/u);
  });

  test("takes its own private key back, and no other", () => {
    const stranger = createIdentity(new Uint8Array(32).fill(9), 0);
    expect(withPrivateKey(identity, privateKeyPem(identity))?.deviceId).toBe(identity.deviceId);
    for (const pem of [privateKeyPem(stranger), "", "not a key"]) expect(withPrivateKey(identity, pem)).toBeUndefined();
  });
});

test("a file may name an entry that holds a copy, and is a whole identity all the same", () => {
  const text = formatIdentity(identity, "the entry");
  expect(parseIdentityFile(text, path)).toMatchObject({ store: "file", copyIn: "the entry" });
  expect(parseIdentity(text, path).deviceId).toBe(identity.deviceId);
  expect(parseIdentityFile(formatIdentity(identity), path)).not.toHaveProperty("copyIn");
});
