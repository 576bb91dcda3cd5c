/** `wss://` to a port without TLS, and `ws://` to one with it: each looks like something else, and each is ended by one letter. */
import { OpenClawError, systemCode } from "../errors.ts";
import { addressOf, hostOf, portOf } from "./unreachable.ts";

/** True when a failed TLS handshake failed because what came back was no TLS at all (OpenSSL: `wrong version number`). */
export function isPlainAnswer(cause: Error): boolean {
  return systemCode(cause) === "ERR_SSL_WRONG_VERSION_NUMBER";
}

/** True when an HTTP answer could not be read because it was a TLS alert record (RFC 8446 § 5.1: content type 21). */
export function isTlsAlert(cause: unknown): boolean {
  if (!(cause instanceof Error && "rawPacket" in cause && cause.rawPacket instanceof Uint8Array)) return false;
  return cause.rawPacket[0] === 21 && cause.rawPacket[1] === 3;
}

/** A port without TLS that was dialled with `wss://`. */
export function plainNotTls(url: URL, cause: Error): OpenClawError {
  return mismatch(url, `the port ${addressOf(url)} speaks plain WebSocket, not TLS`, "ws:", cause);
}

/** A port with TLS that was dialled with `ws://`. */
export function tlsNotPlain(url: URL, cause: unknown): OpenClawError {
  return mismatch(url, `the port ${addressOf(url)} speaks TLS, not plain WebSocket`, "wss:", cause);
}

function mismatch(url: URL, message: string, protocol: "ws:" | "wss:", cause: unknown): OpenClawError {
  const other = `${protocol}//${addressOf(url)}${url.pathname === "/" ? "" : url.pathname}`;
  return new OpenClawError("tls-failed", message, {
    hint: `write ${protocol}// instead of ${url.protocol}//${protocol === "ws:" ? ", or leave --tls out" : ", or add --tls"}`,
    fix: `openclaw gateway status --url ${other}`,
    details: { systemCode: systemCode(cause), url: other },
    cause,
  });
}

/** Servers that were hung up on answer quickly, or not at all. */
const askMs = 1000;

/**
 * Asks the port for a TLS handshake, on a connection of its own and with nothing secret. A TLS server drops a plain request without a
 * word, as a tunnel does whose far end is down: this tells the two apart. Never fails.
 */
export async function speaksTls(url: URL, signal: AbortSignal): Promise<boolean> {
  const tls = await import("node:tls");
  if (signal.aborted) return false;
  return new Promise((resolve) => {
    // Whose certificate it is does not matter: nothing will be said.
    const socket = tls.connect({ host: hostOf(url), port: portOf(url), rejectUnauthorized: false });
    const answer = (is: boolean) => {
      signal.removeEventListener("abort", giveUp);
      clearTimeout(timer);
      socket.destroy();
      resolve(is);
    };
    const giveUp = () => answer(false);
    const timer = setTimeout(giveUp, askMs);
    signal.addEventListener("abort", giveUp, { once: true });
    socket.once("secureConnect", () => answer(true));
    // An alert is TLS too: it may want a certificate of ours, or another version.
    socket.on("error", (error) => answer(/_ALERT_/u.test(systemCode(error) ?? "")));
    socket.once("close", giveUp);
  });
}
