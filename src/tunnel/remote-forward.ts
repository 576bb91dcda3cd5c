/** Remote forwards (`-R`): the server listens and passes its connections on to targets here (RFC 4254 § 7.1). */
import type { TcpConnectionDetails } from "ssh2";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "./connect.ts";
import { bracketed, formatTarget } from "./destination.ts";
import { dialTarget } from "./forward.ts";
import type { Forward } from "./forward.ts";

// A target is on this machine or near it: one that does not answer in this time is as good as dead.
const targetTimeoutMs = 10_000;

/** Serves the connections the server passes on. To be called before any forward is asked for. */
export function serveRemoteForwards(connection: SshConnection, forwards: readonly Forward[], runtime: Runtime): void {
  connection.client.on("tcp connection", (details, accept, reject) => {
    const forward = forwards.find((candidate) => isFor(candidate, details));
    if (forward === undefined) return reject();
    const target = dialTarget(forward.spec.target);
    const giveUp = runtime.after(targetTimeoutMs, () => target.destroy(new Error("timed out")));
    const refuse = (error: Error) => {
      giveUp();
      runtime.log("warn", "a forward's target does not answer", {
        target: formatTarget(forward.spec.target),
        reason: error.message,
      });
      // The server closes the connection it holds at once: whoever dialled sees a refusal, not a silence.
      if (connection.isOpen) reject();
    };
    target.once("error", refuse);
    target.once("connect", () => {
      giveUp();
      target.off("error", refuse);
      if (connection.isOpen) connection.bridges.join(target, accept(), forward.count());
      else target.destroy();
    });
  });
}

/**
 * Asks the server to listen, and sets the forward's port to the one that listens. Throws `ssh-forward` when the server
 * will not (the protocol does not say why), `ssh` when the connection is lost.
 */
export async function requestRemoteForward(connection: SshConnection, forward: Forward): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const answered = (error: Error | undefined, port: number) => {
    if (error !== undefined) return reject(connection.isOpen ? refused(forward, error) : lost(error));
    // At once, not after the promise: the first connection may be right behind the answer.
    forward.port = port;
    resolve();
  };
  try {
    connection.client.forwardIn(addressFor(forward.spec.bind), forward.port, answered);
  } catch (error) {
    throw lost(error);
  }
  return promise;
}

function isFor(forward: Forward, { destIP, destPort }: TcpConnectionDetails): boolean {
  const { direction, bind } = forward.spec;
  return direction === "remote" && addressFor(bind) === destIP && forward.port === destPort;
}

/** An empty address asks the server for every address of every family. */
function addressFor(bind: string): string {
  return bind === "*" ? "" : bind;
}

function refused(forward: Forward, cause: Error): OpenClawError {
  const { bind } = forward.spec;
  const address = `${bracketed(bind)}:${forward.port}`;
  const taken = forward.port === 0 ? "" : `port ${forward.port} may be taken there (ss -ltn shows it), or `;
  return new OpenClawError("ssh-forward", `the server refuses to listen on ${address}`, {
    hint: `${taken}sshd forbids it: see AllowTcpForwarding and PermitListen in sshd_config, permitlisten in authorized_keys`,
    details: { direction: "remote", bind, port: forward.port },
    cause,
  });
}

function lost(cause: unknown): OpenClawError {
  return new OpenClawError("ssh", "the SSH connection was lost while a forward was set up", { cause });
}
