/** `node run --tunnel`: the gateway is reached through an SSH connection that this process keeps up. */
import type { GatewayAddress } from "../client/connect-gateway.ts";
import { isLoopbackHost } from "../config/address.ts";
import { OpenClawError } from "../errors.ts";
import { bracketed, type ForwardSpec, parseDestination } from "../ssh/destination.ts";
import type { Context } from "./context.ts";
import { readSshOptions, type SshFlags } from "./ssh-options.ts";
import type { TargetFlags } from "./target-options.ts";
import { describeTunnelEvent } from "./tunnel-events.ts";
import { type HostedTunnel, hostTunnel } from "./tunnel-host.ts";

export interface NodeTunnel {
  /** The near end of the tunnel. */
  readonly dialAt: NonNullable<GatewayAddress["dialAt"]>;
  readonly hosted: HostedTunnel;
}

const defaultGatewayPort = "18789";

/**
 * The target options with the gateway's name as seen from here. They say where the gateway is as seen from the SSH server, where `127.0.0.1` is
 * the server itself: a token stored for that must not be taken for one of this machine's gateway.
 */
export function namedFromHere<Flags extends TargetFlags>(flags: Flags, destination: string): Flags {
  if (flags.url !== undefined) return { ...flags, insecureWs: true };
  const host = flags.host === undefined || isLoopbackHost(flags.host) ? parseDestination(destination).host : flags.host;
  // What crosses the network is inside SSH.
  return { ...flags, host, port: flags.port ?? defaultGatewayPort, insecureWs: true };
}

/** Opens the tunnel; resolves once it is up. Throws what `tunnel open` would end with. */
export async function openNodeTunnel(
  context: Context,
  destination: string,
  flags: TargetFlags & SshFlags,
): Promise<NodeTunnel> {
  const { ssh } = await readSshOptions(context, destination, flags);
  const forward: ForwardSpec = { direction: "local", bind: "127.0.0.1", port: 0, target: targetThere(flags) };
  const hosted = await hostTunnel(context, {
    ssh,
    forwards: [forward],
    name: undefined,
    onEvent: (event) => {
      const { event: step, ...facts } = event;
      context.output.event({ event: "tunnel", step, ...facts }, () => `tunnel: ${describeTunnelEvent(event)}`);
    },
  });
  const [row] = hosted.tunnel.forwards();
  return { hosted, dialAt: { host: "127.0.0.1", port: row?.port ?? 0 } };
}

function targetThere({ url, host = "127.0.0.1", port = defaultGatewayPort }: TargetFlags): ForwardSpec["target"] {
  const text = url ?? `ws://${bracketed(host)}:${port}`;
  const named = URL.parse(text);
  if (named === null) throw new OpenClawError("usage", `${text} is not the address of a gateway`);
  const portThere = named.port === "" ? (named.protocol === "wss:" ? 443 : 80) : Number(named.port);
  return { type: "tcp", host: named.hostname.replace(/^\[|\]$/gu, ""), port: portThere };
}
