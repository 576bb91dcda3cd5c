/** A gateway started by the CLI in a home of its own, machines that become its nodes, and raw devices that only ask. */
import { readFileSync, writeFileSync } from "node:fs";
import { systemRuntime } from "../../src/runtime.ts";
import { makeDevice, RawClient, type RawConnect, type RawDevice, textAt } from "../support/raw-client.ts";
import { CliHome, type CliResult, type RunningCli } from "../support/run-cli.ts";
import { startRelay } from "../support/relay.ts";
import { impatient } from "../support/world.ts";

/** The machine with the gateway. Its commands find it without being told where it is. */
export class GatewayHome extends CliHome implements AsyncDisposable {
  readonly gateway: RunningCli;
  port = 0;
  /** A port that leads to the gateway's through a relay: how other machines come to it. */
  tunnelPort = 0;
  readonly #started = new AsyncDisposableStack();

  constructor(flags: string) {
    super();
    this.gateway = this.#started.use(this.start(`gateway run --port 0 --json ${flags}`));
  }

  async ready(): Promise<void> {
    this.port = Number((await this.gateway.event("ready"))["port"]);
    this.tunnelPort = this.#started.use(await startRelay(this.port)).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  get tokenFile(): string {
    return this.path(".openclaw", "toolkit", "gateway-token");
  }

  get token(): string {
    return readFileSync(this.tokenFile, "utf8").trim();
  }

  /** Runs a command against this gateway, from this machine. */
  ask(line: string, stdin?: string): Promise<CliResult> {
    return this.run(`${line} --port ${this.port}`, stdin === undefined ? {} : { stdin });
  }

  /** Runs what a node printed as its `approve` command, or anything else to be pasted here. */
  paste(command: unknown): Promise<CliResult> {
    return this.ask(String(command).replace(/^openclaw /u, ""));
  }

  /** A connection through the tunnel that says and signs what it is told to. */
  async connect(options: RawConnect) {
    const client = this.#started.use(await RawClient.open(`ws://127.0.0.1:${this.tunnelPort}`));
    return { client, response: await client.connect({ auth: { token: this.token }, ...options }) };
  }

  /** A device that asks to be let in. Resolves with its request's id. */
  async request(options: RawConnect & { readonly device: RawDevice }): Promise<string> {
    const { response } = await this.connect(options);
    return textAt(response.error?.details, "requestId");
  }

  /** A device that was let in and is gone again. */
  async pair({ device = makeDevice(), ...options }: RawConnect = {}): Promise<RawDevice> {
    const requestId = await this.request({ device, ...options });
    await succeed(this.ask(`devices approve ${requestId}`));
    const { client } = await this.connect({ device, ...options });
    await client[Symbol.asyncDispose]();
    return device;
  }

  /** A machine that runs a node of this gateway, approved on both layers. It ends with this world. */
  async node(displayName: string, flags = ""): Promise<NodeHome> {
    const node = this.#started.use(new NodeHome(this, `--display-name ${displayName} ${flags}`));
    const { requestId } = await node.running.event("pairing-required");
    await succeed(this.ask(`pair approve ${String(requestId)} --surface`));
    await node.running.event("ready");
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started.disposeAsync();
    this[Symbol.dispose]();
  }
}

/** A machine with `node run` on it. */
export class NodeHome extends CliHome implements AsyncDisposable {
  readonly running: RunningCli;

  constructor(gateway: { readonly port: number; readonly token: string }, flags = "") {
    super();
    const tokenFile = this.path("token");
    writeFileSync(tokenFile, gateway.token);
    this.running = this.start(`node run --json --port ${gateway.port} --token-file ${tokenFile} ${flags}`, {
      runtime: impatient(systemRuntime),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.running.stop();
    this[Symbol.dispose]();
  }
}

/** Starts a gateway; resolves once it accepts connections. */
export async function startGatewayHome(flags = ""): Promise<GatewayHome> {
  const home = new GatewayHome(flags);
  await home.ready();
  return home;
}

/** A command that must succeed. */
export async function succeed(running: Promise<CliResult>): Promise<CliResult> {
  const result = await running;
  if (result.code !== 0) throw new Error(`exit ${result.code}: ${result.stdout}${result.stderr}`);
  return result;
}
