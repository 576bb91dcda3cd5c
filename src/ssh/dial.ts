/** The bytes under an SSH connection: a TCP connection, or a channel of another SSH connection that leads on from there. */
import { isIP } from "node:net";
import type { Socket } from "node:net";
import { OpenClawError } from "../errors.ts";
import { ChannelSocket } from "./channel-socket.ts";
import type { Carrier } from "./channel-socket.ts";
import { connectLending } from "./lend-reads.ts";
import { describeConnectionError, describeJumpError } from "./ssh-failure.ts";

/** What an SSH connection runs over. */
export type SshSocket = Socket | ChannelSocket;

export interface Address {
  readonly host: string;
  readonly port: number;
  /** Only IPv4, or only IPv6 addresses of the host. */
  readonly family?: 4 | 6;
}

/** A TCP connection without Nagle's algorithm: ssh2 never turns it off, and after the first byte it costs 40 ms. Throws `ssh`, `usage`. */
export async function dialTcp(address: Address, where: string, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const { host, family } = address;
  if (family !== undefined && isIP(host) !== 0 && isIP(host) !== family) {
    throw new OpenClawError("usage", `${host} is not an IPv${family} address`);
  }
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connectLending({ ...address, noDelay: true });
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

/** A channel from the server at the other end of `carrier` to the next one (RFC 4254 § 7.2). Throws `ssh`. */
export async function dialThrough(
  carrier: Carrier,
  { host, port }: Address,
  where: string,
  signal: AbortSignal,
): Promise<ChannelSocket> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<ChannelSocket>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    carrier.client.forwardOut("127.0.0.1", 0, host, port, (error, channel) => {
      if (error !== undefined) return reject(describeJumpError(where, carrier.where, error));
      if (signal.aborted) channel.destroy();
      else resolve(new ChannelSocket(channel, carrier));
    });
    return await promise;
  } catch (error) {
    throw error instanceof OpenClawError || signal.aborted ? error : describeJumpError(where, carrier.where, error);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
