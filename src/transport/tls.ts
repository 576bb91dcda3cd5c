/** TLS up to the point where the server is known to be the right one. Nothing of ours is said before that. */
import { constants, createHash, type X509Certificate } from "node:crypto";
import { isIP, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { OpenClawError, systemCode } from "../errors.ts";
import { isPlainAnswer, plainNotTls } from "./tls-mismatch.ts";
import { hostOf } from "./unreachable.ts";

/** What a server showed. */
export interface SeenCertificate {
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string;
  /** Whether an authority that this system trusts vouches for it, under the name that was dialled. */
  readonly isTrusted: boolean;
}

export interface TlsChoices {
  /** SHA-256 of the certificate, hex, or of its public key, `sha256/<base64>`. With a pin no certificate authority is asked. */
  readonly tlsFingerprint?: string | undefined;
  /**
   * Asked about every certificate, after the pin and before anything is sent. Resolves with the pin that holds from now on, or with
   * undefined where the authorities decide.
   */
  readonly acceptCertificate?: ((seen: SeenCertificate) => Promise<string | undefined>) | undefined;
}

/** Speaks TLS on an open connection. Fails with `tls-failed`, `tls-pin-mismatch`, or what `acceptCertificate` fails with. */
export async function openTls(tcp: Socket, url: URL, choices: TlsChoices, signal: AbortSignal): Promise<TLSSocket> {
  const host = hostOf(url);
  const socket = connect({
    socket: tcp,
    host, // what the certificate has to be for; the connection itself is there already
    ...(isIP(host) === 0 ? { servername: host } : {}),
    // We decide, and say why: a socket that is refused by itself takes the certificate away with it.
    rejectUnauthorized: false,
    // TLS 1.2 lets a server ask for another handshake later (RFC 5246 § 7.4.1.1), whose certificate nobody would look at.
    // `disableRenegotiation` is for servers: it does nothing here.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  });
  await handshake(socket, url, signal);
  await assertRight(socket, url, choices);
  return socket;
}

function handshake(socket: TLSSocket, url: URL, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => socket.destroy(new Error("aborted"));
    signal.addEventListener("abort", stop, { once: true });
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    socket.on("error", (error) => {
      signal.removeEventListener("abort", stop);
      reject(tlsFailed(url, error));
    });
  });
}

async function assertRight(socket: TLSSocket, url: URL, { tlsFingerprint, acceptCertificate }: TlsChoices) {
  const pins = pinsOf(socket, url);
  const isTrusted = socket.authorized;
  if (tlsFingerprint !== undefined) assertPin(url, pins, tlsFingerprint);
  const accepted = await acceptCertificate?.({ fingerprint: pins.certificate, isTrusted });
  if (accepted !== undefined) assertPin(url, pins, accepted);
  else if (tlsFingerprint === undefined && !isTrusted) throw untrusted(socket, url, pins);
}

interface Pins {
  readonly certificate: string;
  readonly key: string;
  /** The names that the certificate is for. */
  readonly names: string;
}

/** Both forms of a pin that would fit. Called once: Node gives a certificate in this form the first time only. */
function pinsOf(socket: TLSSocket, url: URL): Pins {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new OpenClawError("tls-failed", `${url.host} showed no certificate`);
  const { fingerprint256, subjectAltName, subject } = certificate;
  const names = (subjectAltName ?? subject).replaceAll("\n", ", ").slice(0, 200);
  return { certificate: plainHex(fingerprint256), key: keyPin(certificate), names };
}

function keyPin(certificate: X509Certificate): string {
  try {
    const key = certificate.publicKey.export({ type: "spki", format: "der" });
    return `sha256/${createHash("sha256").update(key).digest("base64")}`;
  } catch {
    return "of a kind that is not known"; // fits no pin
  }
}

function assertPin(url: URL, pins: Pins, pin: string): void {
  const [expected, seen] = pin.startsWith("sha256/") ? [pin, pins.key] : [plainHex(pin), pins.certificate];
  if (seen === expected) return;
  const what = pin.startsWith("sha256/") ? "public key" : "certificate";
  throw new OpenClawError(
    "tls-pin-mismatch",
    `the ${what} of ${url.host} is not the pinned one: ${expected} was expected, and ${seen} is there`,
    {
      hint: `nothing was sent. If it was replaced on purpose, compare it with the server's own, then give it as --tls-fingerprint ${seen}; with --tls-accept-new beside that, it takes the place of one that was accepted before`,
      details: { expected, seen, certificate: pins.certificate, publicKey: pins.key },
    },
  );
}

function plainHex(hex: string): string {
  return hex.replaceAll(":", "").toLowerCase();
}

/** What is wrong with a certificate that nobody vouches for, and how to take it all the same. */
function untrusted(socket: TLSSocket, url: URL, pins: Pins): OpenClawError {
  // Node types it as an Error and sets the code.
  const code = String(socket.authorizationError);
  return new OpenClawError("tls-failed", `the certificate of ${url.host} ${complaint(code, pins)} (${code})`, {
    hint: `its SHA-256 is ${pins.certificate}: compare that with the server's own (openssl x509 -noout -fingerprint -sha256), and pin it with --tls-fingerprint; --tls-accept-new takes it as it is and holds the server to it from then on. An authority of your own can be named in NODE_EXTRA_CA_CERTS`,
    details: { systemCode: code, certificate: pins.certificate, publicKey: pins.key },
  });
}

/** OpenSSL's verdicts (openssl-verification-options(1)) in words. */
function complaint(code: string, { names }: Pins): string {
  switch (code) {
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
      return "is self-signed";
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return "comes from an authority that this system does not know";
    case "CERT_HAS_EXPIRED":
      return "has expired";
    case "CERT_NOT_YET_VALID":
      return "is not valid yet: is the clock right?";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `is for other names: ${names}`;
    default:
      return "cannot be verified";
  }
}

function tlsFailed(url: URL, cause: Error): OpenClawError {
  if (isPlainAnswer(cause)) return plainNotTls(url, cause);
  const code = systemCode(cause) ?? "no code";
  return new OpenClawError("tls-failed", `no TLS connection to ${url.host}: ${reasonOf(cause)} (${code})`, {
    hint: "a gateway without TLS needs ws:// instead of wss://",
    cause,
    details: { systemCode: code },
  });
}

/** OpenSSL's messages are `id:error:code:library:function:reason:file:line`; only the reason is for people. */
function reasonOf({ message }: Error): string {
  const [line = ""] = message.split("\n");
  const [, reason = line] = /:SSL routines:[^:]*:([^:]+):/u.exec(line) ?? [];
  return reason;
}
