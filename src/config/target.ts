/** Which gateway a command talks to, and with what. One place decides for every command; `auth explain` prints what it found. */
import { isIP } from "node:net";
import { OpenClawError } from "../errors.ts";
import { Secret } from "../secret.ts";
import { isLoopbackHost } from "./address.ts";
import { type CredentialCandidate, type CredentialSource, type GatewayChoice, rankCredentials } from "./credentials.ts";
import { type Environment, read } from "./environment.ts";
import {
  checkedPort,
  defaultPort,
  formatGatewayUrl,
  formatOrigin,
  type GatewayUrl,
  gatewayUrlOf,
  isSameGateway,
  parseGatewayUrl,
} from "./gateway-url.ts";
import { environmentHeaders, type Header, mergeHeaders, parseHeader } from "./headers.ts";
import type { Config } from "./resolve.ts";
import { type Input, readSecretFile, readSecretFileIfThere } from "./secret-file.ts";
import { parseFingerprint } from "./tls-fingerprint.ts";

/** The target options, as typed. */
export interface TargetFlags {
  readonly url?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | number | undefined;
  readonly tls?: boolean | undefined;
  readonly contextPath?: string | undefined;
  readonly tlsFingerprint?: string | undefined;
  readonly token?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly password?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly header?: readonly string[] | undefined;
  readonly noAuthHeader?: boolean | undefined;
  readonly insecureWs?: boolean | undefined;
}

export interface TargetChoices {
  readonly flags: TargetFlags;
  readonly env: Environment;
  readonly config: Config;
  /** For `--token-file -`. */
  readonly stdin?: Input | undefined;
  /** Looks up the token that this device holds for the gateway at an origin. */
  readonly deviceToken?: ((origin: string) => Promise<StoredToken | undefined>) | undefined;
  /** Ports at which this machine's own gateway is known to run, besides the configured one. */
  readonly runningPorts?: readonly number[] | undefined;
}

export interface StoredToken {
  readonly value: Secret;
  readonly path: string;
}

export interface Target {
  /** `ws(s)://host:port/path`, the port always written. */
  readonly url: string;
  /** The same without the path: what stored device tokens are filed under. */
  readonly origin: string;
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Whether it is one of the gateways that the configuration knows. */
  readonly gateway: GatewayChoice;
  /** The flag, variable or setting that named it. */
  readonly chosenBy: string;
  readonly headers: readonly Header[];
  /** Lower-case hex SHA-256 of the only certificate to accept. */
  readonly tlsFingerprint?: string;
  /** False: no `Authorization` on the upgrade, since somebody on the way uses it. */
  readonly sendAuthHeader: boolean;
  readonly insecureWs: boolean;
  /** Every credential found, the strongest first, whether it is used or not. */
  readonly credentials: readonly CredentialSource[];
}

/** Gathers and decides. What is contradictory, malformed or unreadable is `usage`. */
export async function resolveTarget(choices: TargetChoices): Promise<Target> {
  const { flags, env, config } = choices;
  const { url, chosenBy } = chooseUrl(choices);
  const gateway = recognise(url, choices);
  const origin = formatOrigin(url);
  const candidates = [
    ...(await flagCredentials(choices)),
    ...environmentCredentials(env),
    ...(await deviceCredentials(choices, origin)),
    ...configCredentials(config),
    ...(gateway === "local" ? await tokenFileCredentials(config) : []),
  ];
  return {
    url: formatGatewayUrl(url),
    origin,
    ...url,
    gateway,
    chosenBy,
    headers: chooseHeaders(choices, gateway),
    ...chooseFingerprint(choices, url, gateway),
    sendAuthHeader: flags.noAuthHeader !== true,
    insecureWs: flags.insecureWs === true,
    credentials: rankCredentials(candidates, { gateway, localAuthMode: config.settings["gateway.auth.mode"] }),
  };
}

/** `insecure-transport` when a credential or a header would cross a network unencrypted and nobody allowed it. */
export function assertSafeTransport(
  target: Pick<Target, "tls" | "host" | "url" | "insecureWs" | "headers" | "credentials">,
): void {
  if (target.tls || target.insecureWs || isLoopbackHost(target.host)) return;
  const credential = target.credentials.find(({ used }) => used);
  const [header] = target.headers;
  if (credential === undefined && header === undefined) return;
  const what =
    credential === undefined ? `the header ${header?.[0]}` : `the ${credential.kind} from ${credential.name}`;
  throw new OpenClawError("insecure-transport", `${what} would cross the network unencrypted to ${target.url}`, {
    hint: "use wss:// (--tls), or a tunnel (openclaw tunnel open); --insecure-ws sends it all the same",
    details: { url: target.url },
  });
}

interface ChosenUrl {
  readonly url: GatewayUrl;
  readonly chosenBy: string;
}

function chooseUrl({ flags, env, config }: TargetChoices): ChosenUrl {
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
  if (firstPart !== undefined) return { url: urlFromParts(flags, config), chosenBy: firstPart };
  const fromEnvironment = read(env, "OPENCLAW_GATEWAY_URL");
  if (fromEnvironment !== undefined) {
    return { url: parseGatewayUrl(fromEnvironment, "OPENCLAW_GATEWAY_URL"), chosenBy: "OPENCLAW_GATEWAY_URL" };
  }
  return configuredUrl(config);
}

function urlFromParts({ host, port, tls, contextPath }: TargetFlags, config: Config): GatewayUrl {
  if (host === undefined) {
    const local = { ...localUrl(config), ...(tls === undefined ? {} : { tls }) };
    return gatewayUrlOf({ ...local, port: port ?? local.port, contextPath });
  }
  return gatewayUrlOf({ host, port: port ?? defaultPort, tls: tls ?? false, contextPath });
}

function configuredUrl(config: Config): ChosenUrl {
  if (config.settings["gateway.mode"] !== "remote") return { url: localUrl(config), chosenBy: "gateway.port" };
  const remote = remoteUrl(config);
  if (remote !== undefined) return { url: remote, chosenBy: "gateway.remote.url" };
  throw new OpenClawError("usage", "gateway.mode is remote, and gateway.remote.url is not set", {
    hint: "name the gateway, or give --url",
    fix: "openclaw config set gateway.remote.url wss://host:port",
  });
}

/** This machine's gateway, at an address where it listens. */
function localUrl({ settings }: Config): GatewayUrl {
  const bind = settings["gateway.bind"];
  const bound = bind === "custom" ? settings["gateway.customBindHost"] : bind;
  // A gateway on all addresses is on loopback too; so is one on an address that only it knows, such as the tailnet's.
  const host = bound === undefined || isIP(bound) === 0 || /^(0\.0\.0\.0|::)$/.test(bound) ? "127.0.0.1" : bound;
  return gatewayUrlOf({
    host,
    port: checkedPort(settings["gateway.port"], "gateway.port"),
    tls: settings["gateway.tls.enabled"],
  });
}

function remoteUrl({ settings }: Config): GatewayUrl | undefined {
  const text = settings["gateway.remote.url"];
  return text === undefined ? undefined : parseGatewayUrl(text, "gateway.remote.url");
}

/** Whether the address, however it was named, is that of a gateway the configuration knows. */
function recognise(url: GatewayUrl, { config, runningPorts = [] }: TargetChoices): GatewayChoice {
  const remote = remoteUrl(config);
  // Through a forwarded port the remote gateway may be on loopback; where both claim a port, the mode says which is meant.
  const isRemote = remote !== undefined && isSameGateway(url, remote);
  if (isRemote && config.settings["gateway.mode"] === "remote") return "remote";
  const isLocal = isSameGateway(url, localUrl(config)) || (isLoopbackHost(url.host) && runningPorts.includes(url.port));
  if (isLocal) return "local";
  return isRemote ? "remote" : "other";
}

async function flagCredentials({ flags, stdin }: TargetChoices): Promise<CredentialCandidate[]> {
  if (flags.tokenFile === "-" && flags.passwordFile === "-") {
    throw new OpenClawError("usage", "--token-file and --password-file cannot both read standard input", {
      hint: "name a file for one of them",
    });
  }
  const token = await flagSecret("--token", flags.token, flags.tokenFile, stdin);
  const password = await flagSecret("--password", flags.password, flags.passwordFile, stdin);
  return [
    ...(token === undefined ? [] : [{ kind: "token" as const, from: "flag" as const, ...token }]),
    ...(password === undefined ? [] : [{ kind: "password" as const, from: "flag" as const, ...password }]),
  ];
}

async function flagSecret(
  name: string,
  given: string | undefined,
  file: string | undefined,
  stdin: Input | undefined,
): Promise<Pick<CredentialCandidate, "name" | "path" | "value"> | undefined> {
  if (given !== undefined && file !== undefined) {
    throw new OpenClawError("usage", `${name} and ${name}-file contradict each other`, { hint: `keep ${name}-file` });
  }
  if (given === "") throw new OpenClawError("usage", `${name} is empty`, { hint: `use ${name}-file` });
  if (given !== undefined) return { name, value: usable(new Secret(given), name) };
  if (file === undefined) return undefined;
  const value = usable(await readSecretFile(file, stdin, `${name}-file`), `${name}-file`);
  return { name: `${name}-file`, ...(file === "-" ? {} : { path: file }), value };
}

function environmentCredentials(env: Environment): CredentialCandidate[] {
  const variables = { token: "OPENCLAW_GATEWAY_TOKEN", password: "OPENCLAW_GATEWAY_PASSWORD" } as const;
  return (["token", "password"] as const).flatMap((kind): CredentialCandidate[] => {
    const name = variables[kind];
    const value = read(env, name);
    return value === undefined ? [] : [{ kind, from: "env", name, value: usable(new Secret(value), name) }];
  });
}

async function deviceCredentials({ deviceToken }: TargetChoices, origin: string): Promise<CredentialCandidate[]> {
  const stored = await deviceToken?.(origin);
  return stored === undefined ? [] : [{ kind: "device-token", from: "device", name: "this device's token", ...stored }];
}

/** What the files hold for the local and the remote gateway. Variables that override these keys were taken already. */
function configCredentials(config: Config): CredentialCandidate[] {
  const keys = [
    ["gateway.remote.token", "token", "remote"],
    ["gateway.remote.password", "password", "remote"],
    ["gateway.auth.token", "token", "local"],
    ["gateway.auth.password", "password", "local"],
  ] as const;
  return keys.flatMap(([name, kind, belongsTo]) =>
    config.sources(name).flatMap(({ value, origin }): CredentialCandidate[] => {
      if (origin.from !== "toolkit-config" && origin.from !== "product-config") return [];
      return [{ kind, from: origin.from, name, path: origin.path, value: usable(value, name), belongsTo }];
    }),
  );
}

/** The token that our own gateway made for itself. */
async function tokenFileCredentials({ paths }: Config): Promise<CredentialCandidate[]> {
  const value = await readSecretFileIfThere(paths.gatewayToken, "the gateway's token");
  if (value === undefined) return [];
  const name = "the gateway's token file";
  return [
    {
      kind: "token",
      from: "token-file",
      name,
      path: paths.gatewayToken,
      value: usable(value, name),
      belongsTo: "local",
    },
  ];
}

/** A secret travels in a header: control characters would end it early (RFC 9110 § 5.5). */
function usable(value: Secret, name: string): Secret {
  if (!/\p{Cc}/u.test(value.reveal())) return value;
  throw new OpenClawError("usage", `${name} has line breaks or control characters in it`, {
    hint: "keep only the secret itself, on one line",
  });
}

function chooseHeaders({ flags, env, config }: TargetChoices, gateway: GatewayChoice): readonly Header[] {
  const configured = config.settings["gateway.mode"] === "remote" ? "remote" : "local";
  return mergeHeaders(
    (flags.header ?? []).map((line) => parseHeader(line, "--header")),
    environmentHeaders(env),
    gateway === configured ? (config.settings.headers ?? []) : [],
  );
}

function chooseFingerprint({ flags, config }: TargetChoices, url: GatewayUrl, gateway: GatewayChoice) {
  if (flags.tlsFingerprint !== undefined) {
    if (url.tls) return { tlsFingerprint: parseFingerprint(flags.tlsFingerprint, "--tls-fingerprint") };
    throw new OpenClawError("usage", "--tls-fingerprint needs a gateway with TLS", {
      hint: "write wss://, or add --tls",
    });
  }
  const pinned = config.settings["gateway.remote.tlsFingerprint"];
  if (pinned === undefined || gateway !== "remote" || !url.tls) return {};
  return { tlsFingerprint: parseFingerprint(pinned, "gateway.remote.tlsFingerprint") };
}
