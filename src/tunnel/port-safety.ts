/** Which listening ports of a tunnel deserve a word before they are opened: those another service wants, and those others can reach. */
import { BlockList, connect, isIP } from "node:net";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "../ssh/connect.ts";
import { bracketed, formatForward, reachableAt } from "../ssh/destination.ts";
import type { ForwardSpec } from "../ssh/destination.ts";

/** Where a gateway listens unless it is told otherwise. */
export const defaultGatewayPort = 18_789;
/** A gateway's own browser control listens this far above it, and asks for the gateway's token there. */
const browserControlOffset = 2;
const answerPatienceMs = 2_000;

/** Gateway ports, by the machine that the gateway is on. */
export interface GatewayPorts {
  /** Of this machine. */
  readonly here: readonly number[];
  /** Of the machine that SSH leads to. */
  readonly there: readonly number[];
}

/** A forward whose listening port belongs to a gateway's browser control. */
export interface BrowserControlClash {
  readonly forward: ForwardSpec;
  readonly gatewayPort: number;
}

/** The forwards that listen where a gateway of the same machine has its browser control, with that gateway's port. */
export function browserControlClashes(forwards: readonly ForwardSpec[], gateways: GatewayPorts): BrowserControlClash[] {
  return forwards.flatMap((forward) => {
    const ports = forward.direction === "local" ? gateways.here : gateways.there;
    const gatewayPort = ports.find((port) => port + browserControlOffset === forward.port);
    return gatewayPort === undefined ? [] : [{ forward, gatewayPort }];
  });
}

/** What to tell about such a forward while nothing answers on its port yet. */
export function clashWarning({ forward, gatewayPort }: BrowserControlClash): string {
  return (
    `port ${forward.port} is where a gateway on port ${gatewayPort} has its browser control: ` +
    `once that gateway runs on ${machineOf(forward)}, one of the two cannot listen, and who means one may reach the other; ` +
    `choose another port for ${flagOf(forward)} ${formatForward(forward)}`
  );
}

/** Who can reach a forward that does not listen on loopback only; undefined for those that do. */
export function exposureWarning(forward: ForwardSpec): string | undefined {
  const { bind, direction } = forward;
  if (isLoopback(bind)) return undefined;
  const where = isEveryAddress(bind) ? "every address" : `the address ${bind}`;
  const who = `${flagOf(forward)} ${formatForward(forward)} listens on ${where} of ${machineOf(forward)}: whoever can reach that machine reaches the forward's target, without SSH`;
  return direction === "local"
    ? who
    : `${who}; if sshd has GatewayPorts no, its default, it listens on loopback there instead and does not say so`;
}

/**
 * Throws `port-in-use` for a clash here whose port already answers. The system would let the tunnel listen beside it on another address of
 * the same machine, and who dials the port would meet one or the other.
 */
export async function refuseTakenHere(clashes: readonly BrowserControlClash[], runtime: Runtime): Promise<void> {
  for (const clash of clashes.filter(({ forward }) => forward.direction === "local")) {
    for (const host of new Set([reachableAt(clash.forward.bind), "127.0.0.1", "::1"])) {
      if (await answersHere(host, clash.forward.port, runtime)) throw taken(clash);
    }
  }
}

/** The same for clashes on the server, asked over the connection. A server that does not let us ask has to refuse the port itself. */
export async function refuseTakenThere(
  clashes: readonly BrowserControlClash[],
  { client }: Pick<SshConnection, "client">,
): Promise<void> {
  for (const clash of clashes.filter(({ forward }) => forward.direction === "remote")) {
    const { promise: answers, resolve } = Promise.withResolvers<boolean>();
    const lost = () => resolve(false);
    try {
      client.once("close", lost);
      client.forwardOut("127.0.0.1", 0, reachableAt(clash.forward.bind), clash.forward.port, (error, channel) => {
        channel?.on("error", () => {}).close();
        resolve(error === undefined);
      });
    } catch {
      lost(); // which whoever uses the connection is told
    }
    const isTaken = await answers;
    client.off("close", lost);
    if (isTaken) throw taken(clash);
  }
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** True for an address that only the machine itself can reach. A name other than localhost may mean anything. */
export function isLoopback(bind: string): boolean {
  const family = isIP(bind);
  if (family === 0) return bind.toLowerCase() === "localhost";
  return loopback.check(bind, family === 4 ? "ipv4" : "ipv6");
}

function isEveryAddress(bind: string): boolean {
  return bind === "*" || bind === "0.0.0.0" || (isIP(bind) === 6 && /^[0:]+$/.test(bind));
}

async function answersHere(host: string, port: number, runtime: Runtime): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host, port });
  const cancel = runtime.after(answerPatienceMs, () => resolve(false));
  socket.once("connect", () => resolve(true)).on("error", () => resolve(false));
  return promise.finally(() => {
    cancel();
    socket.destroy();
  });
}

function taken({ forward, gatewayPort }: BrowserControlClash): OpenClawError {
  const address = `${bracketed(reachableAt(forward.bind))}:${forward.port}`;
  return new OpenClawError(
    "port-in-use",
    `something already answers on port ${forward.port} of ${machineOf(forward)}, where a gateway on port ${gatewayPort} has its browser control`,
    {
      hint: `choose another port for ${flagOf(forward)} ${formatForward(forward)}`,
      details: { direction: forward.direction, address, port: forward.port, gatewayPort },
    },
  );
}

function machineOf({ direction }: ForwardSpec): string {
  return direction === "local" ? "this machine" : "the server";
}

function flagOf({ direction }: ForwardSpec): string {
  return direction === "local" ? "-L" : "-R";
}
