/** Gathers what the exec policy needs to know, and asks it. */
import { homedir } from "node:os";
import { isAbsolute, resolve } from "node:path";
import { OpenClawError } from "../../errors.ts";
import { type ApprovalsFile, policyFor, readApprovals } from "../exec-approvals.ts";
import { decideExec, type ExecDecision, type ExecPolicy, type ExecSecurity, isPathPattern } from "../exec-policy.ts";
import { expandHome, locateProgram, resolveAllowlist } from "./find-program.ts";
import { invalidRequest } from "./invoke.ts";

export interface ExecOptions {
  readonly approvals: ApprovalsFile;
  /** Set on this machine for this run: the approvals file, which a gateway may change, then counts for nothing. */
  readonly execPolicy?: ExecSecurity | undefined;
  /** Allowlist entries for this run, besides the file's (or alone, with `execPolicy`). */
  readonly allow?: readonly string[] | undefined;
  /** The directories programs are looked up in; `env.PATH` when absent. */
  readonly pathEnv?: string | undefined;
  /** The node's own environment: where children's comes from. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where commands run that name no directory; the node's own when absent. */
  readonly cwd?: string | undefined;
}

/** The options with every default filled in. */
export interface ExecSetting {
  readonly approvals: ApprovalsFile;
  readonly execPolicy: ExecSecurity | undefined;
  readonly allow: readonly string[];
  readonly pathEnv: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
}

export interface Admission {
  readonly decision: ExecDecision;
  /** What to start: absolute, or undefined when there is no such program. */
  readonly path: string | undefined;
}

export interface Attempt {
  readonly command: readonly string[];
  /** Absolute. */
  readonly cwd: string;
  readonly agentId?: string | null | undefined;
  readonly env?: Readonly<Record<string, string>> | null | undefined;
}

/** Fills in the defaults. Throws `usage` for an `allow` entry that could never match. */
export function settle({ approvals, execPolicy, allow = [], pathEnv, env, cwd }: ExecOptions): ExecSetting {
  const home = env["HOME"] || homedir();
  for (const entry of allow) checkEntry(entry, home);
  return {
    approvals,
    execPolicy,
    allow,
    pathEnv: pathEnv ?? env["PATH"] ?? fallbackPath,
    env,
    cwd: cwd ?? process.cwd(),
    home,
  };
}

/** The policy in force now, for one agent. Throws `state-unreadable`: without the file nothing is allowed. */
export async function policyInForce(setting: ExecSetting, agentId: string | undefined): Promise<ExecPolicy> {
  const { approvals, execPolicy, allow, home } = setting;
  const policy: ExecPolicy =
    execPolicy === undefined
      ? policyFor(await readApprovals(approvals), agentId)
      : { security: execPolicy, ask: "off", allowlist: [] };
  return { ...policy, allowlist: await resolveAllowlist([...policy.allowlist, ...allow], home) };
}

/** Finds the program and decides. Throws `state-unreadable`. */
export async function admit(setting: ExecSetting, attempt: Attempt): Promise<Admission> {
  const policy = await policyInForce(setting, attempt.agentId ?? undefined);
  const program = await locateProgram(attempt.command[0] ?? "", attempt.cwd, setting.pathEnv);
  const decision = decideExec(policy, { program, envNames: Object.keys(attempt.env ?? {}) });
  return { decision, path: decision.ok && decision.by === "allowlist" ? decision.path : program?.asked };
}

/** The directory a command runs in: absolute or under `~`; a relative one would depend on where the node was started. */
export function workingDirectory(cwd: string | null | undefined, setting: ExecSetting): string {
  if (cwd === null || cwd === undefined || cwd === "") return setting.cwd;
  const expanded = expandHome(cwd, setting.home);
  if (!isAbsolute(expanded)) throw invalidRequest(`cwd must be absolute or begin with ~/: ${cwd}`);
  return resolve(expanded);
}

/** Where programs are on a system that was told nothing. */
const fallbackPath = "/usr/local/bin:/usr/bin:/bin";

function checkEntry(entry: string, home: string): void {
  if (entry !== "" && (!isPathPattern(entry) || isAbsolute(expandHome(entry, home)))) return;
  throw new OpenClawError(
    "usage",
    `cannot allow ${JSON.stringify(entry)}: neither a program's name nor an absolute path`,
    {
      hint: "name the program, or give its whole path",
    },
  );
}
