/** systemd's user manager, by way of systemctl(1). */
import { existsSync } from "node:fs";
import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { OpenClawError } from "../errors.ts";
import type { ProgramResult, RunProgram } from "./run-program.ts";
import type { ServiceManager, ServiceState, ServiceUnit } from "./service-manager.ts";
import type { ServiceSpec } from "./service-spec.ts";
import { unitText } from "./systemd-unit.ts";

export interface SystemdOptions {
  /** `$XDG_CONFIG_HOME`, or `~/.config`. */
  readonly configHome: string;
  readonly run: RunProgram;
  /** What to do where the manager cannot be reached, as a hint. */
  readonly advice: string;
}

export class Systemd implements ServiceManager {
  readonly kind = "systemd";
  readonly #directory: string;
  readonly #options: SystemdOptions;

  constructor(options: SystemdOptions) {
    this.#options = options;
    this.#directory = join(options.configHome, "systemd", "user");
  }

  unitOf(name: string): ServiceUnit {
    const unit = `openclaw-${name}.service`;
    return { unit, path: join(this.#directory, unit) };
  }

  text(_name: string, spec: ServiceSpec): string {
    return unitText(spec);
  }

  async names(): Promise<readonly string[]> {
    const files = await readdir(this.#directory).catch(() => []);
    return files.flatMap((file) => /^openclaw-(node(?:-[\w-]+)?)\.service$/u.exec(file)?.[1] ?? []);
  }

  async assertReachable(): Promise<void> {
    await this.#must(["show", "--property=Version"]);
  }

  async enable(name: string): Promise<void> {
    await this.#must(["daemon-reload"]);
    const words = ["enable", this.unitOf(name).unit];
    const result = await this.#ask(words);
    if (isUnknown(result)) throw this.#unknown(name, words, result);
    if (result.code !== 0) throw this.#failure(words, result);
  }

  async start(name: string): Promise<void> {
    await this.#begin("start", name);
  }

  async restart(name: string): Promise<void> {
    await this.#begin("restart", name);
  }

  async stop(name: string): Promise<void> {
    await this.#mustIfKnown(["stop", this.unitOf(name).unit]);
  }

  async disable(name: string): Promise<void> {
    const { unit } = this.unitOf(name);
    await this.#must(["daemon-reload"]);
    await this.#mustIfKnown(["stop", unit]);
    await this.#mustIfKnown(["disable", unit]);
  }

  async forget(name: string): Promise<void> {
    const { unit } = this.unitOf(name);
    // What `enable` made, where the manager could not be asked to take it back.
    const link = join(this.#directory, "default.target.wants", unit);
    if ((await lstat(link).catch(() => undefined))?.isSymbolicLink() === true) await rm(link);
    await this.#ask(["daemon-reload"]);
    await this.#ask(["reset-failed", unit]);
  }

  async state(name: string): Promise<ServiceState> {
    const names = ["UnitFileState", "ActiveState", "SubState", "MainPID", "Result", "ExecMainCode", "ExecMainStatus"];
    const { stdout } = await this.#must(["show", this.unitOf(name).unit, `--property=${names.join(",")}`]);
    return stateIn(stdout);
  }

  async lastLines(name: string, count: number): Promise<readonly string[]> {
    const words = ["--user", "--unit", this.unitOf(name).unit, "--lines", String(count), "--no-pager", "--output=cat"];
    const { code, stdout } = await this.#options.run("journalctl", words);
    return code === 0 ? stdout.split("\n").filter((line) => line !== "" && !line.startsWith("-- ")) : [];
  }

  /** A unit that failed too often must be told that it may begin again. */
  async #begin(verb: "start" | "restart", name: string): Promise<void> {
    const { unit } = this.unitOf(name);
    await this.#ask(["reset-failed", unit]);
    const result = await this.#ask([verb, unit]);
    if (isUnknown(result)) throw this.#unknown(name, [verb, unit], result);
    // Whether the service itself came up is seen from its state.
    if (result.code !== 0 && !result.stderr.startsWith("Job for ")) throw this.#failure([verb, unit], result);
  }

  #ask(words: readonly string[]): Promise<ProgramResult> {
    return this.#options.run("systemctl", ["--user", "--no-ask-password", ...words]);
  }

  async #must(words: readonly string[]): Promise<ProgramResult> {
    const result = await this.#ask(words);
    if (result.code === 0) return result;
    throw this.#failure(words, result);
  }

  /** A unit that the manager does not know is stopped, and is started by nothing. */
  async #mustIfKnown(words: readonly string[]): Promise<void> {
    const result = await this.#ask(words);
    if (result.code !== 0 && !isUnknown(result)) throw this.#failure(words, result);
  }

  #unknown(name: string, words: readonly string[], result: ProgramResult): OpenClawError {
    const { unit, path } = this.unitOf(name);
    const { message, details } = this.#failure(words, result);
    return new OpenClawError("failed", message, {
      hint: `the unit is ${path}, and systemd's manager of this user does not find it: it looks elsewhere when its own XDG_CONFIG_HOME is another one than here`,
      fix: "systemctl --user show-environment",
      details: { ...details, unit, path },
    });
  }

  #failure(words: readonly string[], { code, stderr }: Pick<ProgramResult, "code" | "stderr">): OpenClawError {
    const { advice } = this.#options;
    const command = `systemctl --user ${words.join(" ")}`;
    if (code === "missing") {
      return new OpenClawError(
        "no-service-manager",
        "this machine has no systemctl, and so no systemd to keep a service",
        {
          hint: advice,
        },
      );
    }
    const said = stderr.split("\n")[0] ?? "";
    if (isUnreachable(stderr)) {
      return new OpenClawError("no-service-manager", `systemd's manager of this user cannot be reached: ${said}`, {
        hint: advice,
      });
    }
    return new OpenClawError("failed", `${command}: ${said || `exit code ${code}`}`, { details: { command, code } });
  }
}

/** systemctl(1): exit code 5 is a unit that is not loaded; enable and disable say 1, and so only in words. */
function isUnknown({ code, stderr }: ProgramResult): boolean {
  return (
    code === 5 || (code === 1 && /^Failed to (?:en|dis)able unit: Unit .* (?:does not exist|not found)/mu.test(stderr))
  );
}

/** The words of systemctl, which has one exit code for every failure. */
function isUnreachable(stderr: string): boolean {
  return /Failed to (?:connect to|get D-Bus|create bus)|not been booted with systemd|not running with systemd|Transport endpoint is not connected/iu.test(
    stderr,
  );
}

/** Where the user's manager listens when the environment does not say, as after `su`; undefined where there is none. */
export function usualRuntimeDirectory(uid: number): string | undefined {
  const path = `/run/user/${uid}`;
  return existsSync(join(path, "systemd", "private")) || existsSync(join(path, "bus")) ? path : undefined;
}

/** Whether the user's manager is there without a login (loginctl(1), enable-linger). */
export function lingers(user: string): boolean {
  return existsSync(join("/var/lib/systemd/linger", user));
}

/** What `systemctl show` says, as a state. */
export function stateIn(shown: string): ServiceState {
  const facts = new Map(
    shown.split("\n").map((line): [string, string] => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const pid = Number(facts.get("MainPID") ?? 0);
  const lastEnd = endIn(facts.get("ExecMainCode"), facts.get("ExecMainStatus"));
  return {
    enabled: facts.get("UnitFileState") === "enabled",
    run: runOf(facts.get("ActiveState"), facts.get("SubState")),
    ...(pid > 0 ? { pid } : {}),
    ...(lastEnd === undefined ? {} : { lastEnd }),
  };
}

function runOf(active = "inactive", sub = ""): ServiceState["run"] {
  if (active === "activating" && sub === "auto-restart") return "restarting";
  if (active === "failed") return "failed";
  return active === "inactive" ? "stopped" : "running";
}

/** `ExecMainCode` is one of the CLD_ codes of sigaction(2): 1 is an exit, 2 and 3 are signals, 0 is nothing yet. */
function endIn(code: string | undefined, status: string | undefined): string | undefined {
  if (code === "1") return `exit code ${status}`;
  return code === "2" || code === "3" ? `signal ${status}` : undefined;
}
