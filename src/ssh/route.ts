/** The way to a destination: what the command line gives, what the SSH configuration says, and the jump hosts between. */
import { join } from "node:path";
import { OpenClawError, isFailure } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { SshHop, SshOptions } from "./connect.ts";
import { authMethods, Credentials } from "./credentials.ts";
import type { AuthMethod, CredentialOptions } from "./credentials.ts";
import { formatDestination, parseDestination } from "./destination.ts";
import type { Destination } from "./destination.ts";
import { systemKnownHosts } from "./host-keys.ts";
import type { HostKeyOptions, KnownHostsFiles } from "./host-keys.ts";
import { settingsFor } from "./ssh-config.ts";
import type { HostConfig } from "./ssh-config.ts";
import { isNone } from "./ssh-config-settings.ts";
import { configError } from "./ssh-config-syntax.ts";
import type { ConfigFile } from "./ssh-config-syntax.ts";
import { expandPath } from "./ssh-config-tokens.ts";
import type { LocalFacts } from "./ssh-config-tokens.ts";

/** What beats the configuration, and who answers questions. */
export interface GivenSsh extends Pick<CredentialOptions, "askPassphrase" | "askAnswer" | "identityFiles"> {
  /** `-J`: destinations separated by commas, or `none`. */
  readonly jump?: string;
  readonly knownHosts?: string;
  readonly hostKeyPolicy?: HostKeyOptions["policy"];
  /** Of the destination's key. Jump hosts are looked up in known_hosts all the same. */
  readonly fingerprint?: string;
  /** For the destination alone: a jump host must not learn it. */
  readonly password?: Secret;
  readonly passphrase?: Secret;
  readonly keepaliveMs?: number;
  readonly askHostKey?: HostKeyOptions["askHostKey"];
}

export interface RouteOptions {
  readonly config: readonly ConfigFile[];
  readonly local: LocalFacts;
  readonly given: GivenSsh;
}

export interface Route {
  readonly ssh: SshOptions;
  /** Lines of the configuration that were passed over, and why. */
  readonly notes: readonly string[];
}

const maxHops = 16;

/**
 * Finds the way. Throws `usage`, with file and line where there is one, for what cannot be read or is not supported: a ProxyCommand,
 * RevokedHostKeys, jump hosts that lead in circles.
 */
export function planRoute(destination: Destination, { config, local, given }: RouteOptions): Route {
  const ask = ({ user, host, port }: Destination) =>
    settingsFor(config, {
      host,
      localUser: local.user,
      ...(user === undefined ? {} : { user }),
      ...(port === undefined ? {} : { port }),
    });
  const hosts = hostsOnTheWay(destination, given.jump, ask, []);
  const last = hosts.at(-1) ?? ask(destination);
  const target = hopTo(last, local, given, undefined);
  const { password: _password, fingerprint: _fingerprint, ...forJumps } = given;
  const jumps = hosts.slice(0, -1).map((host) => hopTo(host, local, forJumps, target.credentials));
  const keepaliveMs = given.keepaliveMs ?? last.serverAliveIntervalMs ?? 0;
  const readyTimeoutMs = last.connectTimeoutMs ?? 0;
  return {
    ssh: {
      ...target,
      ...(jumps.length > 0 && { jumps }),
      ...(keepaliveMs > 0 && { keepaliveMs }),
      ...(readyTimeoutMs > 0 && { readyTimeoutMs }),
    },
    notes: [...new Set(hosts.flatMap(({ notes }) => notes))],
  };
}

/** Every server from the first to the destination. Of a chain, the first may have jump hosts of its own in the configuration (as ssh(1)). */
function hostsOnTheWay(
  destination: Destination,
  jump: string | undefined,
  ask: (destination: Destination) => HostConfig,
  passed: readonly string[],
): HostConfig[] {
  const host = ask(destination);
  const name = formatDestination(destination);
  if (passed.includes(name) || passed.length >= maxHops) {
    throw new OpenClawError("usage", `the jump hosts lead in a circle: ${[name, ...passed].join(" <- ")}`, {
      hint: `leave it out of the block that sets ProxyJump, as in: Host * !${destination.host}`,
    });
  }
  const via = jump ?? configuredJump(host);
  if (via === undefined || isNone(via)) return [host];
  const chain = via.split(",").map((text) => readJump(text, via));
  const before = chain.slice(0, -1).map(formatDestination).join(",");
  const [nearest] = chain.slice(-1);
  if (nearest === undefined) return [host];
  return [...hostsOnTheWay(nearest, before === "" ? undefined : before, ask, [name, ...passed]), host];
}

function readJump(text: string, chain: string): Destination {
  try {
    return parseDestination(text.trim());
  } catch (cause) {
    if (!isFailure(cause)) throw cause;
    throw new OpenClawError("usage", `in the jump hosts "${chain}": ${cause.message}`, { hint: cause.hint, cause });
  }
}

/** A configuration file must not run programs here; the one that is nearly always meant has a better name. */
function configuredJump({ proxy: { jump, command } = {} }: HostConfig): string | undefined {
  if (command === undefined || isNone(command.value)) return jump;
  const ssh = /^(?:\S*\/)?ssh\s+(?:(?<before>\S+)\s+-W|-W)\s+\S*%h\S*(?:\s+(?<after>\S+))?\s*$/.exec(command.value);
  const { before, after } = ssh?.groups ?? {};
  const problem = "ProxyCommand is not supported: no program is run from a configuration file";
  throw configError(command.at, problem, useJump(before ?? after));
}

function useJump(host: string | undefined): string {
  return host === undefined
    ? "use ProxyJump, or -J on the command line"
    : `write "ProxyJump ${host}" in its place, or give -J ${host}`;
}

function hopTo(host: HostConfig, local: LocalFacts, given: GivenSsh, kin: Credentials | undefined): SshHop {
  return {
    host: host.hostName,
    user: host.user,
    ...(host.port === undefined ? {} : { port: host.port }),
    ...(host.family === 4 || host.family === 6 ? { family: host.family } : {}),
    hostKeys: hostKeysOf(host, local, given),
    credentials: new Credentials(credentialsOf(host, local, given), kin),
  };
}

function hostKeysOf(host: HostConfig, local: LocalFacts, given: GivenSsh): HostKeyOptions {
  const { strictHostKeyChecking, hostKeyAlias, hashKnownHosts, revokedHostKeys } = host;
  if (revokedHostKeys !== undefined && !isNone(revokedHostKeys.value)) {
    const instead = "put the keys into known_hosts, each on a line that begins with @revoked *";
    throw configError(revokedHostKeys.at, "RevokedHostKeys is not supported", instead);
  }
  const mayAsk = host.batchMode !== true && strictHostKeyChecking !== "yes";
  return {
    files: knownHostsOf(host, local, given.knownHosts),
    policy: given.hostKeyPolicy ?? (strictHostKeyChecking === "accept-new" ? "accept-new" : "strict"),
    ...(given.fingerprint === undefined ? {} : { fingerprint: given.fingerprint }),
    ...(hostKeyAlias === undefined ? {} : { alias: hostKeyAlias }),
    ...(hashKnownHosts === undefined ? {} : { hashesNames: hashKnownHosts }),
    askHostKey: mayAsk ? given.askHostKey : undefined,
  };
}

function knownHostsOf(host: HostConfig, local: LocalFacts, given: string | undefined): KnownHostsFiles {
  if (given !== undefined) return { read: [given], append: given };
  const expand = (paths: readonly string[]) =>
    paths.filter((path) => !isNone(path)).map((path) => expandPath(path, host, local));
  const own = ["known_hosts", "known_hosts2"].map((name) => join(local.home, ".ssh", name));
  const users = host.userKnownHostsFiles === undefined ? own : expand(host.userKnownHostsFiles);
  const everybodys = host.globalKnownHostsFiles === undefined ? systemKnownHosts : expand(host.globalKnownHostsFiles);
  const [append] = users;
  return { read: [...users, ...everybodys], ...(append !== undefined && { append }) };
}

function credentialsOf(host: HostConfig, local: LocalFacts, given: GivenSsh): CredentialOptions {
  const { identityFiles, certificateFiles, identitiesOnly, batchMode = false } = host;
  const expand = (paths: readonly string[]) =>
    paths.filter((path) => !isNone(path)).map((path) => expandPath(path, host, local));
  const agentSocket = agentOf(host, local);
  return {
    home: local.home,
    methods: methodsOf(host),
    ...(agentSocket === undefined ? {} : { agentSocket }),
    ...(given.identityFiles === undefined ? {} : { identityFiles: given.identityFiles }),
    ...(identityFiles === undefined ? {} : { configuredFiles: expand(identityFiles) }),
    ...(certificateFiles === undefined ? {} : { certificateFiles: expand(certificateFiles) }),
    ...(identitiesOnly === undefined ? {} : { identitiesOnly }),
    ...(given.password === undefined ? {} : { password: given.password }),
    ...(given.passphrase === undefined ? {} : { passphrase: given.passphrase }),
    ...(batchMode ? {} : { askPassphrase: given.askPassphrase, askAnswer: given.askAnswer }),
  };
}

function agentOf(host: HostConfig, local: LocalFacts): string | undefined {
  const { identityAgent = "SSH_AUTH_SOCK" } = host;
  if (isNone(identityAgent)) return undefined;
  if (identityAgent === "SSH_AUTH_SOCK") return local.env["SSH_AUTH_SOCK"];
  if (/^\$\w+$/.test(identityAgent)) return local.env[identityAgent.slice(1)];
  return expandPath(identityAgent, host, local);
}

function methodsOf(host: HostConfig): AuthMethod[] {
  const { preferredAuthentications = authMethods, publicKeys, passwords, keyboardInteractive } = host;
  const allowed = { publickey: publicKeys, password: passwords, "keyboard-interactive": keyboardInteractive };
  const known = preferredAuthentications.flatMap((name) => authMethods.find((method) => method === name) ?? []);
  return known.filter((method) => allowed[method] !== false);
}
