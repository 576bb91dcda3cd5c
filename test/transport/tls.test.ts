/** Which certificates are believed, and that a server hears nothing of ours before its own is. */
import { createHash, X509Certificate } from "node:crypto";
import { getCACertificates, setDefaultCACertificates, TLSSocket } from "node:tls";
import { describe, expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { dial, type DialOptions } from "../../src/transport/dial.ts";
import { createCertificate, renewCertificate } from "../fixtures/certificate.ts";
import { answering, type RawServer, startRawServer, whenAsked } from "../fixtures/raw-server.ts";

const certificate = createCertificate("IP:127.0.0.1");
const other = createCertificate("IP:127.0.0.1");
const hexOf = ({ fingerprint }: { readonly fingerprint: string }) => fingerprint.replaceAll(":", "").toLowerCase();

/** As openssl and RFC 7469 have it. */
function keyPin(pem: string): string {
  const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  return `sha256/${createHash("sha256").update(key).digest("base64")}`;
}

const headers = [["CF-Access-Client-Secret", new Secret("edge-secret")]] as const;

/** Dials with a token and an edge's secret, at a server that answers 404 to whatever it hears. */
async function tryDial({ port }: RawServer, options: Partial<DialOptions> = {}): Promise<OpenClawError> {
  const parts = { url: `wss://127.0.0.1:${port}`, bearer: new Secret("bearer-secret"), headers, timeoutMs: 30_000 };
  const outcome = await dial({ ...parts, ...options }, { text: () => {}, closed: () => {} }).catch(
    (error: unknown) => error,
  );
  if (outcome instanceof OpenClawError) return outcome;
  throw new Error(`not one of our failures: ${String(outcome)}`);
}

const notFound = answering("HTTP/1.1 404 Not Found\r\n\r\n");
/** What the dial ends with when everything in front of the HTTP answer went well. */
const wasHeard = { code: "not-a-gateway", details: { status: 404 } };

/** Whether the server got the edge's secret and the token; anything but all or nothing is neither. */
function hasHeard({ heard }: RawServer): boolean | string {
  if (heard === "") return false;
  return /edge-secret[\s\S]*Bearer bearer-secret/u.test(heard) || heard;
}

describe("a pin", () => {
  test("of the public key lets the secrets out, also after the certificate was renewed", async () => {
    const renewed = renewCertificate(certificate, "IP:127.0.0.1");
    expect(hexOf(renewed)).not.toBe(hexOf(certificate));
    for (const shown of [certificate, renewed]) {
      await using server = await startRawServer(notFound, shown);
      expect(await tryDial(server, { tlsFingerprint: keyPin(certificate.cert) })).toMatchObject(wasHeard);
      expect(hasHeard(server)).toBe(true);
    }
  });

  test.each<[what: string, pin: string, seen: string]>([
    ["a certificate", hexOf(other), hexOf(certificate)],
    ["a public key", keyPin(other.cert), keyPin(certificate.cert)],
    [
      "a public key where a certificate's hex stands",
      `sha256/${Buffer.from(hexOf(certificate), "hex").toString("base64")}`,
      keyPin(certificate.cert),
    ],
  ])("of %s that is another one names both, and nothing is heard", async (_what, tlsFingerprint, seen) => {
    await using server = await startRawServer(notFound, certificate);
    const failure = await tryDial(server, { tlsFingerprint });
    expect(failure).toMatchObject({ code: "tls-pin-mismatch", details: { expected: tlsFingerprint, seen } });
    expect(failure.message).toContain(tlsFingerprint);
    expect(failure.message).toContain(seen);
    await server.gone(1);
    expect(hasHeard(server)).toBe(false);
  });

  test("does not fit a certificate that an authority vouches for instead", async () => {
    await trusting([certificate.cert], async () => {
      await using server = await startRawServer(notFound, certificate);
      expect(await tryDial(server, { tlsFingerprint: hexOf(other) })).toMatchObject({ code: "tls-pin-mismatch" });
      expect(hasHeard(server)).toBe(false);
    });
  });
});

test("a server may not show another certificate in the middle of the connection", async () => {
  const older = { ...certificate, maxVersion: "TLSv1.2" }; // TLS 1.3 has no renegotiation
  await using server = await startRawServer((socket) => {
    whenAsked(socket, () => socket instanceof TLSSocket && socket.renegotiate({}, () => {}));
  }, older);
  const failure = await tryDial(server, { tlsFingerprint: hexOf(certificate) });
  expect(failure.code).toBeOneOf(["not-a-gateway", "unreachable"]);
  await server.gone(1);
});

describe("without a pin", () => {
  test("a self-signed certificate is refused, with its fingerprint and what to do with it", async () => {
    await using server = await startRawServer(notFound, certificate);
    const failure = await tryDial(server);
    expect(failure).toMatchObject({
      code: "tls-failed",
      message: `the certificate of 127.0.0.1:${server.port} is self-signed (DEPTH_ZERO_SELF_SIGNED_CERT)`,
      details: { certificate: hexOf(certificate), publicKey: keyPin(certificate.cert) },
    });
    for (const words of [hexOf(certificate), "--tls-fingerprint", "--tls-accept-new", "NODE_EXTRA_CA_CERTS"]) {
      expect(failure.hint).toContain(words);
    }
    await server.gone(1);
    expect(hasHeard(server)).toBe(false);
  });

  test("a trusted certificate for another name is refused, and the names that it is for are told", async () => {
    const elsewhere = createCertificate("DNS:elsewhere.example.test");
    await trusting([elsewhere.cert], async () => {
      await using server = await startRawServer(notFound, elsewhere);
      const failure = await tryDial(server);
      expect(failure).toMatchObject({ code: "tls-failed" });
      expect(failure.message).toContain("is for other names: DNS:elsewhere.example.test");
      expect(hasHeard(server)).toBe(false);
    });
  });
});

describe("who accepts certificates", () => {
  test("is asked before anything is heard, and its yes lets the secrets out", async () => {
    await using server = await startRawServer(notFound, certificate);
    const asked = Promise.withResolvers<unknown>();
    const answer = Promise.withResolvers<string>();
    const acceptCertificate = (seen: object) => {
      asked.resolve(seen);
      return answer.promise;
    };
    const dialling = tryDial(server, { acceptCertificate });
    expect(await asked.promise).toEqual({ fingerprint: hexOf(certificate), isTrusted: false });
    expect(hasHeard(server)).toBe(false);
    answer.resolve(hexOf(certificate));
    expect(await dialling).toMatchObject(wasHeard);
    expect(hasHeard(server)).toBe(true);
  });

  test("may say that another one holds", async () => {
    await using server = await startRawServer(notFound, certificate);
    const failure = await tryDial(server, { acceptCertificate: async () => hexOf(other) });
    expect(failure).toMatchObject({ code: "tls-pin-mismatch", details: { expected: hexOf(other) } });
    expect(hasHeard(server)).toBe(false);
  });

  test("may leave it to the authorities", async () => {
    await using server = await startRawServer(notFound, certificate);
    expect(await tryDial(server, { acceptCertificate: async () => undefined })).toMatchObject({ code: "tls-failed" });
    expect(hasHeard(server)).toBe(false);
    await trusting([certificate.cert], async () => {
      const acceptCertificate = async ({ isTrusted }: { readonly isTrusted: boolean }) => {
        expect(isTrusted).toBe(true);
        return undefined;
      };
      expect(await tryDial(server, { acceptCertificate })).toMatchObject(wasHeard);
    });
  });

  test("is not asked about a certificate that is not the pinned one", async () => {
    await using server = await startRawServer(notFound, certificate);
    let asked = 0;
    const acceptCertificate = async () => {
      asked++;
      return undefined;
    };
    const failure = await tryDial(server, { acceptCertificate, tlsFingerprint: hexOf(other) });
    expect(failure).toMatchObject({ code: "tls-pin-mismatch" });
    expect(asked).toBe(0);
  });

  test("that fails ends the attempt with its failure", async () => {
    await using server = await startRawServer(notFound, certificate);
    const failure = new OpenClawError("state-unreadable", "the file of accepted certificates cannot be read");
    expect(await tryDial(server, { acceptCertificate: () => Promise.reject(failure) })).toBe(failure);
    await server.gone(1);
    expect(hasHeard(server)).toBe(false);
  });
});

/** Runs `action` while the system trusts these certificates too. */
async function trusting(certificates: readonly string[], action: () => Promise<void>): Promise<void> {
  const before = getCACertificates("default");
  setDefaultCACertificates([...before, ...certificates]);
  try {
    await action();
  } finally {
    setDefaultCACertificates(before);
  }
}
