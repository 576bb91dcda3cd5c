import { sign } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createIdentity, deviceIdOf } from "../../src/identity/device-identity.ts";
import {
  type DeviceProof,
  type ProofExpectation,
  proofFailures,
  type ProofResult,
  signPayload,
  verifyProof,
} from "../../src/identity/signature.ts";
import { decodeFrame } from "../../src/protocol/frame.ts";
import { readChallenge, readConnectParams } from "../../src/protocol/handshake.ts";
import { maxClockSkewMs } from "../../src/protocol/limits.ts";
import { type SignedFields, signedPayload, signedToken } from "../../src/protocol/signed-payload.ts";
import { recordedFrames } from "../fixtures/transcripts.ts";
import { signedVectors, vectorKey } from "../fixtures/signed-vectors.ts";

const identity = createIdentity(vectorKey.seed, 0);
const nowMs = 1_760_000_000_000;

const fields = {
  clientId: "node-host",
  clientMode: "node",
  role: "node",
  scopes: [] as readonly string[],
  token: "test-shared-token",
  platform: "linux",
  deviceFamily: "Linux",
} satisfies Omit<SignedFields, "deviceId" | "signedAt" | "nonce">;

function proofOf(signedAt = nowMs, nonce = "nonce"): DeviceProof {
  const signature = signPayload(identity, { ...fields, signedAt, nonce });
  return { id: identity.deviceId, publicKey: identity.publicKey, signature, signedAt, nonce };
}

const expected: ProofExpectation = { nonce: "nonce", nowMs, maxSkewMs: maxClockSkewMs, fields };
const valid: ProofResult = { ok: true, publicKey: identity.publicKey };

describe("the published vectors", () => {
  test.each(signedVectors)(
    "$name: ours is the published signature, and it verifies",
    ({ fields: all, payload, signature }) => {
      expect(sign(null, Buffer.from(payload), identity.privateKey).toString("base64url")).toBe(signature);
      const { deviceId: id, signedAt, nonce, ...rest } = all;
      const proof = { id, publicKey: identity.publicKey, signature, signedAt, nonce };
      expect(verifyProof(proof, { nonce, nowMs: signedAt, maxSkewMs: 0, fields: rest })).toEqual(valid);
    },
  );
});

test.each(signedVectors.filter(({ version }) => version === "v3"))("$name: our client signs it so", (vector) => {
  expect(signPayload(identity, vector.fields)).toBe(vector.signature);
});

test("every recorded device proof verifies against the challenge of its connection", () => {
  const nonces = new Map<string, string>();
  let proofs = 0;
  for (const { at, connection, value } of recordedFrames) {
    const frame = decodeFrame(JSON.stringify(value));
    if (frame.type === "event" && frame.event === "connect.challenge") {
      nonces.set(connection, readChallenge(frame.payload)?.nonce ?? "");
    }
    const read = frame.type === "req" && frame.method === "connect" ? readConnectParams(frame.params) : undefined;
    if (read === undefined || !("params" in read) || read.params.device === undefined) continue;
    const { device, client, role = "operator", scopes = [], auth = {} } = read.params;
    const signed = { clientId: client.id, clientMode: client.mode, role, scopes, token: signedToken(auth) };
    const result = verifyProof(device, {
      nonce: nonces.get(connection) ?? "",
      nowMs: device.signedAt,
      maxSkewMs: 0,
      fields: { ...signed, platform: client.platform, deviceFamily: client.deviceFamily },
    });
    expect({ at, result }).toEqual({ at, result: { ok: true, publicKey: device.publicKey } });
    proofs++;
  }
  expect(proofs).toBeGreaterThan(100);
});

describe("a proof", () => {
  const good = proofOf();
  const padded = vectorKey.rawPublicKey.toString("base64");
  const pem = `-----BEGIN PUBLIC KEY-----\n${vectorKey.spkiBody}\n-----END PUBLIC KEY-----\n`;
  const v2 = sign(
    null,
    Buffer.from(signedPayload("v2", { ...fields, deviceId: identity.deviceId, signedAt: nowMs, nonce: "nonce" })),
    identity.privateKey,
  );

  test.each<[what: string, proof: DeviceProof]>([
    ["as our client makes it", good],
    ["with the key in standard base64", { ...good, publicKey: padded }],
    ["with the key as PEM", { ...good, publicKey: pem }],
    [
      "with the signature in standard base64",
      { ...good, signature: Buffer.from(good.signature, "base64url").toString("base64") },
    ],
    ["over the older payload", { ...good, signature: v2.toString("base64url") }],
    ["with space around the nonce", { ...good, nonce: " nonce\n" }],
    ["119 s ago", proofOf(nowMs - 119_000)],
    ["119 s from now", proofOf(nowMs + 119_000)],
    ["exactly at the limit", proofOf(nowMs - maxClockSkewMs)],
  ])("%s holds, and its key comes back in one form", (_what, proof) => {
    expect(verifyProof(proof, expected)).toEqual(valid);
  });

  test.each<[what: string, proof: DeviceProof, result: Partial<ProofResult>]>([
    ["another device's id", { ...good, id: "0".repeat(64) }, { code: "DEVICE_AUTH_DEVICE_ID_MISMATCH" }],
    ["an id in capitals", { ...good, id: good.id.toUpperCase() }, { code: "DEVICE_AUTH_DEVICE_ID_MISMATCH" }],
    ["a key that is none", { ...good, publicKey: "garbage" }, { code: "DEVICE_AUTH_DEVICE_ID_MISMATCH" }],
    ["a clock 121 s behind", proofOf(nowMs - 121_000), { code: "DEVICE_AUTH_SIGNATURE_EXPIRED", skewMs: -121_000 }],
    ["a clock 121 s ahead", proofOf(nowMs + 121_000), { code: "DEVICE_AUTH_SIGNATURE_EXPIRED", skewMs: 121_000 }],
    ["no nonce", { ...good, nonce: undefined }, { code: "DEVICE_AUTH_NONCE_REQUIRED" }],
    ["an empty nonce", { ...good, nonce: " " }, { code: "DEVICE_AUTH_NONCE_REQUIRED" }],
    ["another connection's nonce", proofOf(nowMs, "other"), { code: "DEVICE_AUTH_NONCE_MISMATCH" }],
    ["another time than it signed", { ...good, signedAt: nowMs + 1 }, { code: "DEVICE_AUTH_SIGNATURE_INVALID" }],
    ["an empty signature", { ...good, signature: "" }, { code: "DEVICE_AUTH_SIGNATURE_INVALID" }],
    [
      "a signature of 63 bytes",
      { ...good, signature: Buffer.alloc(63).toString("base64url") },
      { code: "DEVICE_AUTH_SIGNATURE_INVALID" },
    ],
  ])("with %s is refused for that", (_what, proof, result) => {
    expect(verifyProof(proof, expected)).toEqual({ ok: false, ...result });
  });

  test.each<[what: string, change: Partial<ProofExpectation["fields"]>]>([
    ["another client id", { clientId: "cli" }],
    ["another mode", { clientMode: "cli" }],
    ["another role", { role: "operator" }],
    ["more scopes", { scopes: ["operator.admin"] }],
    ["another token", { token: "test-shared-token2" }],
    ["another platform", { platform: "macos" }],
    ["another device family", { deviceFamily: "Mac" }],
  ])("made for a connect with %s is refused", (_what, change) => {
    const result = verifyProof(good, { ...expected, fields: { ...fields, ...change } });
    expect(result).toEqual({ ok: false, code: "DEVICE_AUTH_SIGNATURE_INVALID" });
  });

  test("with several faults is refused for the first of them: id, clock, nonce, signature", () => {
    const all = { id: "x", publicKey: identity.publicKey, signature: "", signedAt: 0, nonce: "" };
    const steps = [
      all,
      { ...all, id: good.id },
      { ...all, id: good.id, signedAt: nowMs },
      { ...all, id: good.id, signedAt: nowMs, nonce: "z" },
    ];
    const codes = steps.map((proof) => verifyProof(proof, expected)).map((result) => (result.ok ? "ok" : result.code));
    expect(codes).toEqual([
      "DEVICE_AUTH_DEVICE_ID_MISMATCH",
      "DEVICE_AUTH_SIGNATURE_EXPIRED",
      "DEVICE_AUTH_NONCE_REQUIRED",
      "DEVICE_AUTH_NONCE_MISMATCH",
    ]);
  });

  test("of any content gets an answer, and only the device's own is yes", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom(good.id, good.publicKey, good.signature, "nonce"),
    );
    const anyProof = fc.record({
      id: text,
      publicKey: text,
      signature: text,
      signedAt: fc.oneof(fc.integer(), fc.constant(nowMs)),
      nonce: text,
    });
    fc.assert(
      fc.property(anyProof, (proof) => {
        const result = verifyProof(proof, expected);
        const isOwn = isDeepStrictEqual({ ...proof, nonce: proof.nonce.trim() }, good);
        expect(result.ok ? "ok" : result.code).toBeOneOf(isOwn ? ["ok"] : Object.keys(proofFailures));
      }),
    );
  });

  test("by a key that is no point of the curve is refused, not thrown", () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(bytes, (raw) => {
        const publicKey = Buffer.from(raw).toString("base64url");
        const result = verifyProof({ ...good, id: deviceIdOf(raw), publicKey }, expected);
        expect(result.ok).toBe(false);
      }),
    );
  });
});
