/** The settings of ssh_config(5) that matter to us: how each is read. The others are left alone. */
import { configError } from "./ssh-config-syntax.ts";
import type { ConfigLine } from "./ssh-config-syntax.ts";

/** What a configuration says about one host. Tokens and `~` are not expanded yet. */
export interface HostSettings {
  readonly hostName?: string;
  readonly user?: string;
  readonly port?: number;
  readonly family?: "any" | 4 | 6;
  /** In the order of the file; `none` stands for no file at all. */
  readonly identityFiles?: readonly string[];
  readonly certificateFiles?: readonly string[];
  readonly identitiesOnly?: boolean;
  readonly identityAgent?: string;
  readonly proxy?: Proxy;
  readonly userKnownHostsFiles?: readonly string[];
  readonly globalKnownHostsFiles?: readonly string[];
  readonly hostKeyAlias?: string;
  readonly hashKnownHosts?: boolean;
  readonly strictHostKeyChecking?: "yes" | "ask" | "accept-new";
  readonly revokedHostKeys?: Located<string>;
  /** 0: none. */
  readonly serverAliveIntervalMs?: number;
  readonly connectTimeoutMs?: number;
  readonly batchMode?: boolean;
  readonly preferredAuthentications?: readonly string[];
  readonly publicKeys?: boolean;
  readonly passwords?: boolean;
  readonly keyboardInteractive?: boolean;
}

/** ProxyJump and ProxyCommand compete, so one setting holds both. */
interface Proxy {
  readonly jump?: string;
  readonly command?: Located<string>;
}

/** A value, and the line it stands in. */
export interface Located<T> {
  readonly value: T;
  readonly at: string;
}

type Read = (line: ConfigLine) => HostSettings;

const choices = {
  yes: true,
  true: true,
  no: false,
  false: false,
} as const;

/** By keyword. */
const readers: Readonly<Record<string, Read>> = {
  hostname: (line) => ({ hostName: one(line) }),
  user: (line) => ({ user: one(line) }),
  port: (line) => ({ port: port(line) }),
  addressfamily: (line) => ({ family: choice(line, { any: "any", inet: 4, inet6: 6 } as const) }),
  identityfile: (line) => ({ identityFiles: [one(line)] }),
  certificatefile: (line) => ({ certificateFiles: [one(line)] }),
  identitiesonly: (line) => ({ identitiesOnly: choice(line, choices) }),
  identityagent: (line) => ({ identityAgent: one(line) }),
  proxyjump: (line) => ({ proxy: { jump: line.rest.replace(/[ \t]*#.*$/, "") } }),
  proxycommand: (line) => ({ proxy: { command: { value: line.rest, at: line.at } } }),
  userknownhostsfile: (line) => ({ userKnownHostsFiles: several(line) }),
  globalknownhostsfile: (line) => ({ globalKnownHostsFiles: several(line) }),
  hostkeyalias: (line) => ({ hostKeyAlias: one(line).toLowerCase() }),
  hashknownhosts: (line) => ({ hashKnownHosts: choice(line, choices) }),
  // To accept a changed key is not on offer: "no" takes in unknown ones, as accept-new does.
  stricthostkeychecking: (line) => {
    const strictness = { yes: "yes", true: "yes", ask: "ask", "accept-new": "accept-new" } as const;
    const lenient = { no: "accept-new", false: "accept-new", off: "accept-new" } as const;
    return { strictHostKeyChecking: choice(line, { ...strictness, ...lenient }) };
  },
  revokedhostkeys: (line) => ({ revokedHostKeys: { value: one(line), at: line.at } }),
  serveraliveinterval: (line) => ({ serverAliveIntervalMs: duration(line) }),
  connecttimeout: (line) => (one(line) === "none" ? {} : { connectTimeoutMs: duration(line) }),
  batchmode: (line) => ({ batchMode: choice(line, choices) }),
  preferredauthentications: (line) => ({ preferredAuthentications: one(line).split(",") }),
  pubkeyauthentication: (line) => ({
    publicKeys: choice(line, { ...choices, unbound: true, "host-bound": true } as const),
  }),
  passwordauthentication: (line) => ({ passwords: choice(line, choices) }),
  kbdinteractiveauthentication: (line) => ({ keyboardInteractive: choice(line, choices) }),
  challengeresponseauthentication: (line) => ({ keyboardInteractive: choice(line, choices) }),
};

/** What one line sets; nothing when its keyword does not matter here. Throws `usage` with file and line for a value that cannot be. */
export function readSetting(line: ConfigLine): HostSettings {
  return Object.hasOwn(readers, line.keyword) ? (readers[line.keyword]?.(line) ?? {}) : {};
}

const limits = new Set(["ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms"]);

/** Whether a line says which algorithms may be used, which whoever wrote it relies on and we do not follow. */
export function isLimit({ keyword }: ConfigLine): boolean {
  return limits.has(keyword);
}

/** Adds what a later line says: the first value wins, identity files and certificates add up. */
export function mergeSettings(earlier: HostSettings, later: HostSettings): HostSettings {
  const { identityFiles, certificateFiles, proxy } = later;
  return {
    ...later,
    ...earlier,
    ...(identityFiles && { identityFiles: union(earlier.identityFiles, identityFiles) }),
    ...(certificateFiles && { certificateFiles: union(earlier.certificateFiles, certificateFiles) }),
    ...(proxy && { proxy: mergeProxies(earlier.proxy, proxy) }),
  };
}

/** Whichever is named first holds; only a jump of `none` lets a later command in. */
function mergeProxies(earlier: Proxy | undefined, later: Proxy): Proxy {
  if (earlier === undefined) return later;
  const isFree = earlier.command === undefined && (earlier.jump === undefined || isNone(earlier.jump));
  return isFree && later.command !== undefined ? { ...earlier, command: later.command } : earlier;
}

/** OpenSSH's word for "not at all". */
export function isNone(value: string): boolean {
  return value.toLowerCase() === "none";
}

function union(earlier: readonly string[] = [], later: readonly string[]): string[] {
  return [...new Set([...earlier, ...later])];
}

function one({ at, keyword, words }: ConfigLine): string {
  const [word = ""] = words;
  if (word === "") throw configError(at, `${keyword} has no argument`);
  if (words.length > 1) throw configError(at, `${keyword} takes one argument, not ${words.length}`);
  return word;
}

function several({ at, keyword, words }: ConfigLine): readonly string[] {
  if (words.length === 0 || words.includes("")) throw configError(at, `${keyword} has an empty argument`);
  if (words.length > 1 && words.some(isNone)) throw configError(at, `"none" of ${keyword} must stand alone`);
  return words;
}

function choice<T extends string | number | boolean>(line: ConfigLine, values: Readonly<Record<string, T>>): T {
  const word = one(line);
  const value = Object.hasOwn(values, word.toLowerCase()) ? values[word.toLowerCase()] : undefined;
  if (value !== undefined) return value;
  throw configError(line.at, `${line.keyword} cannot be "${word}"`, `one of ${Object.keys(values).join(", ")}`);
}

function port(line: ConfigLine): number {
  const word = one(line);
  const number = /^\d{1,5}$/.test(word) ? Number(word) : 0;
  if (number < 1 || number > 65_535) throw configError(line.at, `"${word}" is not a port`);
  return number;
}

/** Seconds, or times like `1h30m` (sshd_config(5), TIME FORMATS), in milliseconds. */
function duration(line: ConfigLine): number {
  const word = one(line);
  const unitsMs: Readonly<Record<string, number>> = { "": 1, s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };
  if (!/^(?:\d{1,9}[smhdw]?)+$/i.test(word)) throw configError(line.at, `"${word}" is not a time`);
  const parts = [...word.toLowerCase().matchAll(/(\d+)([smhdw]?)/g)];
  return 1000 * parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (unitsMs[unit] ?? 1), 0);
}
