/** What goes wrong on the way to an SSH connection, in our words: the one place that knows the library's errors. */
import { OpenClawError, systemCode } from "../errors.ts";
import type { Authentication } from "./authentication.ts";

/** An error as ssh2 raises it: `level` says where it comes from, a numeric `code` is the reason of a disconnect. */
export interface LibraryError extends Error {
  readonly level?: string;
}

/** What was known when the handshake failed. */
export interface HandshakeState {
  /** The first line the other side sent. */
  readonly answered: string;
  readonly authentication: Authentication;
}

/** True for an error after which the library goes on by itself with the next credential: a key that would not sign. */
export function isPassing({ level }: LibraryError): boolean {
  return level === "agent" || level === "client-authentication";
}

/** `ssh`: the address could not be reached, or the connection to it broke. */
export function describeConnectionError(where: string, error: Error): OpenClawError {
  // What carries the connection was lost, and has said why.
  if (error instanceof OpenClawError) return error;
  const code = systemCode(error);
  return new OpenClawError("ssh", connectionMessage(where, code, error), {
    hint: code === undefined ? undefined : connectionHints.get(code),
    details: { server: where, ...(code !== undefined && { systemCode: code }) },
    cause: error,
  });
}

const wayThere = "check the address, and the networks and firewalls on the way";
const connectionHints: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "is an SSH server running there, and is this its port? another one is given as user@host:port"],
  ["ENOTFOUND", "check the spelling; a name of ~/.ssh/config counts too, with HostName"],
  ["EHOSTUNREACH", wayThere],
  ["ENETUNREACH", wayThere],
  ["ETIMEDOUT", wayThere],
]);

/** `ssh`: the jump host `through` does not lead on to the next server. */
export function describeJumpError(where: string, through: string, error: unknown): OpenClawError {
  const reason = error instanceof Error ? error.message.replace(/^\(SSH\) Channel open failure: /, "") : String(error);
  return new OpenClawError("ssh", `jump host ${through} does not reach ${where}: ${reason}`, {
    hint: "the address must be right seen from the jump host, and its sshd must allow it: AllowTcpForwarding, PermitOpen",
    details: { server: where, jumpHost: through },
    cause: error,
  });
}

/** The same failure, said of a jump host; once is enough when it lies further back. */
export function atJumpHost(where: string, failure: OpenClawError): OpenClawError {
  const { code, message, hint, fix, details, cause } = failure;
  if (details?.["jumpHost"] !== undefined) return failure;
  const about = { ...details, jumpHost: where };
  return new OpenClawError(code, `jump host ${where}: ${message}`, { hint, fix, details: about, cause });
}

/** `ssh-auth` when the server hung up on our credentials, otherwise `ssh`: what answered, or what broke. */
export function describeHandshakeError(where: string, error: Error, state: HandshakeState): OpenClawError {
  const { answered, authentication } = state;
  if (error instanceof OpenClawError) return error;
  if (systemCode(error) !== undefined) return describeConnectionError(where, error);
  if (isDisconnect(error) && authentication.tried.length > 0) return authentication.brokenOff(where, error);
  if (answered === "") {
    return new OpenClawError("ssh", `${where} closed the connection without a word`, {
      hint: "is this the port of an SSH server, and does it accept connections from here",
      cause: error,
    });
  }
  if (!answered.startsWith("SSH-")) {
    return new OpenClawError("ssh", `${where} is not an SSH server: it answered ${JSON.stringify(answered)}`, {
      hint: "give the port of its SSH server as user@host:port",
      details: { server: where, answered },
    });
  }
  return new OpenClawError("ssh", `the SSH handshake with ${where} failed: ${error.message}`, { cause: error });
}

/** True when the server said why it hung up (RFC 4253 § 11.1), which a server that merely dies does not. */
function isDisconnect(error: Error): boolean {
  return "code" in error && typeof error.code === "number";
}

function connectionMessage(where: string, code: string | undefined, error: Error): string {
  switch (code) {
    case "ECONNREFUSED":
      return `nothing accepts connections at ${where} (${code})`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `the name in ${where} cannot be resolved (${code})`;
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return `${where} cannot be reached (${code})`;
    case "ECONNRESET":
    case "EPIPE":
      return `${where} broke the connection off (${code})`;
    case undefined:
      return `the connection to ${where} failed: ${error.message}`;
    default:
      return `the connection to ${where} failed (${code})`;
  }
}
