/** A JSON-RPC 2.0 client written from auth.md § 6 and the standard alone: `ws`, and nothing of ours. */
import { WebSocket } from "ws";
import { at, type Closed, textAt } from "./raw-client.ts";
import { Recorder } from "./recorder.ts";
import { sharedToken } from "./world.ts";

/** Anything that may arrive: one message, or the answers to a batch. */
export type RpcAnswer = Readonly<Record<string, unknown>> | readonly Readonly<Record<string, unknown>>[];

export interface RpcConnectOptions {
  readonly role?: string;
  readonly auth?: Readonly<Record<string, string>> | undefined;
  readonly name?: string;
  readonly more?: Readonly<Record<string, unknown>>;
}

/** A browser page or a tunnel has another Host than the gateway's own: nothing on this connection counts as local. */
export const fromElsewhere = { Host: "gateway.example" };

export class RpcClient implements AsyncDisposable {
  readonly messages = new Recorder<RpcAnswer>();
  readonly closed: Promise<Closed>;
  readonly socket: WebSocket;
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    const { promise, resolve } = Promise.withResolvers<Closed>();
    this.closed = promise;
    socket.on("message", (data) => this.messages.push(JSON.parse((data as Buffer).toString()) as RpcAnswer));
    socket.on("close", (code, reason) => {
      this.messages.end(new Error(`the gateway closed with ${code} ${String(reason)}`));
      resolve({ code, reason: String(reason) });
    });
  }

  static open(url: string, headers: Readonly<Record<string, string>> = {}): Promise<RpcClient> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, { headers, perMessageDeflate: false });
      const client = new RpcClient(socket);
      socket.on("error", reject);
      socket.on("open", () => resolve(client));
    });
  }

  /** Opens and connects; the client and what its connect was answered. */
  static async connect(url: string, options: RpcConnectOptions = {}, headers: Readonly<Record<string, string>> = {}) {
    const client = await RpcClient.open(url, headers);
    return { client, answer: await client.request("connect", connectParams(options)) };
  }

  /** One that must be let in. */
  static async admitted(url: string, options: RpcConnectOptions = {}, headers: Readonly<Record<string, string>> = {}) {
    const { client, answer } = await RpcClient.connect(url, options, headers);
    if (at(answer, "result") === undefined) throw new Error(`not admitted: ${JSON.stringify(answer)}`);
    return Object.assign(client, { hello: at(answer, "result") });
  }

  send(message: unknown): void {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** Sends a request and gives its answer, right or wrong. */
  request(method: string, params?: unknown): Promise<RpcAnswer> {
    const id = ++this.#lastId;
    this.send({ jsonrpc: "2.0", id, method, ...(params === undefined ? {} : { params }) });
    return this.messages.find((message) => at(message, "id") === id);
  }

  /** The result of a request that must succeed. */
  async call(method: string, params?: unknown): Promise<unknown> {
    const answer = await this.request(method, params);
    if (at(answer, "error") !== undefined) throw new Error(`${method}: ${JSON.stringify(at(answer, "error"))}`);
    return at(answer, "result");
  }

  /** The error of a request that must fail. */
  async refused(method: string, params?: unknown): Promise<unknown> {
    const answer = await this.request(method, params);
    const error = at(answer, "error");
    if (error === undefined) throw new Error(`${method} was not refused: ${JSON.stringify(answer)}`);
    return error;
  }

  /** The params of the next notification of this name. */
  async notification(method: string, from = 0): Promise<unknown> {
    return at(await this.messages.find((message) => at(message, "method") === method, from), "params");
  }

  /** Answers what only the connection as a whole was asked: the next message from number `from` on that fits. */
  next(fits: (message: RpcAnswer) => boolean, from = 0): Promise<RpcAnswer> {
    return this.messages.find(fits, from);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close();
    await this.closed;
  }
}

export function connectParams({ role = "control", name = "panel", more, ...given }: RpcConnectOptions): unknown {
  const auth = "auth" in given ? given.auth : { token: sharedToken };
  return { role, ...(auth === undefined ? {} : { auth }), client: { name, version: "1.0" }, ...more };
}

/** The token that a client without a key is told once `approve` has let it in. */
export async function pairKeyless(
  url: string,
  approve: (requestId: string) => Promise<unknown>,
  params: Readonly<Record<string, unknown>> = {},
  role = "control",
): Promise<{ readonly token: string; readonly deviceId: string; readonly claim: string }> {
  await using client = await RpcClient.admitted(url, { role }, fromElsewhere);
  const asked = await client.call("node.pair.request", params);
  await approve(textAt(asked, "requestId"));
  const told = await client.notification("node.pair.resolved");
  return { token: textAt(told, "token"), deviceId: textAt(told, "deviceId"), claim: textAt(asked, "claim") };
}
