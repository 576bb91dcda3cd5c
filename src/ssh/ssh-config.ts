/** What an ssh_config says about one host (ssh_config(5)): a pure evaluation of its lines. */
import { isIP } from "node:net";
import { matchesPatterns } from "./pattern.ts";
import { isLimit, mergeSettings, readSetting } from "./ssh-config-settings.ts";
import type { HostSettings } from "./ssh-config-settings.ts";
import { configError } from "./ssh-config-syntax.ts";
import type { ConfigFile, ConfigLine } from "./ssh-config-syntax.ts";

/** Whom the configuration is asked about. A user and a port that are given beat what it says. */
export interface HostQuery {
  /** As a person wrote it. */
  readonly host: string;
  readonly user?: string;
  readonly port?: number;
  /** Who asks. */
  readonly localUser: string;
}

/** What is known of a host once the configuration was asked. */
export interface HostConfig extends HostSettings {
  /** As a person wrote it. */
  readonly host: string;
  /** What to dial. */
  readonly hostName: string;
  readonly user: string;
  /** Lines that were passed over, and why. */
  readonly notes: readonly string[];
}

/**
 * Asks the configuration about a host, as OpenSSH does: the first value of each setting wins, and `Match final` makes it start a second
 * time with the name that is really dialled. Throws `usage` with file and line for what cannot be read, in whatever block it stands.
 */
export function settingsFor(files: readonly ConfigFile[], query: HostQuery): HostConfig {
  const { user, port, host, localUser } = query;
  const given = { ...(user === undefined ? {} : { user }), ...(port === undefined ? {} : { port }) };
  const first = new Evaluation({ host, originalHost: host, localUser, isFinal: false }, given);
  first.read(files);
  const hostName = lowerName(dialled(host, first.settings.hostName));
  const facts = { host: hostName, originalHost: host, localUser, isFinal: true };
  const last = first.wantsFinal ? new Evaluation(facts, { ...first.settings, hostName: "%h" }) : first;
  if (last !== first) last.read(files);
  return {
    ...last.settings,
    host,
    hostName,
    user: last.settings.user ?? localUser,
    notes: [...new Set([...first.notes, ...last.notes])],
  };
}

interface Facts {
  /** What `Host` and, until a HostName is known, `Match host` look at. */
  readonly host: string;
  readonly originalHost: string;
  readonly localUser: string;
  readonly isFinal: boolean;
}

/** One pass over the files. */
class Evaluation {
  settings: HostSettings;
  /** Some `Match final` was met. */
  wantsFinal = false;
  readonly notes: string[] = [];
  readonly #facts: Facts;

  constructor(facts: Facts, settings: HostSettings) {
    this.#facts = facts;
    this.settings = settings;
  }

  read(files: readonly ConfigFile[]): void {
    for (const file of files) this.#readFile(file, true);
  }

  /** Files that are included in a block hold for that block only; a block that they open ends with them. */
  #readFile({ lines }: ConfigFile, isWanted: boolean): void {
    let isActive = isWanted;
    for (const line of lines) {
      if (line.keyword === "host") isActive = this.#isHost(line) && isWanted;
      else if (line.keyword === "match") isActive = this.#isMatch(line) && isWanted;
      else if (line.keyword === "include") for (const file of line.included ?? []) this.#readFile(file, isActive);
      else {
        const setting = readSetting(line);
        if (isActive) this.settings = mergeSettings(this.settings, setting);
        if (isActive && isLimit(line))
          this.notes.push(`${line.at}: ${line.keyword} is not looked at: the algorithms are this tool's own choice`);
      }
    }
  }

  #isHost({ at, words }: ConfigLine): boolean {
    if (words.length === 0 || words.includes("")) throw configError(at, "host has an empty pattern");
    return matchesPatterns(words, this.#facts.host);
  }

  #isMatch({ at, rest }: ConfigLine): boolean {
    const words = matchWords(rest);
    if (words.length === 0) throw configError(at, "match has no condition");
    let matches = true;
    let unasked: string | undefined;
    for (let index = 0; index < words.length; index++) {
      const word = words[index] ?? "";
      const isNegated = word.startsWith("!");
      const criterion = word.slice(isNegated ? 1 : 0).toLowerCase();
      if (criterion === "all") {
        if (index > 1 || words.length > index + 1) throw configError(at, '"all" of match must stand alone');
        return matches && !isNegated;
      }
      if (criterion === "final" || criterion === "canonical") {
        if (criterion === "final") this.wantsFinal = true;
        if (this.#facts.isFinal === isNegated) matches = false;
        continue;
      }
      const argument = words[++index];
      if (argument === undefined) throw configError(at, `"${criterion}" of match has no argument`);
      const isMet = this.#meets(criterion, argument);
      if (isMet === undefined) unasked ??= criterion;
      else if (isMet === isNegated) matches = false;
    }
    if (unasked === undefined || !matches) return matches;
    this.notes.push(`${at}: "${unasked}" is not looked at, so the block is left out`);
    return false;
  }

  /** Undefined when it cannot be told: what only running a command would tell, and what newer versions ask for. */
  #meets(criterion: string, argument: string): boolean | undefined {
    const { host, originalHost, localUser } = this.#facts;
    const { hostName, user = localUser } = this.settings;
    const patterns = argument.split(",");
    switch (criterion) {
      case "host":
        return matchesName(argument, dialled(host, hostName));
      case "originalhost":
        return matchesName(argument, originalHost);
      case "user":
        return matchesPatterns(patterns, user);
      case "localuser":
        return matchesPatterns(patterns, localUser);
      default:
        return undefined;
    }
  }
}

/** The words of a `Match` line: between blanks or one `=`, in double quotes, up to a comment. */
function matchWords(rest: string): string[] {
  const words: string[] = [];
  for (const [, quoted, plain] of rest.matchAll(/(?:[ \t]*=)?[ \t]*(?:"([^"]*)"|([^ \t="]+))/g)) {
    if (plain?.startsWith("#") === true) break;
    words.push(quoted ?? plain ?? "");
  }
  return words;
}

function matchesName(patterns: string, name: string): boolean {
  return matchesPatterns(patterns.toLowerCase().split(","), name.toLowerCase());
}

/** HostName may hold the name it replaces (`%h`), and nothing else. */
function dialled(host: string, hostName = "%h"): string {
  return hostName.replaceAll(/%(.?)/g, (token, letter: string) => {
    if (letter === "h") return host;
    if (letter === "%") return "%";
    throw configError("HostName", `"${token}" of "${hostName}" is not known here; %h and %% are`);
  });
}

function lowerName(host: string): string {
  return isIP(host) === 0 ? host.toLowerCase() : host;
}
