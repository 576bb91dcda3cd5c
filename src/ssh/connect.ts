/** One SSH connection, through jump hosts or not: dial, shake hands, and notice when the other end is gone. */
import type { Client, NegotiatedAlgorithms } from "ssh2";
import { isFailure, OpenClawError } from "../errors.ts";
import { systemRuntime } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { Bridges } from "./bridge.ts";
import { Authentication } from "./authentication.ts";
import type { Credentials } from "./credentials.ts";
import { ChannelSocket } from "./channel-socket.ts";
import { Deadline } from "./deadline.ts";
import { bracketed } from "./destination.ts";
import { dialTcp, dialThrough } from "./dial.ts";
import type { SshSocket } from "./dial.ts";
import { handshake } from "./handshake.ts";
import type { OpenedClient } from "./handshake.ts";
import { loadHostKeyCheck } from "./host-keys.ts";
import type { HostKeyOptions } from "./host-keys.ts";
import { sshPort } from "./known-hosts.ts";
import { atJumpHost, describeConnectionError } from "./ssh-failure.ts";
import { firstCommand, type ServerSession } from "./server-session.ts";
import { ServerShell } from "./server-shell.ts";
import { watchSilence } from "./silence.ts";
import { handsOnApart } from "./quick-packets.ts";
import { loadClient } from "./ssh2.ts";

/** One server on the way, and how to get into it. */
export interface SshHop {
  readonly host: string;
  readonly port?: number;
  readonly user: string;
  readonly hostKeys: HostKeyOptions;
  readonly credentials: Credentials;
  /** Only IPv4, or only IPv6 addresses of the host; said of what is dialled from here. */
  readonly family?: 4 | 6;
}

export interface SshOptions extends SshHop {
  /** Servers to go through, in order: each is reached from the one before, checked and authenticated on its own. */
  readonly jumps?: readonly SshHop[];
  /** How often each server must give a sign of life; a dead one is noticed before twice this time is over. */
  readonly keepaliveMs?: number;
  /** How long dialling, handshake and authentication of one server may take, not counting the time a person needs to answer. */
  readonly readyTimeoutMs?: number;
  /** Dialled in the place of the first server, whose host key is still checked against its name: a relay in front of it. */
  readonly dialAt?: { readonly host: string; readonly port: number };
  readonly runtime?: Runtime;
}

export const defaultKeepaliveMs = 5_000;
export const defaultReadyTimeoutMs = 20_000;
const closeGraceMs = 500;

interface Circumstances {
  /** The address, for messages. */
  readonly where: string;
  readonly keepaliveMs: number;
  readonly runtime: Runtime;
  readonly via?: SshConnection | undefined;
}

/** An authenticated connection, and the bridges over it. */
export class SshConnection implements AsyncDisposable {
  readonly client: Client;
  /** `host:port` of the server. */
  readonly where: string;
  readonly bridges: Bridges;
  /** `SHA256:…` of the key the server proved to have. */
  readonly hostKeyFingerprint: string;
  readonly algorithms: NegotiatedAlgorithms | undefined;
  /** Resolves when the connection is over: with the reason, or undefined after `close`. Never rejects. */
  readonly closed: Promise<OpenClawError | undefined>;
  /** What serves us over there, where the server tells; it may take its time. */
  serverSession: ServerSession | undefined;
  /** Resolves when the first command has been answered, or never will be. */
  readonly asked: Promise<void>;
  readonly connectedAtMs: number;
  /** The ends of the TCP connection under it, as addresses: to the first server on the way. */
  readonly ends: { readonly local?: string | undefined; readonly remote?: string | undefined };
  /** What its bytes run over. */
  readonly socket: SshSocket;
  readonly #runtime: Runtime;
  /** The connection to the jump host it runs through. They end together. */
  readonly #via: SshConnection | undefined;
  #shell: ServerShell | undefined;
  #closing = false;
  #isOpen = true;

  constructor(opened: OpenedClient, { where, keepaliveMs, runtime, via }: Circumstances) {
    this.client = opened.client;
    this.where = where;
    this.hostKeyFingerprint = opened.hostKeyFingerprint;
    this.algorithms = opened.algorithms;
    this.bridges = new Bridges(opened.socket, () => handsOnApart(opened.client));
    this.socket = opened.socket;
    this.#runtime = runtime;
    this.#via = via;
    this.connectedAtMs = runtime.now();
    this.ends = via?.ends ?? tcpEnds(opened.socket);
    const { promise, resolve } = Promise.withResolvers<OpenClawError | undefined>();
    this.closed = promise;
    this.asked = firstCommand(opened.client).then((session) => void (this.serverSession = session));

    let reason: OpenClawError | undefined;
    const watched = { socket: opened.socket, keepaliveMs, runtime, load: () => this.bridges.size };
    const stopWatching = watchSilence(watched, (silentMs) => {
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
      void via?.close();
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** A shell over there, which is started for the first who wants it, and again when it ended after it had answered. */
  get shell(): ServerShell {
    if (this.#shell === undefined || this.#shell.hasEnded) this.#shell = new ServerShell(this.client);
    return this.#shell;
  }

  /** Says goodbye and hangs up, jump hosts last; resolves when the sockets are gone, at the latest after half a second for each. */
  async close(): Promise<void> {
    this.#closing = true;
    this.client.end();
    const cancelHangUp = this.#runtime.after(closeGraceMs, () => this.socket.destroy());
    await this.closed;
    cancelHangUp();
    await this.#via?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Connects and authenticates, through every jump host on the way. Nothing but the key exchange is sent before a host key is trusted.
 * Throws `ssh` (with address and system error), `ssh-auth`, `host-key-changed`, `host-key-unknown`, `usage` (unknown host key and nobody
 * to ask, unusable identity file), each naming the jump host it is about; or the signal's reason.
 */
export async function connectSsh(options: SshOptions, signal?: AbortSignal): Promise<SshConnection> {
  const { jumps = [] } = options;
  signal?.throwIfAborted();
  // Everything that can fail without the network, before the network.
  const hops = [...jumps, options];
  await Promise.all([loadClient(), ...hops.map(({ credentials }) => credentials.check())]);
  let connection: SshConnection | undefined;
  try {
    for (const jump of jumps) connection = await connectJump(jump, options, connection, signal);
    return await connectHop(options, options, connection, signal);
  } catch (error) {
    await connection?.close();
    throw error;
  }
}

async function connectJump(...[hop, options, via, signal]: Parameters<typeof connectHop>): Promise<SshConnection> {
  try {
    return await connectHop(hop, options, via, signal);
  } catch (error) {
    throw isFailure(error) && signal?.aborted !== true ? atJumpHost(addressOf(hop), error) : error;
  }
}

/** One server: dialled from here, or reached through the one before it. */
async function connectHop(
  hop: SshHop,
  {
    keepaliveMs = defaultKeepaliveMs,
    readyTimeoutMs = defaultReadyTimeoutMs,
    runtime = systemRuntime,
    dialAt,
  }: SshOptions,
  via: SshConnection | undefined,
  signal: AbortSignal | undefined,
): Promise<SshConnection> {
  const { host, port = sshPort, user, hostKeys, credentials, family } = hop;
  const where = addressOf(hop);
  let dialled: SshSocket | undefined;
  using deadline = new Deadline(runtime, readyTimeoutMs, () => {
    const hasAnswered = (dialled?.bytesRead ?? 0) > 0;
    return new OpenClawError("ssh", `${where} did not complete the SSH handshake within ${readyTimeoutMs} ms`, {
      hint: "it took the connection: it may be overloaded, or no SSH server, or something on the way swallows what is said",
      details: { hasAnswered },
    });
  });
  const limits = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]);
  const askHostKey = deadline.offTheClock(hostKeys.askHostKey);
  const hostKeyCheck = await loadHostKeyCheck({ ...hostKeys, askHostKey }, { host, port });
  const authentication = new Authentication(user, credentials, deadline, where);
  const address = { host, port, ...(family !== undefined && { family }) };
  const socket =
    via === undefined
      ? await dialTcp({ ...address, ...dialAt }, where, limits)
      : await dialThrough(via, address, where, limits);
  dialled = socket;
  try {
    const parts = { socket, where, user, hostKeyCheck, authentication, keepaliveMs, log: runtime.log };
    return new SshConnection(await handshake(parts, limits), { where, keepaliveMs, runtime, via });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function tcpEnds(socket: SshSocket): SshConnection["ends"] {
  return socket instanceof ChannelSocket ? {} : { local: socket.localAddress, remote: socket.remoteAddress };
}

function addressOf({ host, port = sshPort }: SshHop): string {
  return `${bracketed(host)}:${port}`;
}
