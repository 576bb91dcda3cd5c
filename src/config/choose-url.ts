/** The address of the gateway that a command means, and whether it is one that the configuration knows. */
import { isIP } from "node:net";
import { OpenClawError } from "../errors.ts";
import type { GatewayChoice } from "./credentials.ts";
import { read } from "./environment.ts";
import {
  checkedPort,
  defaultPort,
  type GatewayUrl,
  gatewayUrlOf,
  isSameGateway,
  parseGatewayUrl,
} from "./gateway-url.ts";
import type { Config } from "./resolve.ts";
import type { TargetChoices } from "./target-choices.ts";

export interface ChosenUrl {
  readonly url: GatewayUrl;
  /** The flag, variable or setting that named it. */
  readonly chosenBy: string;
}

/** `--url`, else the parts of one, else OPENCLAW_GATEWAY_URL, else the configured gateway. What contradicts itself is `usage`. */
export function chooseUrl(choices: TargetChoices): ChosenUrl {
  const { flags, env } = choices;
  const parts = Object.entries({
    "--host": flags.host,
    "--port": flags.port,
    "--tls": flags.tls,
    "--context-path": flags.contextPath,
  }).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  const [firstPart] = parts;
  if (flags.url !== undefined) {
    if (firstPart === undefined) return { url: parseGatewayUrl(flags.url, "--url"), chosenBy: "--url" };
    throw new OpenClawError("usage", `--url and ${firstPart} contradict each other`, {
      hint: "the URL says it all; leave the rest out",
    });
  }
  if (firstPart !== undefined) return { url: urlFromParts(choices), chosenBy: firstPart };
  const fromEnvironment = read(env, "OPENCLAW_GATEWAY_URL");
  if (fromEnvironment !== undefined) {
    return { url: parseGatewayUrl(fromEnvironment, "OPENCLAW_GATEWAY_URL"), chosenBy: "OPENCLAW_GATEWAY_URL" };
  }
  return configuredUrl(choices);
}

function urlFromParts({ flags, config, runningPorts }: TargetChoices): GatewayUrl {
  const { host, port, tls, contextPath } = flags;
  if (host !== undefined) return gatewayUrlOf({ host, port: port ?? defaultPort, tls: tls ?? false, contextPath });
  return gatewayUrlOf({
    host: localHost(config),
    port: port ?? localPort(config, runningPorts),
    tls: tls ?? config.settings["gateway.tls.enabled"],
    contextPath,
  });
}

function configuredUrl({ config, runningPorts }: TargetChoices): ChosenUrl {
  if (config.settings["gateway.mode"] !== "remote") {
    const url = gatewayUrlOf({
      host: localHost(config),
      port: localPort(config, runningPorts),
      tls: config.settings["gateway.tls.enabled"],
    });
    return { url, chosenBy: "gateway.port" };
  }
  const remote = remoteUrl(config);
  if (remote !== undefined) return { url: remote, chosenBy: "gateway.remote.url" };
  throw new OpenClawError("usage", "gateway.mode is remote, and gateway.remote.url is not set", {
    hint: "name the gateway, or give --url",
    fix: "openclaw config set gateway.remote.url wss://host:port",
  });
}

/** An address at which this machine's gateway listens. */
function localHost({ settings }: Config): string {
  const bind = settings["gateway.bind"];
  const bound = bind === "custom" ? settings["gateway.customBindHost"] : bind;
  // A gateway on all addresses is on loopback too; so is one on an address that only it knows, such as the tailnet's.
  return bound === undefined || isIP(bound) === 0 || /^(0\.0\.0\.0|::)$/.test(bound) ? "127.0.0.1" : bound;
}

/** Port 0 lets the system choose one: then only a running gateway's is known. */
function localPort({ settings }: Config, runningPorts: readonly number[] = []): number {
  return checkedPort(
    settings["gateway.port"] === 0 ? (runningPorts[0] ?? 0) : settings["gateway.port"],
    "gateway.port",
  );
}

function remoteUrl({ settings }: Config): GatewayUrl | undefined {
  const text = settings["gateway.remote.url"];
  return text === undefined ? undefined : parseGatewayUrl(text, "gateway.remote.url");
}

/** Whether the address, however it was named, is that of a gateway the configuration knows. */
export function recognise(url: GatewayUrl, { config, runningPorts = [] }: TargetChoices): GatewayChoice {
  const remote = remoteUrl(config);
  const isRemote = remote !== undefined && isSameGateway(url, remote);
  const ports = [config.settings["gateway.port"], ...runningPorts];
  const isLocal = ports.some((port) => isSameGateway(url, { ...url, host: localHost(config), port }));
  // The remote gateway may be on loopback, behind a forwarded port; where both claim it, the mode says which one is meant.
  if (isRemote && (!isLocal || config.settings["gateway.mode"] === "remote")) return "remote";
  return isLocal ? "local" : "other";
}
