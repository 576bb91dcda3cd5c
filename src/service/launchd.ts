/** launchd's agents of one user, by way of launchctl(1). */
import { mkdir, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { agentText } from "./launch-agent.ts";
import type { ProgramResult, RunProgram } from "./run-program.ts";
import type { ServiceManager, ServiceState, ServiceUnit } from "./service-manager.ts";
import type { ServiceSpec } from "./service-spec.ts";

export interface LaunchdOptions {
  readonly home: string;
  readonly uid: number;
  readonly run: RunProgram;
  readonly runtime: Pick<Runtime, "sleep">;
  /** The file that the service's stderr goes to. */
  readonly logOf: (name: string) => string;
  /** What to do where launchd has no session of this user, as a hint. */
  readonly advice: string;
}

const prefix = "openclaw-toolkit.";

/** Asking whether an agent that was told to go is gone: every 100 ms, for the time it may take to stop and a little more. */
const goneCheckMs = 100;
const maxGoneChecks = 150;

export class Launchd implements ServiceManager {
  readonly kind = "launchd";
  readonly #options: LaunchdOptions;
  readonly #directory: string;
  readonly #domain: string;

  constructor(options: LaunchdOptions) {
    this.#options = options;
    this.#directory = join(options.home, "Library", "LaunchAgents");
    this.#domain = `gui/${options.uid}`;
  }

  unitOf(name: string): ServiceUnit {
    const unit = `${prefix}${name}`;
    return { unit, path: join(this.#directory, `${unit}.plist`) };
  }

  text(name: string, spec: ServiceSpec): string {
    return agentText(this.unitOf(name).unit, spec);
  }

  async names(): Promise<readonly string[]> {
    const files = await readdir(this.#directory).catch(() => []);
    return files.flatMap((file) => /^openclaw-toolkit\.(node(?:-[\w-]+)?)\.plist$/u.exec(file)?.[1] ?? []);
  }

  async assertReachable(): Promise<void> {
    await this.#must(["print", this.#domain]);
  }

  async enable(name: string): Promise<void> {
    await this.#must(["enable", this.#target(name)]);
  }

  /** Loads the agent, which starts it. One that is loaded and does not run goes out first: its file may be another by now. */
  async start(name: string): Promise<void> {
    if ((await this.state(name)).run !== "running") await this.restart(name);
  }

  /** Out and in again, so that a changed file counts. */
  async restart(name: string): Promise<void> {
    await this.stop(name);
    await this.#load(name);
  }

  async stop(name: string): Promise<void> {
    if (!(await this.#isLoaded(name))) return;
    const { code, stderr } = await this.#ask(["bootout", this.#target(name)]);
    for (let checks = 0; await this.#isLoaded(name); checks++) {
      if (checks === maxGoneChecks) throw this.#failure(["bootout", this.#target(name)], { code, stderr });
      await this.#options.runtime.sleep(goneCheckMs);
    }
  }

  async disable(name: string): Promise<void> {
    await this.stop(name);
  }

  /** The file is gone, and so is the agent: launchd keeps nothing else that would start it. */
  async forget(): Promise<void> {}

  async state(name: string): Promise<ServiceState> {
    const disabled = await this.#must(["print-disabled", this.#domain]);
    const printed = await this.#print(name);
    return stateIn(printed ?? "", !isDisabled(disabled.stdout, this.unitOf(name).unit));
  }

  async lastLines(name: string, count: number): Promise<readonly string[]> {
    const text = await readFile(this.#options.logOf(name), "utf8").catch(() => "");
    return text
      .split("\n")
      .filter((line) => line !== "")
      .slice(-count);
  }

  async #load(name: string): Promise<void> {
    // launchd makes the log's file, but no directory for it.
    await mkdir(dirname(this.#options.logOf(name)), { recursive: true, mode: 0o700 });
    await this.#must(["bootstrap", this.#domain, this.unitOf(name).path]);
  }

  #target(name: string): string {
    return `${this.#domain}/${this.unitOf(name).unit}`;
  }

  async #isLoaded(name: string): Promise<boolean> {
    return (await this.#print(name)) !== undefined;
  }

  /** What launchd knows of the agent; undefined where it is not loaded. */
  async #print(name: string): Promise<string | undefined> {
    const words = ["print", this.#target(name)];
    const { code, stdout, stderr } = await this.#ask(words);
    if (typeof code !== "number") throw this.#failure(words, { code, stderr });
    return code === 0 ? stdout : undefined;
  }

  #ask(words: readonly string[]): Promise<ProgramResult> {
    return this.#options.run("launchctl", words);
  }

  async #must(words: readonly string[]): Promise<ProgramResult> {
    const result = await this.#ask(words);
    if (result.code === 0) return result;
    throw this.#failure(words, result);
  }

  #failure(words: readonly string[], { code, stderr }: Pick<ProgramResult, "code" | "stderr">): OpenClawError {
    const command = `launchctl ${words.join(" ")}`;
    const said = (stderr.split("\n")[0] ?? "") || (typeof code === "number" ? `exit code ${code}` : code);
    const { advice } = this.#options;
    // 112 and 125: there is no such domain, or it cannot be used from here (launchctl error 125).
    if (typeof code !== "number" || code === 112 || code === 125) {
      return new OpenClawError("no-service-manager", `launchd cannot be reached: ${command}: ${said}`, {
        hint: advice,
      });
    }
    return new OpenClawError("failed", `${command}: ${said}`, { details: { command, code } });
  }
}

/** What `launchctl print` says of an agent, as a state; nothing where it is not loaded. */
export function stateIn(printed: string, enabled: boolean): ServiceState {
  const fact = (name: string) => new RegExp(String.raw`^\s*${name} = (.+)$`, "mu").exec(printed)?.[1];
  const pid = Number(fact("pid") ?? 0);
  const code = /^\d+/u.exec(fact("last exit code") ?? "")?.[0];
  // One that was just loaded is not started yet, and has not ended either.
  const isUp = fact("state") === "running" || (printed !== "" && code === undefined);
  return {
    enabled,
    run: isUp ? "running" : code === undefined || code === "0" ? "stopped" : "restarting",
    ...(pid > 0 ? { pid } : {}),
    ...(code === undefined ? {} : { lastEnd: `exit code ${code}` }),
  };
}

/** A line of `launchctl print-disabled`: `"label" => disabled`, and `=> true` on older systems. */
function isDisabled(printed: string, label: string): boolean {
  return printed.split("\n").some((line) => line.includes(`"${label}"`) && /=> (?:disabled|true)/u.test(line));
}
