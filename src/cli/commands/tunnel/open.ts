/** `openclaw tunnel open` */
import type { Command } from "commander";
import type { ForwardSpec } from "../../../ssh/destination.ts";
import type { Context } from "../../context.ts";
import { addForwardOptions, type ForwardFlags, readForwards } from "../../forward-options.ts";
import { defineCommand } from "../../globals.ts";
import { addSshOptions, readSshOptions, type SshFlags } from "../../ssh-options.ts";

interface Flags extends SshFlags, ForwardFlags {
  readonly name?: string;
  readonly detach?: boolean;
  readonly hotSpare?: boolean;
  readonly maxConnections?: string;
  readonly maxRate?: string;
  readonly reconnect: boolean;
}

export function openCommand(context: Context): Command {
  const command = defineCommand("open", "forward ports through an SSH connection that heals itself", [
    "openclaw tunnel open me@cloud.example -R 18790:127.0.0.1:18789",
    "openclaw tunnel open me@cloud.example:2222 -L 18790:127.0.0.1:18789 -i ~/.ssh/id_ed25519 --detach",
  ]).argument("<destination>", "[user@]host[:port]");
  addForwardOptions(command)
    .option("--name <name>", "what to call the tunnel (default: its destination)")
    .option("--detach", "return once the tunnel is up, and leave it in the background");
  return addSshOptions(command)
    .option("--hot-spare", "keep a second connection ready that takes over at once")
    .option("--max-connections <count>", "how many connections may be open at a time (default: 1024)")
    .option("--max-rate <rate>", "new connections a second, or <rate>:<burst> (default: as many as come)")
    .option("--no-reconnect", "end when the connection is lost")
    .action(async (destination: string, flags: Flags) => {
      const forwards = await readForwards(flags);
      if (flags.detach === true && context.options.starter === undefined) {
        return openInBackground(context, destination, forwards, flags);
      }
      await context.untilStopped(() => openHere(context, destination, forwards, flags));
    });
}

/** Opens the tunnel in this process and stays with it; who started us in the background is told when it is up. */
async function openHere(
  context: Context,
  wanted: string,
  forwards: readonly ForwardSpec[],
  flags: Flags,
): Promise<void> {
  const { describeTunnelEvent } = await import("../../tunnel-events.ts");
  const { hostTunnel } = await import("../../tunnel-host.ts");
  const { clashesThere, reviewPorts } = await import("../../tunnel-safety.ts");
  const { refuseTakenThere } = await import("../../../tunnel/port-safety.ts");
  const limits = await readLimits(flags);
  const { starter } = context.options;
  const clashes = starter === undefined ? await reviewPorts(context, forwards) : clashesThere(forwards);
  const { destination, ssh } = await readSshOptions(context, wanted, flags);
  await using hosted = await hostTunnel(context, {
    destination,
    ssh,
    forwards,
    limits,
    name: starter?.name ?? flags.name,
    hotSpare: flags.hotSpare === true,
    reconnect: flags.reconnect,
    ...(clashes.length > 0 && { beforeListening: (connection) => refuseTakenThere(clashes, connection) }),
    onEvent: (event) => context.output.event(event, describeTunnelEvent),
  });
  const { tunnel, closed } = hosted;
  await starter?.ready({ name: tunnel.name, pid: process.pid, forwards: tunnel.forwards() });
  await closed;
}

async function readLimits({ maxConnections, maxRate }: Flags) {
  const { parseMaxConnections, parseMaxRate } = await import("../../../tunnel/limits.ts");
  return {
    ...(maxConnections === undefined ? {} : { maxConnections: parseMaxConnections(maxConnections) }),
    ...(maxRate === undefined ? {} : { maxRate: parseMaxRate(maxRate) }),
  };
}

async function openInBackground(
  context: Context,
  destination: string,
  forwards: readonly ForwardSpec[],
  flags: Flags,
): Promise<void> {
  const { describeForward } = await import("../../tunnel-events.ts");
  const { detach } = await import("../../detach.ts");
  const { formatDestination, parseDestination } = await import("../../../ssh/destination.ts");
  const { tunnelLogPath } = await import("../../../state/tunnel-log.ts");
  const { nameForTunnel } = await import("../../../state/tunnel-record.ts");
  const { reviewPorts } = await import("../../tunnel-safety.ts");
  const { runDir, logDir } = context.paths();
  await reviewPorts(context, forwards);
  const readable = formatDestination(parseDestination(destination));
  const name = await nameForTunnel(runDir, flags.name, readable, context.runtime);
  const started = await detach(context, name, tunnelLogPath(logDir, name));
  context.output.result(started, ({ pid, forwards: rows }) =>
    [
      `tunnel ${name} is up in the background (pid ${pid})`,
      ...rows.map((forward) => `  ${describeForward(forward)}`),
      `  close it with: ${context.pasteable(`openclaw tunnel close ${name}`)}`,
    ].join("\n"),
  );
}
