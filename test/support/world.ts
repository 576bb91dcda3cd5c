/** A real gateway on a free port of loopback, a clock that tests can move, and ways to meet it as a node or an operator. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createGateway, type Gateway } from "../../src/gateway/index.ts";
import type { ConnectionDecision, GatewayOptions } from "../../src/gateway/options.ts";
import { type LogFields, type LogLevel, type Runtime, systemRuntime } from "../../src/runtime.ts";
import { type Message, makeDevice, RawClient, type RawConnect, type RawDevice, textAt } from "./raw-client.ts";
import { Recorder } from "./recorder.ts";

export const sharedToken = "shared-token-of-the-test-gateway";
export const tokenKey = Buffer.alloc(32, 7);

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** The real runtime with a log that is kept and a clock that can be moved. Its timers stay real. */
export interface TestRuntime extends Runtime {
  readonly lines: Recorder<LogLine>;
  advance(ms: number): void;
}

export function testRuntime(): TestRuntime {
  const lines = new Recorder<LogLine>();
  let aheadMs = 0;
  return {
    ...systemRuntime,
    lines,
    now: () => Date.now() + aheadMs,
    advance: (ms) => void (aheadMs += ms),
    log: (level, message, fields = {}) => lines.push({ level, message, fields }),
  };
}

/** The same runtime for which every pause is over at once: back-offs take no time, and nothing else changes. */
export function impatient(runtime: Runtime): Runtime {
  return { ...runtime, sleep: (ms, signal) => systemRuntime.sleep(Math.min(ms, 5), signal) };
}

/** Everything a gateway's own caller may ask for. */
export const everyScope = [
  "operator.admin",
  "operator.read",
  "operator.write",
  "operator.approvals",
  "operator.pairing",
];

export class World implements AsyncDisposable {
  readonly gateway: Gateway;
  readonly runtime: TestRuntime;
  readonly decisions: Recorder<ConnectionDecision>;
  readonly #clients: RawClient[] = [];

  constructor(gateway: Gateway, runtime: TestRuntime, decisions: Recorder<ConnectionDecision>) {
    this.gateway = gateway;
    this.runtime = runtime;
    this.decisions = decisions;
  }

  get url(): string {
    return this.gateway.url;
  }

  get httpUrl(): string {
    return this.gateway.url.replace(/^ws/u, "http");
  }

  /** A WebSocket that has said nothing yet; closed with the world. */
  async open(headers: Readonly<Record<string, string>> = {}): Promise<RawClient> {
    const client = await RawClient.open(this.url, headers);
    this.#clients.push(client);
    return client;
  }

  /** A connection and what its connect was answered. */
  async connect(
    options: RawConnect,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly client: RawClient; readonly response: Message }> {
    const client = await this.open(headers);
    return { client, response: await client.connect(options) };
  }

  /** One of the gateway's own callers, without a device key. */
  async operator(scopes: readonly string[] = everyScope): Promise<RawClient> {
    return this.admitted({
      role: "operator",
      clientId: "gateway-client",
      mode: "backend",
      scopes,
      auth: { token: sharedToken },
    });
  }

  /** A connection that must be let in. */
  async admitted(options: RawConnect): Promise<RawClient> {
    const { client, response } = await this.connect(options);
    if (response.ok !== true) throw new Error(`not admitted: ${JSON.stringify(response.error)}`);
    return client;
  }

  /** Has the gateway's owner approve a device for what it asks, and gives its device token. */
  async pair(options: RawConnect & { readonly device: RawDevice }): Promise<string> {
    const asked = { auth: { token: sharedToken }, ...options };
    const { client: refusedClient, response } = await this.connect(asked);
    await refusedClient.closed;
    await this.gateway.approve(textAt(response.error?.details, "requestId"));
    const { client, response: hello } = await this.connect(asked);
    client.socket.close();
    await client.closed;
    return textAt(hello.payload, "auth", "deviceToken");
  }

  /** A connected node that may be asked these commands. */
  async node({ device = makeDevice(), commands = ["system.which"], ...more }: RawConnect = {}): Promise<RawNode> {
    const asked = { device, commands, auth: { token: sharedToken }, ...more };
    const deviceToken = await this.pair(asked);
    const client = await this.admitted(asked);
    for (const { nodeId, requestId } of this.gateway.pending().surfaces) {
      if (nodeId === device.id) await this.gateway.approve(requestId);
    }
    return { client, device, deviceToken };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.socket.terminate();
    await this.gateway.close();
  }
}

export interface RawNode {
  readonly client: RawClient;
  readonly device: RawDevice;
  readonly deviceToken: string;
}

/** Starts a gateway with a shared token, unless the options say otherwise. */
export async function startGateway(options: GatewayOptions = {}): Promise<World> {
  const runtime = testRuntime();
  const decisions = new Recorder<ConnectionDecision>();
  const gateway = await createGateway({
    auth: { token: sharedToken },
    tokenKey,
    runtime,
    onDecision: decisions.push,
    ...options,
  });
  return new World(gateway, runtime, decisions);
}

/** A path for a store in a directory of its own, removed when the scope ends. */
export function temporaryStore(): { readonly path: string } & Disposable {
  const directory = mkdtempSync(join(tmpdir(), "openclaw-gateway-"));
  return {
    path: join(directory, "gateway.sqlite"),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
