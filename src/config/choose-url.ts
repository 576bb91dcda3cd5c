/** The address of the gateway that a command means, and whether it is one that the configuration knows. */
import { isIP } from "node:net";
import { OpenClawError } from "../errors.ts";
import type { GatewayChoice } from "./credentials.ts";
import { read } from "./environment.ts";
import {
  checkedPort,
  defaultPort,
  formatOrigin,
  type GatewayUrl,
  gatewayUrlOf,
  isSameGateway,
  parseGatewayUrl,
} from "./gateway-url.ts";
import type { Config } from "./resolve.ts";
import type { RunningGateway, TargetChoices } from "./target-choices.ts";

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

function urlFromParts(choices: TargetChoices): GatewayUrl {
  const { host, port, tls, contextPath } = choices.flags;
  if (host !== undefined) return gatewayUrlOf({ host, port: port ?? defaultPort, tls: tls ?? false, contextPath });
  const local = port === undefined ? localUrl(choices).url : { ...configuredParts(choices.config), port };
  return gatewayUrlOf({ ...local, tls: tls ?? local.tls, contextPath });
}

function configuredUrl(choices: TargetChoices): ChosenUrl {
  const { config } = choices;
  if (config.settings["gateway.mode"] !== "remote") return localUrl(choices);
  const remote = remoteUrl(config);
  if (remote !== undefined) return { url: remote, chosenBy: "gateway.remote.url" };
  throw new OpenClawError("usage", "gateway.mode is remote, and gateway.remote.url is not set", {
    hint: "name the gateway, or give --url",
    fix: "openclaw config set gateway.remote.url wss://host:port",
  });
}

/** This machine's gateway: where it is configured to be, or where one runs. */
function localUrl(choices: TargetChoices): ChosenUrl {
  const running = runningElsewhere(choices);
  if (running !== undefined) return { url: running.url, chosenBy: `the gateway that runs here (pid ${running.pid})` };
  const { port, ...parts } = configuredParts(choices.config);
  return { url: gatewayUrlOf({ ...parts, port: checkedPort(port, "gateway.port") }), chosenBy: "gateway.port" };
}

/** The one gateway that runs although nothing of ours holds the configured port; several are `usage`. A port of 0 names none. */
function runningElsewhere({ config, running = [], prefersRunning }: TargetChoices): RunningGateway | undefined {
  const configured = config.settings["gateway.port"];
  const isNamed = configured !== 0 && (prefersRunning !== true || config.origins["gateway.port"]?.from === "env");
  if (isNamed || running.some(({ url }) => url.port === configured)) return undefined;
  const [first, ...others] = running;
  if (others.length === 0) return first;
  const candidates = running.map(({ url, pid }) => ({ url: formatOrigin(url), pid }));
  const listed = candidates.map(({ url, pid }) => `${url} (pid ${pid})`).join(", ");
  throw new OpenClawError("usage", `several gateways of this state directory run: ${listed}`, {
    hint: "say with --url which one is meant",
    details: { candidates },
  });
}

function configuredParts(config: Config) {
  const { settings } = config;
  return { host: localHost(config), port: settings["gateway.port"], tls: settings["gateway.tls.enabled"] };
}

/** An address at which this machine's gateway listens. */
function localHost({ settings }: Config): string {
  const bind = settings["gateway.bind"];
  const bound = bind === "custom" ? settings["gateway.customBindHost"] : bind;
  // A gateway on all addresses is on loopback too; so is one on an address that only it knows, such as the tailnet's.
  return bound === undefined || isIP(bound) === 0 || /^(0\.0\.0\.0|::)$/.test(bound) ? "127.0.0.1" : bound;
}

function remoteUrl({ settings }: Config): GatewayUrl | undefined {
  const text = settings["gateway.remote.url"];
  return text === undefined ? undefined : parseGatewayUrl(text, "gateway.remote.url");
}

/** Whether the address, however it was named, is that of a gateway the configuration knows. */
export function recognise(url: GatewayUrl, { config, running = [] }: TargetChoices): GatewayChoice {
  const remote = remoteUrl(config);
  const isRemote = remote !== undefined && isSameGateway(url, remote);
  const ours = [configuredParts(config), ...running.map((one) => one.url)];
  const isLocal = ours.some(({ host, port }) => isSameGateway(url, { ...url, host, port }));
  // The remote gateway may be on loopback, behind a forwarded port; where both claim it, the mode says which one is meant.
  if (isRemote && (!isLocal || config.settings["gateway.mode"] === "remote")) return "remote";
  return isLocal ? "local" : "other";
}
