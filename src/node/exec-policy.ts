/** May this program run here? Pure: the edge finds the program and the policy, this file answers. */
import { basename, isAbsolute, sep } from "node:path";

/** From the strictest to the laxest. */
export const execSecurities = ["deny", "allowlist", "full"] as const;
export type ExecSecurity = (typeof execSecurities)[number];

/** From the strictest to the laxest. Nobody sits at a headless node, so what would be asked is denied. */
export const execAsks = ["always", "on-miss", "off"] as const;
type ExecAsk = (typeof execAsks)[number];

export interface ExecPolicy {
  readonly security: ExecSecurity;
  readonly ask: ExecAsk;
  /** Program names and absolute paths, `*`, `?` and `**` allowed, the directories in them free of symbolic links. */
  readonly allowlist: readonly string[];
}

/** Where the first word of a command leads on this machine. */
export interface FoundProgram {
  /** Absolute path as the caller named it, or as the node's own PATH gave it. */
  readonly asked: string;
  /** The same file with every symbolic link in its directory followed; its last name may still be one. */
  readonly path: string;
  /** The file itself, with that last link followed too. */
  readonly realPath: string;
  /** True when the node's own PATH finds this very file under this name. */
  readonly onPath: boolean;
}

export interface ExecRequest {
  /** Undefined when there is no such file. */
  readonly program: FoundProgram | undefined;
  /** Names of the variables the caller wants to set. */
  readonly envNames: readonly string[];
}

type ExecDenialReason = "security=deny" | "approval-required" | "allowlist-miss" | "env-override";

export type ExecDecision =
  | { readonly ok: true; readonly by: "full" }
  /** `path` is what matched `pattern`, and the only path that may be started. */
  | { readonly ok: true; readonly by: "allowlist"; readonly pattern: string; readonly path: string }
  | { readonly ok: false; readonly reason: ExecDenialReason; readonly envNames?: readonly string[] };

/** The one place that says what a node runs. Total: every policy answers every request. */
export function decideExec(policy: ExecPolicy, request: ExecRequest): ExecDecision {
  if (policy.security === "deny") return { ok: false, reason: "security=deny" };
  if (policy.ask === "always") return { ok: false, reason: "approval-required" };
  if (policy.security === "full") return { ok: true, by: "full" };
  const match = findMatch(policy.allowlist, request.program);
  if (match === undefined) {
    return { ok: false, reason: policy.ask === "on-miss" ? "approval-required" : "allowlist-miss" };
  }
  const envNames = request.envNames.filter(changesWhatRuns);
  return envNames.length > 0
    ? { ok: false, reason: "env-override", envNames }
    : { ok: true, by: "allowlist", ...match };
}

/**
 * True when `pattern` covers the absolute path `path`. `*` and `?` stay inside one name, `**` as a whole name stands
 * for any number of directories, none included. A pattern that is a bare name or a relative path covers nothing.
 */
export function coversPath(pattern: string, path: string): boolean {
  if (!isAbsolute(pattern) || !isAbsolute(path)) return false;
  const isAnyDepth = (name: string) => name === "**";
  return matchesSequence(pattern.split(sep), path.split(sep), isAnyDepth, coversName);
}

/** True when `pattern` covers one file name: `*` for any run of characters, `?` for one, all else literally. */
export function coversName(pattern: string, name: string): boolean {
  const isAny = (char: string) => char === "*";
  return matchesSequence([...pattern], [...name], isAny, (wanted, char) => wanted === "?" || wanted === char);
}

/** True when an allowlist entry is a path and not a bare program name. */
export function isPathPattern(pattern: string): boolean {
  return pattern.includes("/") || pattern.includes(sep);
}

/** True for a variable that can make an allowed program load or start something else, whatever its value. */
export function changesWhatRuns(name: string): boolean {
  const upper = name.toUpperCase(); // Windows ignores case, and some programs read the lower-case twin
  return refusedNames.has(upper) || refusedPrefix.test(upper) || refusedSuffix.test(upper);
}

/** The stricter of two values of the same ordered list; an absent one does not count. */
export function stricter<T>(order: readonly T[], one: T, other: T | undefined): T {
  return other !== undefined && order.indexOf(other) < order.indexOf(one) ? other : one;
}

/**
 * A listed path is compared with the directory entry the caller reaches (`path`) and with the file behind it (`realPath`),
 * never the file behind the *listed* path: where `ls` and `sh` are two links to one binary, listing one must not allow
 * the other. A listed name counts only for what the node's own PATH finds under it.
 */
function findMatch(
  allowlist: readonly string[],
  program: FoundProgram | undefined,
): { pattern: string; path: string } | undefined {
  if (program === undefined) return undefined;
  for (const pattern of allowlist) {
    if (!isPathPattern(pattern)) {
      if (program.onPath && coversName(pattern, basename(program.path))) return { pattern, path: program.path };
    } else if (coversPath(pattern, program.path)) return { pattern, path: program.path };
    else if (coversPath(pattern, program.realPath)) return { pattern, path: program.realPath };
  }
  return undefined;
}

/** Wildcard matching without backtracking beyond the last star, so no pattern costs more than pattern × text steps. */
function matchesSequence(
  pattern: readonly string[],
  text: readonly string[],
  isStar: (item: string) => boolean,
  covers: (wanted: string, item: string) => boolean,
): boolean {
  let at = 0;
  let afterStar = -1;
  let resumeAt = 0;
  for (let read = 0; read < text.length;) {
    const wanted = pattern[at];
    if (wanted !== undefined && isStar(wanted)) {
      afterStar = ++at;
      resumeAt = read;
    } else if (wanted !== undefined && covers(wanted, text[read] ?? "")) {
      at++;
      read++;
    } else if (afterStar !== -1) {
      at = afterStar;
      read = ++resumeAt;
    } else return false;
  }
  return pattern.slice(at).every(isStar);
}

/**
 * No such list is ever complete. It holds what loaders, shells, interpreters, version control and build tools are known
 * to obey, by name, by family, and by the endings under which programs look for code, options and other programs.
 */
const refusedNames = new Set(
  `AR AS BASHOPTS CC COMSPEC CPP CXX DISPLAY ENV GLIBC_TUNABLES IFS LD PATHEXT PROMPT_COMMAND PS4 SHELLOPTS SYSTEMROOT
  TERMCAP TERMINFO TERMINFO_DIRS TMPDIR USERPROFILE ZDOTDIR`.split(/\s+/u),
);
const refusedPrefix = startsWithOneOf(
  `ANSIBLE_ AWS_ BASH_ BUNDLE_ CARGO_ CF_ACCESS_ CLASSPATH CMAKE_ COR_ CORECLR_ CURL_ DOCKER_ DOTNET_ DYLD_ GCC_ GCONV_ GEM_
  GIT_ GO GRADLE_ GTK_ JAVA_ JDK_ KUBE LD_ LESS LUA_ MAKE MALLOC_ MAVEN_ NODE_ NPM_ OPENCLAW_ OPENSSL_ PERL PHP PIP_ PYTHON
  QT_ RUBY RUST R_ SSH_ SSL_ SUDO_ TF_ UV_ XDG_ YARN_ _JAVA_ _RLD`,
);
const refusedSuffix = endsWithOneOf(
  `ARGS ASKPASS BROWSER CMD COMMAND CONFIG EDITOR FLAGS HOME INIT OPT OPTIONS OPTS PAGER PATH PRELOAD RC RSH SHELL STARTUP VISUAL`,
);

function startsWithOneOf(words: string): RegExp {
  return new RegExp(`^(?:${words.split(/\s+/u).join("|")})`, "u");
}

function endsWithOneOf(words: string): RegExp {
  return new RegExp(`(?:${words.split(/\s+/u).join("|")})$`, "u");
}
