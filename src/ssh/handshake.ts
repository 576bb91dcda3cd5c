/** The part of an SSH connection before it may be used: key exchange, host key, authentication (RFC 4253, RFC 4252). */
import type { AuthHandlerMiddleware, CipherAlgorithm, Client, HostVerifier, NegotiatedAlgorithms } from "ssh2";
import type { Log } from "../runtime.ts";
import type { Authentication } from "./authentication.ts";
import type { SshSocket } from "./dial.ts";
import type { HostKeyCheck } from "./host-keys.ts";
import { keyFingerprint } from "./known-hosts.ts";
import { quickenPackets } from "./quick-packets.ts";
import { loadClient } from "./ssh2.ts";
import { describeHandshakeError, isPassing } from "./ssh-failure.ts";

export interface HandshakeOptions {
  readonly socket: SshSocket;
  /** The address, for messages. */
  readonly where: string;
  readonly user: string;
  readonly hostKeyCheck: HostKeyCheck;
  readonly authentication: Authentication;
  readonly keepaliveMs: number;
  readonly log: Log;
}

export interface OpenedClient {
  readonly client: Client;
  readonly socket: SshSocket;
  readonly hostKeyFingerprint: string;
  readonly algorithms: NegotiatedAlgorithms | undefined;
}

// AES-128-GCM first: one pass for cipher and integrity, in hardware. No CBC, no RC4.
const ciphers: CipherAlgorithm[] = [
  "aes128-gcm@openssh.com",
  "aes256-gcm@openssh.com",
  "chacha20-poly1305@openssh.com",
  "aes128-ctr",
  "aes256-ctr",
];

/** Resolves with an authenticated client, or rejects with why there is none; the caller then destroys the socket. */
export async function handshake(options: HandshakeOptions, signal: AbortSignal): Promise<OpenedClient> {
  const { socket, where, user, hostKeyCheck, authentication, keepaliveMs, log } = options;
  const Client = await loadClient();
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  const client = new Client();
  // Every question that is under way waits for the end of the connection too.
  client.setMaxListeners(0);
  quickenPackets(client, socket);
  const hostKey = verifyOnce(hostKeyCheck, reject);
  const answered = firstLine(socket, client);
  let algorithms: NegotiatedAlgorithms | undefined;
  const fail = (error: Error) => reject(describeHandshakeError(where, error, { answered: answered(), authentication }));
  const abort = () => reject(signal.reason);

  client.once("ready", resolve);
  client.on("handshake", (negotiated) => (algorithms = negotiated));
  client.on("change password", () => reject(authentication.passwordExpired(where)));
  client.once("close", () => fail(new Error("the server closed the connection")));
  client.on("error", (error) => {
    if (isPassing(error)) log("debug", "a key could not sign", { reason: error.message });
    else fail(error);
  });
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    client.connect({
      sock: socket,
      username: user,
      // The library's clocks are not used: ours stand still while a person is asked, and count any byte as life.
      readyTimeout: 0,
      keepaliveInterval: keepaliveMs,
      keepaliveCountMax: Number.MAX_SAFE_INTEGER,
      algorithms: { serverHostKey: hostKeyCheck.algorithms, cipher: ciphers },
      hostVerifier: hostKey.verify,
      authHandler: offerInOrder(authentication, where, reject),
    });
    await ready;
    authentication.done();
  } finally {
    signal.removeEventListener("abort", abort);
  }
  return { client, socket, algorithms, hostKeyFingerprint: keyFingerprint(hostKey.trusted()) };
}

/** Asks for trust at the first key exchange; at later ones of the same connection the key must be the same. */
function verifyOnce(check: HostKeyCheck, reject: (error: unknown) => void) {
  let trusted: Buffer | undefined;
  const verify: HostVerifier = (key, answer) => {
    if (trusted !== undefined) return answer(trusted.equals(key));
    check
      .trust(key)
      .then(() => {
        trusted = key;
        answer(true);
      })
      .catch((error: unknown) => {
        // First, so that this is the reason and not the library's own complaint.
        reject(error);
        answer(false);
      });
  };
  return { verify, trusted: () => trusted ?? Buffer.alloc(0) };
}

function offerInOrder(
  authentication: Authentication,
  where: string,
  reject: (error: unknown) => void,
): AuthHandlerMiddleware {
  return (methods: readonly string[] | null, partly: boolean | null, offer) => {
    authentication
      .next(methods, partly)
      .then((attempt) => {
        if (attempt === undefined) reject(authentication.refused(where));
        else offer(attempt);
      })
      .catch(reject);
  };
}

/** What the other side says first, as one short printable line: for servers that turn out not to speak SSH. */
function firstLine(socket: SshSocket, client: Client): () => string {
  let heard = "";
  const listen = (chunk: Buffer) => {
    if (heard.length < 256) heard += chunk.toString("latin1", 0, 256);
  };
  socket.on("data", listen);
  client.once("handshake", () => socket.off("data", listen));
  return () => {
    const lines = heard.split(/\r?\n/);
    const line = lines.find((candidate) => candidate.startsWith("SSH-")) ?? lines[0] ?? "";
    return line.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 80);
  };
}
