/** Why no connection to a gateway came about, or why it ended or fell silent before it was of use. */
import { type FailureOptions, isFailure, OpenClawError, systemCode } from "../errors.ts";

/** The host of a URL as sockets take it: an IPv6 address without brackets. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/gu, "");
}

/** The port of a `ws(s)` URL, written or implied. */
export function portOf(url: URL): number {
  if (url.port !== "") return Number(url.port);
  return url.protocol === "wss:" ? 443 : 80;
}

/** `host:port`, the port always written, an IPv6 address in its brackets. */
export function addressOf(url: URL): string {
  return `${url.hostname}:${portOf(url)}`;
}

/** What a failed connect means. */
export function unreachable(url: URL, cause: Error): OpenClawError {
  const code = systemCode(cause);
  const where = `${hostOf(url)}:${portOf(url)}`;
  const options: FailureOptions = { cause, details: { systemCode: code } };
  switch (code) {
    case "ECONNREFUSED":
      return new OpenClawError("unreachable", `nothing listens on ${where} (connection refused)`, {
        ...options,
        hint: "start the gateway there (openclaw gateway run), or check --port and the tunnel in front of it",
      });
    case "ECONNRESET":
      return hungUp(url, cause);
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new OpenClawError("unreachable", `the name ${hostOf(url)} does not resolve`, {
        ...options,
        hint: "check the spelling of the host",
      });
    default:
      return new OpenClawError("unreachable", `cannot reach ${where} (${code ?? cause.message})`, options);
  }
}

/** The other side hung up where an answer should have been. */
export function hungUp(url: URL, cause: Error | undefined): OpenClawError {
  return new OpenClawError("unreachable", `${url.host} closed the connection during the upgrade`, {
    hint: "a tunnel whose far end is down does this; check that the gateway behind it runs",
    cause,
    details: { systemCode: systemCode(cause) },
  });
}

/** What is waited for on the way to a session, and in it. */
export type Step = keyof typeof missing | `call ${string}`;

const missing = {
  "tcp-connect": "the TCP connection did not come about",
  "tls-handshake": "the TLS handshake did not finish",
  "http-upgrade": "the HTTP upgrade was not answered",
  challenge: "the WebSocket is open, but the gateway's challenge did not come",
  hello: "the connect request was not answered",
} as const;

/** `timeout`: how far it came, and where. `timeoutMs` is what the whole attempt was given. */
export function timedOut(url: URL, step: Step, timeoutMs: number, cause?: unknown): OpenClawError {
  const what = isPreliminary(step) ? missing[step] : `${step.slice("call ".length)} was not answered`;
  return new OpenClawError("timeout", `${addressOf(url)}: ${what} within ${timeoutMs} ms`, {
    hint: `${hintFor(step)}, or give it longer with --timeout`,
    cause,
    details: { address: addressOf(url), step, timeoutMs },
  });
}

/** Why a step was given up: a deadline of the caller's is a time-out at this step, any other reason stays what it is. */
export function givenUp(url: URL, step: Step, reason: unknown): unknown {
  if (!isFailure(reason, "timeout")) return reason;
  const { timeoutMs, address } = reason.details ?? {};
  return address === undefined && typeof timeoutMs === "number" ? timedOut(url, step, timeoutMs, reason) : reason;
}

function isPreliminary(step: Step): step is keyof typeof missing {
  return step in missing;
}

function hintFor(step: Step): string {
  if (step === "tcp-connect") return "check the address and any firewall between";
  if (isPreliminary(step)) return "something listens there but does not answer like a gateway: check the port";
  return "the gateway is busy, or hangs";
}
