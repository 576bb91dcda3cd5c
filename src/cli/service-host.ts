/** The services of ours on this machine: which manager keeps them, whose a file is, and how a node in one is doing. */
import { existsSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { isFailure, isFailureCode, OpenClawError } from "../errors.ts";
import { Launchd } from "../service/launchd.ts";
import { programsIn } from "../service/run-program.ts";
import type { ServiceManager, ServiceState } from "../service/service-manager.ts";
import { ownerOf, type ServiceOwner } from "../service/service-spec.ts";
import { lingers, Systemd, usualRuntimeDirectory } from "../service/systemd.ts";
import { readReport, type ReportFacts } from "../state/service-report.ts";
import { readTextFile } from "../store/atomic-file.ts";
import type { Context } from "./context.ts";
import type { NodeRequest } from "./node-options.ts";
import { envFileOf, finalExitCodes, reportPath } from "./service-node.ts";

/** A service as every command shows it. */
export interface ServiceView {
  readonly name: string;
  readonly manager: ServiceManager["kind"];
  readonly unit: string;
  readonly path: string;
  readonly envFile: string;
  /** Null where the manager cannot be asked. */
  readonly enabled: boolean | null;
  readonly active: boolean | null;
  readonly state: ServiceState["run"] | "unknown";
  readonly pid?: number;
  readonly lastEnd?: string;
  /** Whether it runs while its user is not logged in; absent where that is not known. */
  readonly lingers?: boolean;
}

/** How the node in a service is doing, as it says itself. */
export interface ServedNode {
  readonly state: string;
  readonly gateway?: string;
  readonly sinceMs?: number;
  readonly request?: NodeRequest;
  readonly failure?: ReportFacts["failure"];
}

/** A service may take 10 s to stop, and is heard of after it was started. */
const steeringMs = 30_000;

/** What keeps services on this machine, for a command that starts or stops some of them: it has 30 s unless `--timeout` says otherwise. */
export function steeredManager(context: Context): ServiceManager {
  context.extendTimeout(steeringMs);
  return serviceManager(context);
}

/** What keeps services on this machine, asked within the command's time. `no-service-manager` where we know none. */
export function serviceManager(context: Context): ServiceManager {
  const { env } = context.options;
  const home = env["HOME"] || homedir();
  const time = () => context.oneShotSignal;
  if (process.platform === "linux") {
    const uid = process.getuid?.() ?? 0;
    const runtimeDir = env["XDG_RUNTIME_DIR"] || usualRuntimeDirectory(uid);
    const seen = runtimeDir === undefined ? env : { ...env, XDG_RUNTIME_DIR: runtimeDir };
    const configHome = env["XDG_CONFIG_HOME"] || join(home, ".config");
    return new Systemd({ configHome, run: programsIn(seen, time), advice: systemdAdvice(env, uid) });
  }
  if (process.platform === "darwin") {
    return new Launchd({
      home,
      uid: process.getuid?.() ?? 0,
      run: programsIn(env, time),
      runtime: context.runtime,
      logOf: (name) => join(context.paths().logDir, `${name}.log`),
      advice: "log in at the machine's own screen as this user: agents live in a session there; --no-start only writes",
    });
  }
  throw new OpenClawError("no-service-manager", `openclaw keeps no services on this system (${process.platform})`, {
    hint: "have the Task Scheduler, or what starts programs here, start openclaw node run --environment-file <file>",
  });
}

function systemdAdvice(env: Context["options"]["env"], uid: number): string {
  const files = "--no-start only writes the files";
  const { SUDO_USER: person } = env;
  if (uid === 0 && person !== undefined) return `run this as ${person}, without sudo; ${files}`;
  if (!existsSync("/run/systemd/system")) {
    return `this system was not started by systemd: have what starts programs here (in a container, its command) start openclaw node run; ${files}`;
  }
  return `log in as this user, or keep its manager running without a login: loginctl enable-linger ${userName()}; ${files}`;
}

/** Who runs this, by name where the user database has one. */
export function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "<user>");
  }
}

/** `node`, or `node-<label>`: several gateways, several services. */
export function serviceName(label: string | undefined): string {
  if (label === undefined) return "node";
  if (/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/u.test(label)) return `node-${label}`;
  throw new OpenClawError("usage", `${JSON.stringify(label)} cannot be the name of a service`, {
    hint: "use up to 64 letters, digits, - and _, beginning with a letter or digit",
  });
}

/** The command that does this to the service (`start`, `restart`). */
export function commandFor(verb: string, name: string): string {
  return `openclaw node ${verb}${name === "node" ? "" : ` ${name.slice("node-".length)}`}`;
}

/** Who wrote the service's file: undefined where there is none. `conflict` where it is not ours, or of another state directory. */
export async function ownService(
  context: Context,
  manager: ServiceManager,
  name: string,
): Promise<ServiceOwner | undefined> {
  const { unit, path } = manager.unitOf(name);
  // To write through it would replace a file of somebody else's.
  const isLink = (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true;
  const text = isLink ? "" : await readTextFile(path);
  if (text === undefined) return undefined;
  const owner = ownerOf(text);
  if (owner === undefined) {
    throw new OpenClawError(
      "conflict",
      `${path} ${isLink ? "is a symbolic link, which openclaw node install never makes" : "was not written by openclaw node install"}; it stays as it is`,
      {
        hint: "move it away, or give the service a name of its own: openclaw node install <name>",
        details: { path, unit },
      },
    );
  }
  if (owner.stateDir === context.paths().stateDir) return owner;
  throw new OpenClawError("conflict", `${unit} is the service of another state directory, ${owner.stateDir}`, {
    hint: "give --state-dir of that one, or give the service a name of its own: openclaw node install <name>",
    details: { path, unit, stateDir: owner.stateDir },
  });
}

/** What is left of a service whose file somebody else removed: its secrets must not stay for ever. */
export function leftService(context: Context, name: string): ServiceOwner | undefined {
  const { stateDir } = context.paths();
  const envFile = envFileOf(context, name);
  return existsSync(envFile) ? { name, stateDir, envFile } : undefined;
}

/** The same for commands that need one: `not-found` where there is none. */
export async function requireService(context: Context, manager: ServiceManager, name: string): Promise<ServiceOwner> {
  const owner = await ownService(context, manager, name);
  if (owner !== undefined) return owner;
  const { unit, path } = manager.unitOf(name);
  throw new OpenClawError("not-found", `there is no service ${unit}`, {
    hint: "openclaw node status shows those there are; openclaw node install makes one",
    details: { unit, path },
  });
}

/** The names of this state directory's services. Files of others are passed over. */
export async function ownServices(context: Context, manager: ServiceManager): Promise<readonly ServiceOwner[]> {
  const found = await Promise.all(
    (await manager.names()).map((name) => ownService(context, manager, name).catch(() => undefined)),
  );
  return found.filter((owner) => owner !== undefined);
}

/** The service as it is now, or as it was in the state that is given. */
export async function viewService(
  manager: ServiceManager,
  owner: ServiceOwner,
  given?: ServiceState,
): Promise<ServiceView> {
  const state = given ?? (await manager.state(owner.name).catch(unlessInterrupted));
  const isRunning = state?.run === "running" || state?.run === "restarting";
  return {
    name: owner.name,
    manager: manager.kind,
    ...manager.unitOf(owner.name),
    envFile: owner.envFile,
    enabled: state?.enabled ?? null,
    active: state === undefined ? null : isRunning,
    state: state?.run ?? "unknown",
    ...(state?.pid === undefined ? {} : { pid: state.pid }),
    ...(state?.lastEnd === undefined ? {} : { lastEnd: state.lastEnd }),
    ...(manager.kind === "systemd" ? { lingers: lingers(userName()) } : {}),
  };
}

/** What cannot be asked is not known; who was asked to stop goes no further. */
function unlessInterrupted(error: unknown): undefined {
  if (!isFailure(error)) throw error;
}

/** What the node in the service said last; undefined where it never said anything. */
export async function servedNode(context: Context, name: string): Promise<ServedNode | undefined> {
  const report = await readReport(reportPath(context, name));
  return report === undefined ? undefined : nodeIn(report);
}

/** Milliseconds between two looks at a service that is starting. */
const lookMs = 100;

/** Milliseconds that a node is waited for, unless `--timeout` says otherwise. */
const settleMs = 10_000;

/** A service that was started, and how its node is doing. */
export interface StartedService {
  readonly node: ServedNode;
  readonly state: ServiceState;
}

/**
 * Waits until a node that was started at `sinceMs` or later is let in or waits for approval, for 10 s or until the command's time is used up;
 * whoever has waited so long gets the state of that moment. A node that ended is its own failure, and one that never began is `failed` with
 * its last lines.
 */
export async function settledNode(
  context: Context,
  manager: ServiceManager,
  name: string,
  sinceMs: number,
): Promise<StartedService> {
  const { runtime, timeoutGivenMs = settleMs, options, oneShotSignal: signal } = context;
  const path = reportPath(context, name);
  const begunMs = runtime.now();
  const freshReport = async () => {
    const report = await readReport(path);
    return report !== undefined && report.startedAtMs >= sinceMs ? report : undefined;
  };
  let state = await manager.state(name);
  for (;;) {
    // After the state: who was stopped when it was asked has said so before.
    const report = await freshReport();
    options.signal.throwIfAborted();
    const isLate = signal.aborted || runtime.now() - begunMs >= timeoutGivenMs;
    // Who has failed says so just before it ends.
    if (report?.failure !== undefined && (state.run !== "running" || isLate)) {
      throw failureOf(context, name, report.failure);
    }
    const hasSettled = report?.state === "ready" || report?.state === "pairing-required";
    if (report !== undefined && hasSettled) return { node: nodeIn(report), state };
    if (state.run !== "running") throw await silentEnd(manager, name, state);
    if (isLate) return { node: report === undefined ? { state: "starting" } : nodeIn(report), state };
    await inTime(context, runtime.sleep(lookMs, signal));
    state = (await inTime(context, manager.state(name))) ?? state;
  }
}

/** What comes of it; undefined when the command's time is used up first. */
async function inTime<T>({ oneShotSignal, options }: Context, action: Promise<T>): Promise<T | undefined> {
  try {
    return await action;
  } catch (error) {
    if (options.signal.aborted || !oneShotSignal.aborted) throw error;
    return undefined;
  }
}

function nodeIn({ state, gateway, atMs, request, failure }: ReportFacts): ServedNode {
  return {
    state,
    ...(gateway === undefined ? {} : { gateway }),
    sinceMs: atMs,
    ...(request === undefined ? {} : { request: asRequest(request) }),
    ...(failure === undefined ? {} : { failure }),
  };
}

function asRequest({ sas, ...request }: NonNullable<ReportFacts["request"]>): NodeRequest {
  return sas === undefined ? request : { ...request, sas };
}

function failureOf(
  context: Context,
  name: string,
  { exitCode, code, message, hint, fix, details }: NonNullable<ReportFacts["failure"]>,
): OpenClawError {
  const willRetry = !finalExitCodes.includes(exitCode);
  const next = willRetry
    ? "the service tries again by itself"
    : `it stays down until ${context.pasteable(commandFor("start", name))}, or node install with other options`;
  return new OpenClawError(isFailureCode(code) ? code : "failed", `the node of the service ${name} ended: ${message}`, {
    hint: hint === undefined ? next : `${hint}; ${next}`,
    fix,
    details: { ...details, service: name, willRetry },
  });
}

async function silentEnd(
  manager: ServiceManager,
  name: string,
  { lastEnd, run }: ServiceState,
): Promise<OpenClawError> {
  const { unit } = manager.unitOf(name);
  const log = await manager.lastLines(name, 10).catch(() => []);
  const how = lastEnd === undefined ? run : lastEnd;
  return new OpenClawError("failed", `the service ${unit} ended before its node had begun (${how})`, {
    hint: log.at(-1) ?? "its manager's log may say why",
    ...(manager.kind === "systemd" ? { fix: `journalctl --user --unit ${unit} --lines 20` } : {}),
    details: { unit, ...(lastEnd === undefined ? {} : { lastEnd }), log },
  });
}
