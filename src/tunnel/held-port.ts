/** What to make of a server that refuses to listen: our own dead session holds the port, somebody else does, or nobody may. */
import { OpenClawError, isFailure } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { bracketed } from "../ssh/destination.ts";
import type { Forward } from "./forward.ts";
import type { Holder, Probes } from "./probe.ts";

/** A server's process that was cut off gives its ports back within milliseconds. */
const firstAgainMs = 2;
/** Tries after which it is taken not to have noticed. */
const triesForNoticing = 4;
const againGrowth = 1.5;
const slowestAgainMs = 500;
const askPatienceMs = 1_000;

export interface HeldPortOptions {
  readonly connection: SshConnection;
  readonly forward: Forward;
  readonly probes: Probes;
  /** Tells what served our connections before this one to end: it may not have noticed that they are over. */
  readonly takeBack: () => void;
  /** How long to go on asking for a port that is not given back at once, in milliseconds. */
  readonly patienceMs: number;
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
}

/**
 * Listens by `listen`, and when that is refused takes the port back from a dead session of ours: told to end where the server runs
 * commands for us, otherwise waited for. Throws `ssh-forward` that says who holds the port, or that nobody does and the server forbids it.
 */
export async function listenPatiently(listen: () => Promise<void>, options: HeldPortOptions): Promise<void> {
  const { runtime, takeBack, signal } = options;
  const giveUpAtMs = runtime.now() + options.patienceMs;
  for (let attempt = 0; ; attempt++) {
    try {
      return await listen();
    } catch (error) {
      if (!isFailure(error, "ssh-forward")) throw error;
      if (attempt === triesForNoticing) takeBack();
      else if (attempt > triesForNoticing && runtime.now() >= giveUpAtMs) throw await explained(error, options);
    }
    await runtime.sleep(Math.min(slowestAgainMs, firstAgainMs * againGrowth ** attempt), signal);
  }
}

/** True for the refusal of a port that nobody holds. */
export function isForbidden(error: unknown): boolean {
  return isFailure(error, "ssh-forward") && error.details?.["holder"] === ("nobody" satisfies Holder);
}

/** Asked only once, because every connection to a port keeps a dead session that holds it alive for longer. */
async function explained(
  error: OpenClawError,
  { connection, forward, probes }: HeldPortOptions,
): Promise<OpenClawError> {
  if (forward.port === 0) return error;
  const holder = await probes.ask(connection, forward, askPatienceMs);
  const where = `${bracketed(forward.spec.bind)}:${forward.port} on the server`;
  const { direction, bind } = forward.spec;
  const details = { direction, bind, port: forward.port, holder };
  switch (holder) {
    case "another":
      return new OpenClawError("ssh-forward", `${where} is held by another program`, {
        hint: `end it there (ss -ltnp shows it), or forward another port`,
        details,
        cause: error,
      });
    case "ours":
    case "silent":
      return new OpenClawError("ssh-forward", `${where} is held, and who holds it does not answer`, {
        hint: "a lost session holds its ports until sshd notices: ClientAliveInterval 15 in its sshd_config bounds that, and ss -ltnp there shows whom to end",
        details,
        cause: error,
      });
    case "nobody":
      return new OpenClawError("ssh-forward", `the server forbids listening on ${where}`, {
        hint: "see AllowTcpForwarding, PermitListen and GatewayPorts in its sshd_config, permitlisten in authorized_keys",
        details,
        cause: error,
      });
    case "unknown":
      return new OpenClawError("ssh-forward", error.message, { hint: error.hint, details, cause: error });
  }
}
