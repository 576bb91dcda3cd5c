/** One SSH connection: dial, shake hands, and notice when the other end is gone. */
import { connect, isIP } from "node:net";
import type { Socket } from "node:net";
import type { Client, NegotiatedAlgorithms } from "ssh2";
import { OpenClawError } from "../errors.ts";
import { systemRuntime } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { Bridges } from "./bridge.ts";
import { Authentication } from "./credentials.ts";
import type { Credentials } from "./credentials.ts";
import { Deadline } from "./deadline.ts";
import { bracketed } from "./destination.ts";
import { handshake } from "./handshake.ts";
import type { OpenedClient } from "./handshake.ts";
import { loadHostKeyCheck } from "./host-keys.ts";
import type { HostKeyOptions } from "./host-keys.ts";
import { sshPort } from "./known-hosts.ts";
import { describeConnectionError } from "./ssh-failure.ts";
import { loadSsh2 } from "./ssh2.ts";

export interface SshOptions {
  readonly host: string;
  readonly port?: number;
  readonly user: string;
  readonly hostKeys: HostKeyOptions;
  readonly credentials: Credentials;
  /** How often the server must give a sign of life; a dead one is noticed before twice this time is over. */
  readonly keepaliveMs?: number;
  /** How long dialling, handshake and authentication may take, not counting the time a person needs to answer. */
  readonly readyTimeoutMs?: number;
  /** Only IPv4, or only IPv6 addresses of the host. */
  readonly family?: 4 | 6;
  readonly runtime?: Runtime;
}

export const defaultKeepaliveMs = 5_000;
const defaultReadyTimeoutMs = 20_000;
const closeGraceMs = 500;

/** An authenticated connection, and the bridges over it. */
export class SshConnection implements AsyncDisposable {
  readonly client: Client;
  readonly bridges: Bridges;
  /** `SHA256:…` of the key the server proved to have. */
  readonly hostKeyFingerprint: string;
  readonly algorithms: NegotiatedAlgorithms | undefined;
  /** Resolves when the connection is over: with the reason, or undefined after `close`. Never rejects. */
  readonly closed: Promise<OpenClawError | undefined>;
  readonly #socket: Socket;
  readonly #runtime: Runtime;
  #closing = false;
  #isOpen = true;

  constructor(opened: OpenedClient, where: string, keepaliveMs: number, runtime: Runtime) {
    this.client = opened.client;
    this.hostKeyFingerprint = opened.hostKeyFingerprint;
    this.algorithms = opened.algorithms;
    this.bridges = new Bridges(opened.socket);
    this.#socket = opened.socket;
    this.#runtime = runtime;
    const { promise, resolve } = Promise.withResolvers<OpenClawError | undefined>();
    this.closed = promise;

    let reason: OpenClawError | undefined;
    const stopWatching = watchSilence(opened.socket, keepaliveMs, runtime, (silentMs) => {
      reason ??= new OpenClawError("ssh", `${where} gave no sign of life for ${silentMs} ms`);
      opened.socket.destroy();
    });
    this.client.on("error", (error) => (reason ??= describeConnectionError(where, error)));
    this.client.once("close", () => {
      this.#isOpen = false;
      this.bridges.cut();
      stopWatching();
      reason ??= new OpenClawError("ssh", `${where} closed the connection`);
      resolve(this.#closing ? undefined : reason);
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Says goodbye and hangs up; resolves when the socket is gone, at the latest after half a second. */
  async close(): Promise<void> {
    this.#closing = true;
    this.client.end();
    const cancelHangUp = this.#runtime.after(closeGraceMs, () => this.#socket.destroy());
    await this.closed;
    cancelHangUp();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Connects and authenticates. Nothing but the key exchange is sent before the host key is trusted. Throws `ssh` (with
 * address and system error), `ssh-auth`, `host-key-changed`, `usage` (unknown host key and nobody to ask, unreadable
 * identity file), or the signal's reason.
 */
export async function connectSsh(options: SshOptions, signal?: AbortSignal): Promise<SshConnection> {
  const { host, port = sshPort, user, hostKeys, credentials } = options;
  const { keepaliveMs = defaultKeepaliveMs, readyTimeoutMs = defaultReadyTimeoutMs, runtime = systemRuntime } = options;
  signal?.throwIfAborted();
  const where = `${bracketed(host)}:${port}`;
  using deadline = new Deadline(runtime, readyTimeoutMs, () => {
    return new OpenClawError("ssh", `${where} did not complete the SSH handshake within ${readyTimeoutMs} ms`);
  });
  const limits = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]);
  // Everything that can fail without the network, before the network.
  await Promise.all([loadSsh2(), credentials.namedFiles()]);
  const askHostKey = deadline.offTheClock(hostKeys.askHostKey);
  const hostKeyCheck = await loadHostKeyCheck({ ...hostKeys, askHostKey }, { host, port });
  const authentication = new Authentication(user, credentials, deadline);
  const socket = await dial(
    { host, port, where, ...(options.family !== undefined && { family: options.family }) },
    limits,
  );
  try {
    const parts = { socket, where, user, hostKeyCheck, authentication, keepaliveMs, log: runtime.log };
    const connection = new SshConnection(await handshake(parts, limits), where, keepaliveMs, runtime);
    quicken(connection.client);
    return connection;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

interface Dial {
  readonly host: string;
  readonly port: number;
  readonly where: string;
  readonly family?: 4 | 6;
}

/** A TCP connection without Nagle's algorithm: ssh2 never turns it off, and after the first byte it costs 40 ms. */
async function dial({ where, ...address }: Dial, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const { host, family } = address;
  if (family !== undefined && isIP(host) !== 0 && isIP(host) !== family) {
    throw new OpenClawError("usage", `${host} is not an IPv${family} address`);
  }
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connect({ ...address, noDelay: true });
  const abort = () => reject(signal.reason);
  socket.once("connect", () => resolve(socket));
  socket.on("error", (error) => reject(describeConnectionError(where, error)));
  signal.addEventListener("abort", abort);
  try {
    return await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * Calls `onSilent` once nothing at all has arrived for 1.5 to 1.8 keepalives. The library asks for a sign of life after
 * each keepalive without one, so the server has at least half of that time to answer. Polls are counted and not
 * clocks compared: neither a step of the clock nor a sleeping laptop counts as silence.
 */
function watchSilence(
  socket: Socket,
  keepaliveMs: number,
  runtime: Runtime,
  onSilent: (silentMs: number) => void,
): () => void {
  const pollMs = 0.3 * keepaliveMs;
  const silentPollsAllowed = 5;
  let heard = socket.bytesRead;
  let silentPolls = 0;
  let stop = runtime.after(pollMs, poll);
  return () => stop();

  function poll(): void {
    silentPolls = socket.bytesRead === heard ? silentPolls + 1 : 0;
    heard = socket.bytesRead;
    if (silentPolls >= silentPollsAllowed) return onSilent(Math.round(silentPolls * pollMs));
    stop = runtime.after(pollMs, poll);
  }
}

/**
 * OpenSSH's server turns its own Nagle's algorithm off when the first command of a connection starts, and keeps it for
 * connections that only forward: 43 ms for a channel to open. So one command that does nothing is run. Without a
 * terminal, so that no login is recorded; a server that refuses it is only slower.
 */
function quicken(client: Client): void {
  try {
    client.exec(":", (error, channel) => {
      if (error === undefined) channel.on("error", () => {}).resume();
    });
  } catch {
    // Lost already, which `closed` will tell.
  }
}
