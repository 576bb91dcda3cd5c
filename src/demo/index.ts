/**
 * The main job on throw-away state: two gateways in processes of their own, an SSH server between them, and each made a node of the other
 * through one SSH connection; then a rotated token, which interrupts nothing, and a cut line, after which both are back by themselves.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Runtime } from "../runtime.ts";
import { CliProcess, type CliEvent, type Launcher } from "./cli-process.ts";
import { makeDemoDirectory } from "./directory.ts";
import { type Relay, startRelay } from "./relay.ts";
import { type SshHost, startSshHost } from "./ssh-host.ts";

export interface DemoStep {
  readonly event: "step";
  readonly step: string;
  readonly detail: string;
  readonly durationMs: number;
}

/** One gateway as a node of the other: paired on both layers, and a program that ran on it. */
export interface DemoDirection {
  readonly deviceId: string;
  readonly paired: boolean;
  readonly verified: boolean;
  readonly latencyMs: number;
}

export interface DemoResult {
  readonly toRemote: DemoDirection;
  readonly toLocal: DemoDirection;
  readonly ssh: "openssh" | "in-process";
  /** Milliseconds without a tunnel after the line was cut. */
  readonly healedMs: number;
  /** Milliseconds until the node used its new token. */
  readonly rotatedMs: number;
  readonly durationMs: number;
  /** Commands to play with while everything is up. */
  readonly tryThis: readonly DemoCommand[];
}

/** A command line of ours, without the program's name, and the state directory it is about. */
export interface DemoCommand {
  readonly stateDir: string;
  readonly words: readonly string[];
}

export interface DemoOptions {
  readonly launcher: Launcher;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
  /** Where OpenSSH's server is looked for; where it is not, the demo brings its own. */
  readonly sshdPaths?: readonly string[];
  readonly onStep: (step: DemoStep) => void;
  /** Called when everything is up and proven; the demo is torn down when it resolves. */
  readonly whileUp?: (result: DemoResult) => Promise<void>;
}

/** Runs the demo. Everything it started is gone and every file removed when this settles, however it ends. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  await using things = new AsyncDisposableStack();
  const directory = things.use(await makeDemoDirectory(options.runtime));
  const demo = new Demo(options, directory.path, things);
  const result = await demo.run();
  await options.whileUp?.(result);
  return result;
}

/** One of the two machines: its state directory, its gateway, and the node that it runs for the other. */
interface Machine {
  readonly name: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stateDir: string;
  readonly port: number;
  readonly token: string;
}

class Demo {
  readonly #options: DemoOptions;
  readonly #directory: string;
  readonly #things: AsyncDisposableStack;
  readonly #startedAtMs: number;

  constructor(options: DemoOptions, directory: string, things: AsyncDisposableStack) {
    this.#options = options;
    this.#directory = directory;
    this.#things = things;
    this.#startedAtMs = options.runtime.now();
  }

  async run(): Promise<DemoResult> {
    const [laptop, host] = await this.#step(
      "gateways",
      () => this.#startGateways(),
      ([one, two]) => `ports ${one.port} and ${two.port}`,
    );
    const ssh = await this.#step(
      "ssh",
      () => this.#startSsh(),
      ({ server }) => `${server.kind} on port ${server.port}`,
    );
    const tunnel = await this.#step(
      "tunnel",
      () => this.#openTunnel(ssh, laptop, host),
      (opened) => {
        return `-R ${opened.remotePort} leads to laptop, -L ${opened.localPort} leads to host`;
      },
    );
    const [onHost, onLaptop] = await this.#step(
      "nodes",
      () =>
        Promise.all([
          this.#startNode(host, laptop, tunnel.remotePort),
          this.#startNode(laptop, host, tunnel.localPort),
        ]),
      () => "each asks the other gateway for pairing, through the tunnel",
    );
    await this.#step(
      "approve",
      () => Promise.all([this.#approve(laptop, onHost), this.#approve(host, onLaptop)]),
      () => "device and command list, on both gateways",
    );
    const [toRemote, toLocal] = await this.#step(
      "invoke",
      () => Promise.all([this.#invoke(laptop, onHost), this.#invoke(host, onLaptop)]),
      (both) => `uname ran on both, ${both.map(({ latencyMs }) => `${latencyMs} ms`).join(" and ")}`,
    );
    const rotatedMs = await this.#step(
      "rotate",
      () => this.#rotate(laptop, onHost),
      (ms) => `the node moved to a new token in ${ms} ms; its session went on`,
    );
    const healedMs = await this.#step(
      "cut",
      () => this.#cut(ssh.relay, tunnel.process, [onHost, onLaptop]),
      (ms) => `the tunnel healed after ${ms} ms, both nodes are back`,
    );
    await this.#step(
      "verify",
      () => Promise.all([this.#invoke(laptop, onHost), this.#invoke(host, onLaptop)]),
      () => "both directions answer again",
    );
    return {
      toRemote,
      toLocal,
      ssh: ssh.server.kind,
      healedMs,
      rotatedMs,
      durationMs: this.#options.runtime.now() - this.#startedAtMs,
      tryThis: [
        commandFor(laptop, "nodes", "list"),
        commandFor(host, "nodes", "invoke", "laptop", "system.info"),
        commandFor(laptop, "devices", "list"),
      ],
    };
  }

  async #startGateways(): Promise<readonly [Machine, Machine]> {
    return Promise.all([this.#startGateway("laptop"), this.#startGateway("host")]);
  }

  async #startGateway(name: string): Promise<Machine> {
    const env = this.#envOf(name);
    const gateway = this.#start(env, ["gateway", "run", "--port", "0"]);
    const { port } = await gateway.next(isEvent("ready"));
    const { token } = await this.#ask(env, ["gateway", "token", "--show"]);
    return { name, env, stateDir: this.#stateDirOf(name), port: Number(port), token: String(token) };
  }

  async #startSsh(): Promise<SshSide> {
    const { runtime, signal, sshdPaths } = this.#options;
    const server = this.#things.use(
      await startSshHost({ directory: join(this.#directory, "ssh"), runtime, signal, sshdPaths }),
    );
    const relay = this.#things.use(await startRelay(server.port));
    const knownHosts = join(this.#directory, "known_hosts");
    await writeFile(knownHosts, `[127.0.0.1]:${relay.port} ${server.hostKey}\n`, { mode: 0o600 });
    return { server, relay, knownHosts };
  }

  async #openTunnel({ server, relay, knownHosts }: SshSide, laptop: Machine, host: Machine) {
    const words = ["tunnel", "open", `${server.user}@127.0.0.1:${relay.port}`, "--name", "demo"];
    const keys = ["--identity-file", server.identityFile, "--known-hosts", knownHosts, "--keepalive", "1s"];
    const forwards = ["-R", `0:127.0.0.1:${laptop.port}`, "-L", `0:127.0.0.1:${host.port}`];
    const process = this.#start(laptop.env, [...words, ...keys, ...forwards]);
    const ready = await process.next(isEvent("ready"));
    return { process, remotePort: portOf(ready, "remote"), localPort: portOf(ready, "local") };
  }

  async #startNode(on: Machine, gateway: Machine, port: number): Promise<DemoNode> {
    const env = { ...on.env, OPENCLAW_GATEWAY_TOKEN: gateway.token };
    const target = ["--host", "127.0.0.1", "--port", String(port)];
    const process = this.#start(env, ["node", "run", ...target, "--display-name", on.name, "--allow", "uname"]);
    const waiting = await process.next((event) => event["event"] === "pairing-required" && event["layer"] === "device");
    return { process, requestId: String(waiting["requestId"]), deviceId: String(waiting["deviceId"]) };
  }

  async #approve(gateway: Machine, { process, requestId }: DemoNode): Promise<void> {
    await this.#ask(gateway.env, ["pair", "approve", requestId, "--surface", "--port", String(gateway.port)]);
    await process.next(isEvent("ready"));
  }

  /** Runs a real program on the node and looks at what it printed. */
  async #invoke(gateway: Machine, { deviceId }: DemoNode): Promise<DemoDirection> {
    const params = JSON.stringify({ command: ["uname", "-s"] });
    const words = ["nodes", "invoke", deviceId, "system.run", "--params", params, "--port", String(gateway.port)];
    const { payload, durationMs } = await this.#ask(gateway.env, words);
    const ran = payload as { readonly success?: unknown; readonly stdout?: unknown };
    const verified = ran.success === true && typeof ran.stdout === "string" && ran.stdout.trim() !== "";
    return { deviceId, paired: true, verified, latencyMs: Number(durationMs) };
  }

  async #rotate(gateway: Machine, { deviceId }: DemoNode): Promise<number> {
    const startedAtMs = this.#options.runtime.now();
    const words = ["devices", "rotate", deviceId, "--role", "node", "--critical", deviceId];
    await this.#ask(gateway.env, [...words, "--port", String(gateway.port)]);
    return this.#options.runtime.now() - startedAtMs;
  }

  async #cut(relay: Relay, tunnel: CliProcess, nodes: readonly DemoNode[]): Promise<number> {
    relay.cut();
    const { downMs } = await tunnel.next(isEvent("reconnected"));
    await Promise.all(nodes.map(({ process }) => process.next(isEvent("ready"))));
    return Number(downMs);
  }

  /** Each machine has a home of its own; nothing of the caller's set-up leaks in. */
  #envOf(name: string): Readonly<Record<string, string | undefined>> {
    const own = Object.entries(this.#options.env).filter(
      ([key]) => !/^(?:OPENCLAW_|CF_ACCESS_|SSH_AUTH_SOCK$)/u.test(key),
    );
    return {
      ...Object.fromEntries(own),
      HOME: join(this.#directory, name),
      OPENCLAW_STATE_DIR: this.#stateDirOf(name),
      OPENCLAW_SECRET_STORE: "file",
    };
  }

  #stateDirOf(name: string): string {
    return join(this.#directory, name, "state");
  }

  /** A long-running command; it ends with the demo. */
  #start(env: Readonly<Record<string, string | undefined>>, words: readonly string[]): CliProcess {
    const { launcher, signal } = this.#options;
    return this.#things.use(new CliProcess({ launcher, words, env, signal }));
  }

  async #ask(env: Readonly<Record<string, string | undefined>>, words: readonly string[]): Promise<CliEvent> {
    const { launcher, signal } = this.#options;
    await using process = new CliProcess({ launcher, words, env, signal });
    return await process.answer();
  }

  async #step<Value>(step: string, run: () => Promise<Value>, describe: (value: Value) => string): Promise<Value> {
    const { runtime, onStep } = this.#options;
    const startedAtMs = runtime.now();
    const value = await run();
    onStep({ event: "step", step, detail: describe(value), durationMs: runtime.now() - startedAtMs });
    return value;
  }
}

function commandFor({ stateDir, port }: Machine, ...words: readonly string[]): DemoCommand {
  return { stateDir, words: [...words, "--port", String(port)] };
}

interface SshSide {
  readonly server: SshHost;
  readonly relay: Relay;
  readonly knownHosts: string;
}

interface DemoNode {
  readonly process: CliProcess;
  readonly requestId: string;
  readonly deviceId: string;
}

function isEvent(name: string): (event: CliEvent) => boolean {
  return (event) => event["event"] === name;
}

function portOf(ready: CliEvent, direction: string): number {
  const forwards = ready["forwards"] as readonly { readonly direction: string; readonly port: number }[];
  return forwards.find((forward) => forward.direction === direction)?.port ?? 0;
}
