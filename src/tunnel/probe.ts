/**
 * Questions that travel through a forward and are recognised when they come back: a line with a nonce, dialled at the listening port from
 * the server's side. Whoever sees it come back knows that the port leads here.
 */
import type { ClientChannel } from "../ssh/ssh2.ts";
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { reachableAt } from "../ssh/destination.ts";
import type { Forward } from "./forward.ts";

/**
 * `ours`: the nonce came back. `nobody`: nothing listens there. `another`: something that is not a tunnel of this process answered or hung
 * up. `silent`: taken and never answered, as by a session of ours that the network has lost. `unknown`: the server does not let us ask.
 */
export type Holder = "ours" | "nobody" | "another" | "silent" | "unknown";

const nonceBytes = 16;
const greeting = "openclaw-tunnel-probe ";

/** The questions that are under way. */
export class Probes {
  readonly #runtime: Runtime;
  readonly #pending = new Map<string, () => void>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** True while an incoming connection may be one of ours. */
  get isAny(): boolean {
    return this.#pending.size > 0;
  }

  /** Whether this is what a question of ours looks like; whoever asked is told. */
  recognise(chunk: Buffer): boolean {
    const cameBack = this.#pending.get(chunk.toString("latin1"));
    cameBack?.();
    return cameBack !== undefined;
  }

  /** Dials the forward's listening port on the server, and waits at most `patienceMs` for what happens. */
  async ask(connection: SshConnection, forward: Forward, patienceMs: number): Promise<Holder> {
    const nonce = `${greeting}${Buffer.from(this.#runtime.random(nonceBytes)).toString("hex")}\r\n\r\n`;
    const { promise, resolve } = Promise.withResolvers<Holder>();
    this.#pending.set(nonce, () => resolve("ours"));
    const cancel = this.#runtime.after(patienceMs, () => resolve("silent"));
    let channel: ClientChannel | undefined;
    try {
      connection.client.once("close", () => resolve("unknown"));
      connection.client.forwardOut("127.0.0.1", 0, reachableAt(forward.spec.bind), forward.port, (error, opened) => {
        if (error !== undefined) return resolve(openFailure(error) === "connect-failed" ? "nobody" : "unknown");
        channel = opened;
        opened.on("error", () => {}).once("close", () => resolve("another"));
        opened.once("data", () => resolve("another"));
        opened.write(nonce);
      });
      return await promise;
    } catch {
      return "unknown"; // the connection is on its way out
    } finally {
      cancel();
      this.#pending.delete(nonce);
      channel?.close();
    }
  }
}

/**
 * Why a channel was not opened (RFC 4254 § 5.1), as far as it was the server's policy, or that it knows no such channels, or its target;
 * undefined for what may pass.
 */
export function openFailure(error: Error): "prohibited" | "connect-failed" | undefined {
  const reason = "reason" in error ? error.reason : undefined;
  if (reason === 1 || reason === 3) return "prohibited";
  return reason === 2 ? "connect-failed" : undefined;
}
