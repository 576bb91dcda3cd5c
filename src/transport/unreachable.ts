/** Why no TCP connection to a gateway came about, or why it ended before it was of use. */
import { type FailureOptions, OpenClawError, systemCode } from "../errors.ts";

/** The host of a URL as sockets take it: an IPv6 address without brackets. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/gu, "");
}

/** The port of a `ws(s)` URL, written or implied. */
export function portOf(url: URL): number {
  if (url.port !== "") return Number(url.port);
  return url.protocol === "wss:" ? 443 : 80;
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
