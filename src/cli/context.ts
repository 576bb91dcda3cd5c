/** What a command may ask for. Everything is made at its first use, so that `--help` reads no file and opens no key. */
import { homedir } from "node:os";
import { addAbortSignal, Readable } from "node:stream";
import type { Credential, GatewayAddress } from "../client/connect-gateway.ts";
import { parseDuration } from "../config/duration.ts";
import { statePaths, type StatePaths } from "../config/paths.ts";
import type { Config } from "../config/resolve.ts";
import { OpenClawError } from "../errors.ts";
import type { DeviceIdentity } from "../identity/device-identity.ts";
import { type Log, type Runtime, systemRuntime, withLog } from "../runtime.ts";
import type { Secret } from "../secret.ts";
import type { TokenFile } from "../state/token-memory.ts";
import type { Launcher } from "../demo/cli-process.ts";
import { textLog } from "./log.ts";
import { Output, type Streams } from "./output.ts";
import { type Given, pasteable } from "./paste.ts";
import { Interruption } from "./signals.ts";
import type { TargetFlags } from "./target-options.ts";

export interface ContextOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly streams: Streams;
  /** Aborted with an `Interruption` when the process is asked to stop. */
  readonly signal: AbortSignal;
  readonly runtime?: Runtime;
  /** How to start this CLI once more; needed by `demo` only. */
  readonly launcher?: Launcher;
}

/** The gateway of a command line, and the credentials that may be shown to it. */
export interface CommandTarget {
  readonly address: GatewayAddress;
  readonly isLoopback: boolean;
  /** From a flag or the environment. */
  readonly explicit: Credential | undefined;
  /** From the configuration of this very gateway. */
  readonly configured: Credential | undefined;
  /** The secret of its present start, when it is this machine's own gateway: good in every mode, and for operators only. */
  readonly internal: Credential | undefined;
}

const defaultTimeoutMs = 10_000;

export class Context {
  readonly options: ContextOptions;
  readonly runtime: Runtime;
  output: Output;
  #globals: Given = {};
  #timeoutMs = defaultTimeoutMs;
  #deadline: AbortController | undefined;
  #cancelDeadline: (() => void) | undefined;
  #config: Promise<Config> | undefined;
  #identity: Promise<DeviceIdentity> | undefined;
  #target: Promise<CommandTarget> | undefined;
  readonly #noted = new Set<string>();
  /** The option that has read standard input. */
  #stdinReader: string | undefined;

  constructor(options: ContextOptions, argv: readonly string[]) {
    this.options = options;
    const words = new Set(argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length));
    // Needed before commander has read the line: its own complaints are answered in the form that was asked for.
    this.#globals = { json: words.has("--json"), debug: words.has("--debug") };
    this.output = this.#makeOutput();
    this.runtime = withLog(options.runtime ?? systemRuntime, (...line) => this.#log(...line));
  }

  get streams(): Streams {
    return this.options.streams;
  }

  get isDebugging(): boolean {
    return this.#globals.debug === true || this.options.env["OPENCLAW_DEBUG"] === "1";
  }

  /** True when there is a person at the terminal who may be asked. */
  get canAsk(): boolean {
    const { env, streams } = this.options;
    const isCi = env["CI"] !== undefined && env["CI"] !== "" && env["CI"] !== "false";
    return streams.stdin.isTTY === true && this.#globals.json !== true && this.#globals.input !== false && !isCi;
  }

  /** Milliseconds that one attempt of a one-shot command may take. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** Aborted when a one-shot command has used up its time, or the process is asked to stop. The clock starts at the first use. */
  get oneShotSignal(): AbortSignal {
    if (this.#deadline === undefined) {
      this.#deadline = new AbortController();
      this.#armDeadline();
    }
    return AbortSignal.any([this.#deadline.signal, this.options.signal]);
  }

  /** Takes the command line's options in; called once, before the command's action. */
  useGlobals(globals: Given): void {
    this.#globals = globals;
    this.output = this.#makeOutput();
    if (globals.timeout !== undefined) this.#timeoutMs = parseDuration(globals.timeout, "--timeout");
  }

  /** Gives a command that waits for something longer than the usual time, unless a person set the time. */
  extendTimeout(ms: number): void {
    if (this.#globals.timeout === undefined && ms > this.#timeoutMs) this.#timeoutMs = ms;
    if (this.#deadline !== undefined) this.#armDeadline();
  }

  /** A command to print: with what this one was given to find its gateway and its state. */
  pasteable(command: string): string {
    return pasteable(command, this.#globals);
  }

  paths(): StatePaths {
    const { env } = this.options;
    const { stateDir, profile, config } = this.#globals;
    return statePaths({ env, home: env["HOME"] || passwordHome(), cwd: process.cwd(), stateDir, profile, config });
  }

  config(): Promise<Config> {
    this.#config ??= import("../config/resolve.ts").then(({ loadConfig }) =>
      loadConfig({ env: this.options.env, paths: this.paths() }),
    );
    return this.#config;
  }

  /** This machine's identity, made first if there is none. */
  identity(): Promise<DeviceIdentity> {
    this.#identity ??= import("../state/identity-file.ts").then(({ openIdentity }) =>
      openIdentity(this.paths().identity, this.runtime),
    );
    return this.#identity;
  }

  /** The identity if there is one; looking makes none. */
  async knownIdentity(): Promise<DeviceIdentity | undefined> {
    const { readIdentity } = await import("../state/identity-file.ts");
    return readIdentity(this.paths().identity);
  }

  async tokens(): Promise<TokenFile> {
    const { TokenFile } = await import("../state/token-memory.ts");
    return new TokenFile(this.paths().deviceTokens, this.runtime);
  }

  /**
   * Which gateway the command line means, and with what it may go there. Nothing secret is in it that must not be sent. Found out
   * once: standard input cannot be read twice.
   */
  target(flags: TargetFlags): Promise<CommandTarget> {
    this.#target ??= this.#findTarget(flags);
    return this.#target;
  }

  /** A secret from its option or from the file that its twin names; undefined when neither was given. */
  async secretOption(name: string, value: string | undefined, file: string | undefined): Promise<Secret | undefined> {
    if (value !== undefined && file !== undefined) {
      throw new OpenClawError("usage", `--${name} and --${name}-file are both given`, { hint: "give one of them" });
    }
    if (value !== undefined) {
      this.#warnArgv(name);
      const { Secret } = await import("../secret.ts");
      return new Secret(value);
    }
    return this.secretFile(file, `--${name}-file`);
  }

  async secretFile(path: string | undefined, what = "the file"): Promise<Secret | undefined> {
    if (path === undefined) return undefined;
    const { readSecretFile } = await import("../config/secret-file.ts");
    return readSecretFile(path, this.#stdinFor(what), what);
  }

  /** Writes a secret where a person asked for it, 0600. */
  async writeSecretFile(path: string, secret: string): Promise<void> {
    const { writeTextFile } = await import("../store/atomic-file.ts");
    return writeTextFile(path, `${secret}\n`);
  }

  async readStdin(what: string): Promise<string> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.#stdinFor(what)) chunks.push(Buffer.from(chunk));
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
    this.#cancelDeadline?.();
  }

  async #findTarget(flags: TargetFlags): Promise<CommandTarget> {
    const { assertSafeTransport, resolveTarget } = await import("../config/target.ts");
    const { isLoopbackHost } = await import("../config/address.ts");
    for (const name of ["token", "password"] as const) if (flags[name] !== undefined) this.#warnArgv(name);
    const runningPorts = await this.#runningPorts();
    const target = await resolveTarget({
      flags: { ...flags, noAuthHeader: flags.authHeader === false },
      env: this.options.env,
      config: await this.config(),
      stdin: this.#stdinFor("the credential's file"),
      runningPorts,
    });
    assertSafeTransport(target);
    const pick = (isExplicit: boolean): Credential | undefined => {
      const found = target.credentials.find(
        ({ used, from }) => used && isExplicit === (from === "flag" || from === "env"),
      );
      if (found === undefined) return undefined;
      return { kind: found.kind === "device-token" ? "deviceToken" : found.kind, secret: found.value };
    };
    return {
      address: {
        url: target.url,
        headers: target.headers,
        tlsFingerprint: target.tlsFingerprint,
        sendAuthHeader: target.sendAuthHeader,
      },
      isLoopback: isLoopbackHost(new URL(target.url).hostname),
      explicit: pick(true),
      configured: pick(false),
      // Only to a port that our own gateway is known to hold now: the configured one may be a tunnel to somebody else's.
      internal:
        target.gateway === "local" && runningPorts.includes(target.port) ? await this.#internalSecret() : undefined,
    };
  }

  async #internalSecret(): Promise<Credential | undefined> {
    const { readGatewayToken } = await import("../state/gateway-secrets.ts");
    const secret = await readGatewayToken(this.paths().internalSecret).catch(() => undefined);
    return secret === undefined ? undefined : { kind: "token", secret };
  }

  /** Standard input for one purpose. What it holds is one thing: a second option that reads it would get the first one's secret, or nothing. */
  async *#stdinFor(what: string): AsyncGenerator<Uint8Array | string> {
    if (this.#stdinReader !== undefined && this.#stdinReader !== what) {
      throw new OpenClawError("usage", `${this.#stdinReader} and ${what} cannot both read standard input`, {
        hint: "name a file for one of them",
      });
    }
    this.#stdinReader = what;
    const { stdin } = this.streams;
    if (stdin instanceof Readable) addAbortSignal(this.options.signal, stdin); // who is asked to stop does not wait for its end
    yield* asInput(stdin);
  }

  /** Where this machine's own gateway listens now, whatever the configuration says. */
  async #runningPorts(): Promise<number[]> {
    const { liveRecords } = await import("../state/run-record.ts");
    const records = await liveRecords(this.paths().runDir, "gateway");
    return records.map(({ gateway }) => Number(URL.parse(gateway)?.port ?? 0));
  }

  #armDeadline(): void {
    this.#cancelDeadline?.();
    const controller = this.#deadline;
    const ms = this.#timeoutMs;
    const timer = setTimeout(() => {
      controller?.abort(
        new OpenClawError("timeout", `the command did not finish within ${ms} ms`, {
          hint: "give it longer with --timeout 30s",
          details: { timeoutMs: ms },
        }),
      );
    }, ms);
    this.#cancelDeadline = () => clearTimeout(timer);
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

/** Streams are read as bytes or text; the type of a TTY says neither. */
function asInput(stream: Streams["stdin"]): AsyncIterable<Uint8Array | string> {
  return stream as AsyncIterable<Uint8Array | string>;
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
