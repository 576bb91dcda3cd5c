/** What a command may ask for. Everything is made at its first use, so that `--help` reads no file and opens no key. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { parseDuration } from "../config/duration.ts";
import { statePaths, type StatePaths } from "../config/paths.ts";
import type { Config } from "../config/resolve.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import type { DeviceIdentity, IdentityFile, PublicIdentity } from "../identity/device-identity.ts";
import { type Log, type Runtime, systemRuntime, withLog } from "../runtime.ts";
import type { Secret } from "../secret.ts";
import type { Launcher } from "../demo/cli-process.ts";
import type { SecretStore, StoreChoice } from "../state/secret-store.ts";
import type { TokenFile } from "../state/token-memory.ts";
import { type CommandTarget, findTarget, type TargetPreference } from "./command-target.ts";
import type { Starter } from "./background.ts";
import { GivenSecrets } from "./given-secrets.ts";
import { textLog } from "./log.ts";
import { OneShotClock } from "./one-shot-clock.ts";
import { Output, type Streams } from "./output.ts";
import { type Given, pasteable } from "./paste.ts";
import { Interruption, type InterruptingSignal } from "./signals.ts";
import { standAlone, type TargetFlags } from "./target-options.ts";

export interface ContextOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly streams: Streams;
  /** Aborted with an `Interruption` when the process is asked to stop. */
  readonly signal: AbortSignal;
  /** Asks the process to stop, as a signal does. */
  readonly interrupt?: (signal: InterruptingSignal) => void;
  readonly runtime?: Runtime;
  /** How to start this CLI once more, for `demo` and `--detach`. */
  readonly launcher?: Launcher;
  /** Who started this command in the background and waits until it is ready. */
  readonly starter?: Starter;
}

export class Context {
  readonly options: ContextOptions;
  /** The command line as it was typed. */
  readonly argv: readonly string[];
  readonly runtime: Runtime;
  output: Output;
  #globals: Given = {};
  readonly #clock = new OneShotClock();
  readonly #secrets: GivenSecrets;
  #config: Promise<Config> | undefined;
  #identity: Promise<DeviceIdentity> | undefined;
  #secretStore: Promise<SecretStore> | undefined;
  #target: Promise<CommandTarget> | undefined;
  readonly #noted = new Set<string>();

  constructor(options: ContextOptions, argv: readonly string[]) {
    this.options = options;
    this.argv = argv;
    const words = new Set(argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length));
    // Needed before commander has read the line: its own complaints are answered in the form that was asked for.
    this.#globals = { json: words.has("--json"), debug: words.has("--debug") };
    this.output = this.#makeOutput();
    this.runtime = withLog(options.runtime ?? systemRuntime, (...line) => this.#log(...line));
    const { streams, signal } = options;
    this.#secrets = new GivenSecrets({ streams, signal, seenInArgv: (name) => this.#warnArgv(name) });
  }

  get streams(): Streams {
    return this.options.streams;
  }

  get isDebugging(): boolean {
    return this.#globals.debug === true || this.options.env["OPENCLAW_DEBUG"] === "1";
  }

  /** True when there is a person at the terminal who may be asked. */
  get canAsk(): boolean {
    const { env, streams, starter } = this.options;
    if (starter !== undefined) return starter.canAsk;
    const isCi = env["CI"] !== undefined && env["CI"] !== "" && env["CI"] !== "false";
    return streams.stdin.isTTY === true && this.#globals.json !== true && this.#globals.input !== false && !isCi;
  }

  /** What `--timeout` says, where it was given. */
  get timeoutGivenMs(): number | undefined {
    return this.#globals.timeout === undefined ? undefined : this.timeoutMs;
  }

  /** Milliseconds that one attempt of a one-shot command may take. */
  get timeoutMs(): number {
    return this.#clock.timeoutMs;
  }

  /** Aborted when a one-shot command has used up its time, or the process is asked to stop. The clock starts at the first use. */
  get oneShotSignal(): AbortSignal {
    return AbortSignal.any([this.#clock.signal, this.options.signal]);
  }

  /** Takes the command line's options in; called once, before the command's action. */
  useGlobals(globals: Given): void {
    this.#globals = globals;
    this.output = this.#makeOutput();
    if (globals.timeout !== undefined) this.#clock.set(parseDuration(globals.timeout, "--timeout"));
  }

  /** Gives a command that waits for something longer than the usual time, unless a person set the time. */
  extendTimeout(ms: number): void {
    if (this.#globals.timeout === undefined && ms > this.timeoutMs) this.#clock.set(ms);
  }

  /** Gives what follows the whole time once more, in a command that serves one request after another. */
  restartClock(): void {
    this.#clock.restart();
  }

  /** A command to print: with what this one was given to find its gateway and its state. */
  pasteable(command: string): string {
    return pasteable(command, this.#globals);
  }

  /** The same command line with time of its own: for taking back what was done when it was asked to stop. */
  forTakingBack(): Context {
    return this.#again({ signal: new AbortController().signal });
  }

  /** The same command line in another environment. */
  inEnvironment(env: ContextOptions["env"]): Context {
    return this.#again({ env });
  }

  /** The same command line where a file (`--environment-file`) says which secrets the environment has. */
  async withEnvFile(path: string | undefined): Promise<Context> {
    if (path === undefined) return this;
    const { readEnvFile, withSecrets } = await import("../config/env-file.ts");
    return this.inEnvironment(withSecrets(this.options.env, await readEnvFile(path)));
  }

  /** The words that give another command of ours the state of this one. */
  stateWords(): readonly string[] {
    const { stateDir, profile, config } = this.#globals;
    return [
      ...(stateDir === undefined ? [] : ["--state-dir", stateDir]),
      ...(profile === undefined ? [] : ["--profile", profile]),
      ...(config === undefined ? [] : ["--config", config]),
    ];
  }

  paths(): StatePaths {
    const { env } = this.options;
    const { stateDir, profile, config } = this.#globals;
    return statePaths({ env, home: env["HOME"] || passwordHome(), cwd: process.cwd(), stateDir, profile, config });
  }

  config(): Promise<Config> {
    const { config: named } = this.#globals;
    // A name that was given and leads nowhere is a slip, and not a wish for the defaults.
    if (named !== undefined && !existsSync(named)) {
      return Promise.reject(
        new OpenClawError("usage", `--config: there is no file ${named}`, {
          hint: "check the path, or leave --config out",
          details: { path: named },
        }),
      );
    }
    this.#config ??= import("../config/resolve.ts").then(({ loadConfig }) =>
      loadConfig({ env: this.options.env, paths: this.paths() }),
    );
    return this.#config;
  }

  /** The configuration as its files have it at this moment. */
  async freshConfig(): Promise<Config> {
    const { loadConfig } = await import("../config/resolve.ts");
    return loadConfig({ env: this.options.env, paths: this.paths() });
  }

  /** This machine's identity, made first if there is none. */
  identity(): Promise<DeviceIdentity> {
    this.#identity ??= this.currentIdentity();
    return this.#identity;
  }

  /** The same as it is at this moment: another process may have put a new key in its place. */
  async currentIdentity(): Promise<DeviceIdentity> {
    const { openIdentity } = await import("../state/identity-file.ts");
    return openIdentity(this.paths().identity, this.runtime, await this.secrets());
  }

  /** The identity that this gateway (`ws(s)://host:port`) knows: not everywhere the same one while a key rotation is under way. */
  async identityAt(gateway: string): Promise<DeviceIdentity> {
    const { identity, identityRotation: rotation } = this.paths();
    if (!existsSync(rotation)) return this.currentIdentity();
    const { identityAt } = await import("../state/key-rotation.ts");
    const parts = { place: { identity, rotation }, secrets: await this.secrets(), runtime: this.runtime };
    const known = await identityAt(parts, gateway, await this.tokens());
    return known ?? this.currentIdentity();
  }

  /** The ids that this machine had before its present key, oldest first. */
  async formerIds(): Promise<readonly string[]> {
    const { formerIds } = await import("../state/key-rotation.ts");
    const { identity, identityRotation: rotation } = this.paths();
    return formerIds({ identity, rotation });
  }

  /** What the identity's file says, if there is one; looking makes none, and asks no keychain. */
  async identityFile(): Promise<IdentityFile | undefined> {
    const { readIdentityFile } = await import("../state/identity-file.ts");
    return readIdentityFile(this.paths().identity);
  }

  /** The public parts of the identity, if there is one; looking makes none. */
  async knownIdentity(): Promise<PublicIdentity | undefined> {
    return (await this.identityFile())?.identity;
  }

  /** Where the device's key and tokens are, or go when there are none yet. */
  secrets(): Promise<SecretStore> {
    const { env, signal } = this.options;
    this.#secretStore ??= import("./secret-setup.ts").then(({ openSecretStore }) =>
      openSecretStore({
        flag: this.#globals.secretStore,
        config: () => this.config(),
        env,
        canAsk: this.canAsk,
        signal,
        runtime: this.runtime,
      }),
    );
    return this.#secretStore;
  }

  /** The store that was asked for, and by what. */
  async secretChoice(): Promise<{ readonly choice: StoreChoice; readonly chosenBy: string }> {
    const { chosenStore } = await import("./secret-setup.ts");
    return chosenStore(this.#globals.secretStore, () => this.config());
  }

  async tokens(): Promise<TokenFile> {
    const { TokenFile } = await import("../state/token-memory.ts");
    return new TokenFile(this.paths().deviceTokens, this.runtime, {
      secrets: await this.secrets(),
      storeForNew: async () => (await this.identityFile())?.store ?? "file",
    });
  }

  /** Which gateway the command line means, and with what it may go there. Found out once: standard input cannot be read twice. */
  target(flags: TargetFlags, preference: TargetPreference = {}): Promise<CommandTarget> {
    this.#target ??= this.#findTarget(flags, preference);
    return this.#target;
  }

  /** A secret from its option or from the file that its twin names; undefined when neither was given. */
  secretOption(name: string, value: string | undefined, file: string | undefined): Promise<Secret | undefined> {
    return this.#secrets.option(name, value, file);
  }

  secretFile(path: string | undefined, what?: string): Promise<Secret | undefined> {
    return this.#secrets.file(path, what);
  }

  /** Writes a secret where a person asked for it, 0600. */
  async writeSecretFile(path: string, secret: string): Promise<void> {
    const { writeTextFile } = await import("../store/atomic-file.ts");
    return writeTextFile(path, `${secret}\n`);
  }

  async readStdin(what: string): Promise<string> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.#secrets.stdinFor(what)) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString("utf8");
  }

  /** How to start this CLI once more. */
  launcher(): Launcher {
    const [, script] = process.argv;
    return this.options.launcher ?? { command: process.execPath, args: script === undefined ? [] : [script] };
  }

  /** A note that is worth saying once. */
  noteOnce(key: string, text: string): void {
    if (this.#noted.has(key)) return;
    this.#noted.add(key);
    this.output.note(text);
  }

  /** Runs a command whose normal end is a signal: being asked to stop is no failure of it, whatever it was doing. */
  async untilStopped(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (!this.options.signal.aborted) throw error;
    }
  }

  /** Resolves when the process is asked to stop. */
  untilSignal(): Promise<void> {
    const { signal } = this.options;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }

  /** What asked the process to stop, for the last event. */
  get signalName(): string {
    const { reason } = this.options.signal;
    return reason instanceof Interruption ? reason.message : "asked to stop";
  }

  close(): void {
    this.#clock.stop();
  }

  #again(changed: Partial<ContextOptions>): Context {
    const context = new Context({ ...this.options, ...changed }, this.argv);
    context.useGlobals(this.#globals);
    return context;
  }

  async #findTarget(flags: TargetFlags, { prefersRunning = true }: TargetPreference): Promise<CommandTarget> {
    for (const name of ["token", "password", "header"] as const) if (flags[name] !== undefined) this.#warnArgv(name);
    const target = await findTarget({
      flags,
      prefersRunning,
      env: this.options.env,
      config: prefersRunning ? await this.#configBeside(flags) : await this.config(),
      paths: this.paths(),
      stdin: this.#secrets.stdinFor("the credential's file"),
      runtime: this.runtime,
      onAccepted: (text) => this.noteOnce("certificate", text),
    });
    this.output.detail(`gateway: ${target.address.url}, from ${target.chosenBy}`);
    return target;
  }

  /** For operators: whoever says all that is needed on the command line is not kept from a gateway by a slip in a file. */
  async #configBeside(flags: TargetFlags): Promise<Config> {
    try {
      return await this.config();
    } catch (error) {
      if (!isFailure(error, "config-invalid") || !standAlone(flags)) throw error;
      this.noteOnce("config", `warning: ${error.message}; only what stands on the command line counts`);
      const { resolveConfig } = await import("../config/resolve.ts");
      this.#config = Promise.resolve(resolveConfig({ env: this.options.env, paths: this.paths(), files: [] }));
      return this.#config;
    }
  }

  #makeOutput(): Output {
    const { json = false, quiet = false, verbose = false } = this.#globals;
    return new Output(this.options.streams, { json, quiet, verbose });
  }

  #warnArgv(name: string): void {
    this.noteOnce(`argv-${name}`, `warning: --${name} can be read by other users of this machine; use --${name}-file`);
  }

  #log(...[level, message, fields]: Parameters<Log>): void {
    const wanted = this.isDebugging ? 0 : this.#globals.verbose === true ? 1 : 2;
    if (levels.indexOf(level) >= wanted && this.#globals.quiet !== true) {
      this.streams.stderr.write(`${textLog(this.runtime.now(), level, message, fields)}\n`);
    }
  }
}

const levels = ["debug", "info", "warn", "error"];

/** The home directory of the password database, for processes without HOME; undefined where there is no entry either. */
function passwordHome(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined;
  }
}
