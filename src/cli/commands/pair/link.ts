/** `openclaw pair link` */
import type { Command } from "commander";
import type { Params } from "../../../link/end-line.ts";
import type { LinkedDirection, LinkedEnds } from "../../../link/join-ends.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import type { HostedLink, LinkFlags } from "../../link-host.ts";
import { addSshOptions } from "../../ssh-options.ts";

export function linkCommand(context: Context): Command {
  const command = defineCommand(
    "link",
    "make this gateway and another one nodes of each other, over one SSH connection",
    [
      "openclaw pair link me@cloud.example",
      "openclaw pair link me@cloud.example --detach --remote-openclaw 'npx openclaw-toolkit'",
    ],
  )
    .argument("<destination>", "[user@]host[:ssh-port]")
    .option("--local-port <port>", "the port of the gateway here (default: the one that runs, else 18789)")
    .option("--remote-port <port>", "the port of the gateway there (default: the one that runs, else 18789)")
    .option("--one-way <direction>", "to-remote: only a node over there; to-local: only a node here")
    .option("--name <name>", "what to call the link and its tunnel (default: its destination)")
    .option("--detach", "return once the link is up, and leave it in the background")
    .option("--remote-openclaw <command>", "how to start openclaw over there", "openclaw")
    .option("--remote-state-dir <dir>", "the state directory over there (default: its user's)");
  return addSshOptions(command).action(async (destination: string, flags: LinkFlags) => {
    const { checkPort } = await import("../../link-lines.ts");
    checkPort(flags.localPort, "--local-port");
    checkPort(flags.remotePort, "--remote-port");
    if (context.options.starter === undefined && (await isUpAlready(context, destination, flags))) return;
    if (flags.detach === true && context.options.starter === undefined)
      return linkInBackground(context, destination, flags);
    await context.untilStopped(() => linkHere(context, destination, flags));
  });
}

/** A link that is up and whole is left as it is; one that is up and lacks something is taken down, to be made again. */
async function isUpAlready(context: Context, destination: string, flags: LinkFlags): Promise<boolean> {
  const { knownLink, readDirections, unionOf } = await import("../../link-host.ts");
  const { tunnelOf, whollyLinked } = await import("../../link-directory.ts");
  const { closeTunnel } = await import("../../../tunnel/control-client.ts");
  const known = await knownLink(context, destination, flags);
  if (known === undefined) return false;
  const isNamedSo = flags.name === undefined || flags.name === known.name;
  const peer = await whollyLinked(context, known, unionOf(readDirections(flags.oneWay), known.way));
  if (peer === undefined || !isNamedSo) {
    const running = await tunnelOf(context, known);
    if (running === undefined) return false;
    context.output.note(`the link ${known.name} is up and not as it should be: it is made again`);
    await closeTunnel(running, context.oneShotSignal);
    return false;
  }
  const { name, pid, deviceId, toRemote, toLocal } = peer;
  const shown = (direction: typeof toRemote, id: string) =>
    direction === undefined ? undefined : { deviceId: id, paired: true, verified: true, ...direction };
  const own = (await context.identity()).deviceId;
  context.output.result(
    {
      event: "linked",
      peer: name,
      isUpAlready: true,
      pid,
      deviceId,
      ...(toRemote === undefined ? {} : { toRemote: shown(toRemote, own) }),
      ...(toLocal === undefined ? {} : { toLocal: shown(toLocal, deviceId) }),
    },
    () => `linked with ${name} already (pid ${pid}); ${context.pasteable("openclaw pair status")} shows it`,
  );
  return true;
}

async function linkHere(context: Context, destination: string, flags: LinkFlags): Promise<void> {
  const { hostLink } = await import("../../link-host.ts");
  const { describeTunnelEvent } = await import("../../tunnel-events.ts");
  const { output } = context;
  await using link = await hostLink(context, destination, flags, {
    onStep: (step) => output.event({ event: "step", step }, () => undefined),
    onTunnel: (event) => {
      const { event: step, ...facts } = event;
      output.event({ event: "tunnel", step, ...facts }, () => describeTunnelEvent(event));
    },
    onNode: (direction, event) => output.event({ event: "node", direction, ...renamed(event) }, () => undefined),
    onLost: (side, reason, retryInMs) =>
      output.event(
        { event: "lost", side, reason, retryInMs },
        () => `${side} end: ${reason}; next try in ${retryInMs} ms`,
      ),
  });
  const facts = linkedEvent(link);
  output.event(facts, describeLink);
  const forwards = link.hosted.tunnel.forwards();
  await context.options.starter?.ready({ name: link.name, pid: process.pid, forwards, facts });
  await link.closed;
}

async function linkInBackground(context: Context, destination: string, flags: LinkFlags): Promise<void> {
  const { detach } = await import("../../detach.ts");
  const { formatDestination, parseDestination } = await import("../../../ssh/destination.ts");
  const { tunnelLogPath } = await import("../../../state/tunnel-log.ts");
  const { nameForTunnel } = await import("../../../state/tunnel-record.ts");
  const { runDir, logDir } = context.paths();
  const readable = formatDestination(parseDestination(destination));
  const { knownLink } = await import("../../link-host.ts");
  const known = await knownLink(context, destination, flags);
  const name = await nameForTunnel(runDir, flags.name ?? known?.name, readable, context.runtime);
  context.extendTimeout(60_000);
  const { facts, ...started } = await detach(context, name, tunnelLogPath(logDir, name));
  context.output.result({ ...facts, ...started }, ({ pid }) =>
    [
      // Of this very program, which has made it a moment ago.
      describeLink(facts as unknown as LinkedFacts),
      `the link stays up in the background (pid ${pid})`,
      `  look at it with: ${context.pasteable("openclaw pair status")}`,
      `  end it with: ${context.pasteable(`openclaw pair unlink ${name}`)}`,
    ].join("\n"),
  );
}

/** A node's own word for its event stands beside the link's. */
function renamed({ event, ...facts }: Params): Params {
  return { what: event, ...facts };
}

type LinkedFacts = ReturnType<typeof linkedEvent>;

function linkedEvent({ name, linked }: HostedLink) {
  const { near, far, toRemote, toLocal } = linked;
  return {
    event: "linked",
    peer: name,
    here: ends(near),
    there: ends(far),
    ...(toRemote === undefined ? {} : { toRemote }),
    ...(toLocal === undefined ? {} : { toLocal }),
  };
}

function ends({ deviceId, fingerprint, host, gateway }: LinkedEnds["near"]) {
  return { deviceId, fingerprint, host, gateway: gateway.url, gatewayVersion: gateway.version };
}

function describeLink({ peer, here, there, toRemote, toLocal }: LinkedFacts): string {
  const proven = (direction: LinkedDirection | undefined, what: string) =>
    direction === undefined ? [] : [`  ${what}, answers in ${direction.latencyMs} ms`];
  return [
    `linked with ${peer}`,
    `  here   ${here.host}  ${here.fingerprint}  ${here.gateway}`,
    `  there  ${there.host}  ${there.fingerprint}  ${there.gateway}`,
    ...proven(toRemote, "this machine is a node of the gateway there"),
    ...proven(toLocal, "that machine is a node of the gateway here"),
  ].join("\n");
}
