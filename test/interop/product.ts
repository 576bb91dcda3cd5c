/** The real product's programs: its gateway, its CLI and its node, each in a home of its own on loopback, with their background calls off. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { RawClient } from "../support/raw-client.ts";
import { Recorder } from "../support/recorder.ts";
import { everyScope } from "../support/world.ts";
import { entryOf, pathWithThisNode, type Version } from "./install.ts";

export const productToken = "the-shared-token-of-the-real-gateway";
export const productPassword = "the-shared-password-of-the-real-gateway";

/** A home directory of the product, with its state; gone at the end of the scope. */
export class ProductHome implements Disposable {
  readonly version: Version;
  readonly directory: string;
  readonly stateDir: string;

  constructor(version: Version) {
    this.version = version;
    this.directory = mkdtempSync(join(tmpdir(), `openclaw-${version}-`));
    this.stateDir = join(this.directory, ".openclaw");
    mkdirSync(this.stateDir, { mode: 0o700 });
  }

  get configFile(): string {
    return join(this.stateDir, "openclaw.json");
  }

  writeConfig(config: unknown): void {
    writeFileSync(this.configFile, JSON.stringify(config, null, 2), { mode: 0o600 });
  }

  readConfig(): unknown {
    return JSON.parse(readFileSync(this.configFile, "utf8"));
  }

  /** Starts one of the product's programs. */
  spawn(args: readonly string[], env: Readonly<Record<string, string>> = {}): ProductProcess {
    return new ProductProcess(this, args, env);
  }

  /** Runs the product's CLI to its end. */
  async cli(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ProductResult> {
    await using process = this.spawn(args, env);
    return await process.ended;
  }

  /** Runs the product's CLI, which must end with exit code 0. */
  async mustRun(args: readonly string[]): Promise<ProductResult> {
    const result = await this.cli(args);
    if (result.code === 0) return result;
    throw new Error(`openclaw ${args.join(" ")} ended with ${result.code}: ${result.stdout}${result.stderr}`);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

export interface ProductResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What standard output says from its first bracket on; undefined when that is no JSON. */
  readonly json: unknown;
}

export class ProductProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  /** Lines of both outputs. */
  readonly lines = new Recorder<string>();
  readonly ended: Promise<ProductResult>;

  constructor(home: ProductHome, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.child = spawn(process.execPath, [entryOf(home.version), ...args], {
      cwd: home.directory,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: pathWithThisNode(),
        HOME: home.directory,
        OPENCLAW_STATE_DIR: home.stateDir,
        OPENCLAW_CONFIG_PATH: home.configFile,
        OPENCLAW_SKIP_CHANNELS: "1",
        OPENCLAW_SKIP_CRON: "1",
        OPENCLAW_DISABLE_BONJOUR: "1",
        OPENCLAW_NO_RESPAWN: "1",
        NODE_NO_WARNINGS: "1",
        NO_COLOR: "1",
        ...env,
      },
    });
    const texts = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      const stream = this.child[name];
      if (stream === null) continue;
      createInterface({ input: stream.setEncoding("utf8") }).on("line", this.lines.push);
      stream.on("data", (text: string) => (texts[name] += text));
    }
    this.ended = once(this.child, "close").then(([code]) => {
      this.lines.end(
        new Error(`openclaw ${args.join(" ")} ended with ${code}:\n${this.lines.items.slice(-20).join("\n")}`),
      );
      return { code: Number(code ?? -1), ...texts, json: jsonIn(texts.stdout) };
    });
  }

  /** The first line that fits, also one that was said already. */
  line(pattern: RegExp, from = 0): Promise<string> {
    return this.lines.find((line) => pattern.test(line), from);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<ProductResult> {
    this.child.kill(signal);
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

export type ProductAuth =
  | { readonly mode: "token" | "password" | "none" }
  | { readonly mode: "trusted-proxy"; readonly trustedProxy: Readonly<Record<string, unknown>> };

export interface ProductGatewayOptions {
  readonly version: Version;
  readonly auth?: ProductAuth;
  /** Further settings below `gateway`. */
  readonly gateway?: Readonly<Record<string, unknown>>;
  readonly port?: number;
}

/**
 * The real gateway on loopback. 2026.9.6 is told to ask about devices of loopback instead of pairing them silently; 2026.3.8 asks only
 * those who come with a foreign Host header (`startHostChanger`).
 */
export class ProductGateway implements AsyncDisposable {
  readonly home: ProductHome;
  readonly port: number;
  process: ProductProcess;

  private constructor(home: ProductHome, port: number) {
    this.home = home;
    this.port = port;
    this.process = this.#spawn();
  }

  /** Resolves when the gateway says that it is ready. */
  static async start({
    version,
    auth = { mode: "token" },
    gateway,
    port,
  }: ProductGatewayOptions): Promise<ProductGateway> {
    const home = new ProductHome(version);
    const ownPort = port ?? (await freePortPair());
    const asks = version === "2026.9.6" ? { nodes: { pairing: { autoApproveLocal: false } } } : {};
    home.writeConfig({
      gateway: {
        mode: "local",
        port: ownPort,
        bind: "loopback",
        // A gateway behind a trusted proxy does not start with a token beside it.
        auth: { ...(auth.mode === "trusted-proxy" ? {} : { token: productToken }), password: productPassword, ...auth },
        controlUi: { enabled: false },
        ...asks,
        ...gateway,
      },
      discovery: { mdns: { mode: "off" } },
      update: { checkOnStart: false },
      // Without this a gateway starts an agent when a node comes, which looks for a model provider.
      agents: { defaults: { heartbeat: { every: "0m" } } },
      ...(version === "2026.9.6" ? { models: { catalogRefresh: { enabled: false } } } : {}),
    });
    const started = new ProductGateway(home, ownPort);
    await started.#ready();
    return started;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** Ends the process and starts another one on the same state and port. */
  async restart(): Promise<void> {
    await this.process.stop();
    this.process = this.#spawn();
    await this.#ready();
  }

  /** Calls a method as the gateway's own backend, with every scope and without a device. */
  async call(method: string, params: unknown = {}): Promise<unknown> {
    await using client = await RawClient.open(this.url);
    const response = await client.connect({
      clientId: "gateway-client",
      mode: "backend",
      role: "operator",
      scopes: everyScope,
      auth: { token: productToken, password: productPassword },
    });
    if (response.ok !== true) throw new Error(`connect: ${JSON.stringify(response.error)}`);
    return await client.call(method, params);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
    this.home[Symbol.dispose]();
  }

  #spawn(): ProductProcess {
    return this.home.spawn([
      "gateway",
      "run",
      "--port",
      String(this.port),
      "--bind",
      "loopback",
      "--allow-unconfigured",
    ]);
  }

  /** It says so over HTTP only, so it is asked until it does, or is gone. */
  async #ready(): Promise<void> {
    const { child } = this.process;
    while (child.exitCode === null && child.signalCode === null) {
      const status = await fetch(`http://127.0.0.1:${this.port}/readyz`).then(
        (response) => response.status,
        () => 0,
      );
      if (status === 200) return;
      await delay(100);
    }
    await this.process.line(/$^/u); // rejects with what it said last
  }
}

/** Its node host. The token goes the way that people are told to take: through the environment. */
export function startProductNode(
  home: ProductHome,
  target: { readonly port: number; readonly token?: string; readonly displayName?: string },
): ProductProcess {
  const name = target.displayName === undefined ? [] : ["--display-name", target.displayName];
  const args = ["node", "run", "--host", "127.0.0.1", "--port", String(target.port), ...name];
  return home.spawn(args, { OPENCLAW_GATEWAY_TOKEN: target.token ?? productToken });
}

/** A free loopback port whose second next is free too: the product takes that one for its browser control. */
async function freePortPair(): Promise<number> {
  for (;;) {
    const first = createServer().listen(0, "127.0.0.1");
    await once(first, "listening");
    const address = first.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const second = createServer().listen(port + 2, "127.0.0.1");
    const isFree = await once(second, "listening").then(
      () => true,
      () => false,
    );
    await Promise.all([first, second].map((server) => new Promise((resolve) => server.close(resolve))));
    if (isFree) return port;
  }
}

function jsonIn(text: string): unknown {
  const start = text.search(/[[{]/u);
  try {
    return start === -1 ? undefined : JSON.parse(text.slice(start));
  } catch {
    return undefined;
  }
}
