/**
 * A client written from protocol.md alone: `ws` and `node:crypto`, nothing of ours. What it can do, any program in any language
 * can do; what it needs and does not get is a fault of the gateway.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { Recorder } from "./recorder.ts";

/** A device as protocol.md § 3 has it: an Ed25519 key, and an id that is the key's SHA-256. */
export interface RawDevice {
  readonly id: string;
  readonly publicKey: string;
  readonly privateKey: KeyObject;
}

export function makeDevice(): RawDevice {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(String(publicKey.export({ format: "jwk" }).x), "base64url");
  return { id: createHash("sha256").update(raw).digest("hex"), publicKey: raw.toString("base64url"), privateKey };
}

export interface RawAuth {
  readonly token?: string;
  readonly password?: string;
  readonly deviceToken?: string;
  readonly bootstrapToken?: string;
}

/** What goes into a connect; everything has the value a node host would send. */
export interface RawConnect {
  readonly device?: RawDevice | undefined;
  readonly role?: string;
  readonly scopes?: readonly string[];
  readonly auth?: RawAuth | undefined;
  readonly clientId?: string;
  readonly mode?: string;
  readonly platform?: string;
  readonly deviceFamily?: string | undefined;
  readonly commands?: readonly string[];
  readonly caps?: readonly string[];
  readonly displayName?: string;
  readonly protocol?: readonly [min: number, max: number];
  readonly payloadVersion?: "v3" | "v2";
  /** Milliseconds by which the device's clock is ahead of the gateway's. */
  readonly clockAheadMs?: number;
  /** Replaces fields of `device` after it was signed. */
  readonly deviceFields?: Readonly<Record<string, unknown>>;
  /** Further fields of the params. */
  readonly more?: Readonly<Record<string, unknown>>;
}

export interface Message {
  readonly type: string;
  readonly id?: string;
  readonly ok?: boolean;
  readonly event?: string;
  readonly seq?: number;
  readonly payload?: unknown;
  readonly error?: { readonly code: string; readonly message: string; readonly details?: unknown };
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** An HTTP answer in place of the upgrade. */
export class UpgradeRefused extends Error {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;

  constructor(status: number, headers: IncomingMessage["headers"], body: string) {
    super(`the upgrade was answered with HTTP ${status}: ${body}`);
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}

export class RawClient implements AsyncDisposable {
  readonly messages = new Recorder<Message>();
  readonly closed: Promise<Closed>;
  readonly socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    const { promise, resolve } = Promise.withResolvers<Closed>();
    this.closed = promise;
    socket.on("message", (data) => this.messages.push(JSON.parse((data as Buffer).toString()) as Message));
    socket.on("error", () => {}); // told as a close
    socket.on("close", (code, reason) => {
      this.messages.end(new Error(`the gateway closed with ${code} ${String(reason)}`));
      resolve({ code, reason: String(reason) });
    });
  }

  /** Opens the WebSocket and no more. Rejects with `UpgradeRefused` when an HTTP answer comes instead. */
  static open(url: string, headers: Readonly<Record<string, string | string[]>> = {}): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, { headers, perMessageDeflate: false });
      const client = new RawClient(socket);
      socket.on("unexpected-response", (_request, response: IncomingMessage) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => {
          reject(new UpgradeRefused(response.statusCode ?? 0, response.headers, Buffer.concat(chunks).toString()));
        });
      });
      socket.on("error", reject);
      socket.on("open", () => resolve(client));
    });
  }

  async challenge(): Promise<{ readonly nonce: string; readonly ts: number }> {
    const { payload } = await this.event("connect.challenge");
    return { nonce: textAt(payload, "nonce"), ts: Number(at(payload, "ts")) };
  }

  /** Waits for the challenge, signs it, connects, and gives whatever the gateway answers. */
  async connect(options: RawConnect): Promise<Message> {
    const { nonce, ts } = await this.challenge();
    return this.request("connect", connectParams(options, nonce, ts));
  }

  /** Sends a request and resolves with its response, right or wrong. */
  request(method: string, params?: unknown): Promise<Message> {
    const id = randomUUID();
    this.sendText(JSON.stringify({ type: "req", id, method, params }));
    return this.response(id);
  }

  response(id: string): Promise<Message> {
    return this.messages.find((message) => message.type === "res" && message.id === id);
  }

  /** The payload of a request that must succeed. */
  async call(method: string, params?: unknown): Promise<unknown> {
    const response = await this.request(method, params);
    if (response.ok !== true) throw new Error(`${method}: ${JSON.stringify(response.error)}`);
    return response.payload;
  }

  /** The error of a request that must fail. */
  async refused(method: string, params?: unknown): Promise<NonNullable<Message["error"]>> {
    const response = await this.request(method, params);
    if (response.ok !== false || response.error === undefined) throw new Error(`${method} was not refused`);
    return response.error;
  }

  /** The next event of this name, from message number `from` on (`messages.items.length` for "from now on"). */
  event(name: string, from = 0, fits: (payload: unknown) => boolean = () => true): Promise<Message> {
    return this.messages.find(
      (message) => message.type === "event" && message.event === name && fits(message.payload),
      from,
    );
  }

  sendText(text: string): void {
    this.socket.send(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close();
    await this.closed;
  }
}

/** The params of a connect, signed as protocol.md § 3 says. */
export function connectParams(options: RawConnect, nonce: string, ts: number): Readonly<Record<string, unknown>> {
  const { device, role = "node", scopes = [], auth, platform = "linux", commands, caps, displayName, more } = options;
  const { clientId = "node-host", mode = "node", protocol = [3, 4] } = options;
  const deviceFamily = "deviceFamily" in options ? options.deviceFamily : "Linux";
  const signedAt = ts + (options.clockAheadMs ?? 0);
  const token = auth?.token ?? auth?.deviceToken ?? auth?.bootstrapToken ?? "";
  const common = [device?.id, clientId, mode, role, scopes.join(","), signedAt, token, nonce];
  const fields =
    options.payloadVersion === "v2"
      ? ["v2", ...common]
      : ["v3", ...common, platform.trim().toLowerCase(), (deviceFamily ?? "").trim().toLowerCase()];
  return {
    minProtocol: protocol[0],
    maxProtocol: protocol[1],
    client: { id: clientId, version: "1.0.0", platform, mode, deviceFamily, displayName },
    role,
    scopes,
    caps,
    commands,
    auth,
    ...(device === undefined
      ? {}
      : {
          device: {
            id: device.id,
            publicKey: device.publicKey,
            signature: sign(null, Buffer.from(fields.join("|")), device.privateKey).toString("base64url"),
            signedAt,
            nonce,
            ...options.deviceFields,
          },
        }),
    ...more,
  };
}

/** The value at a path of keys, or undefined where there is none. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let found = value;
  for (const key of path) {
    if (typeof found !== "object" || found === null) return undefined;
    found = Reflect.get(found, key);
  }
  return found;
}

/** The string at a path; throws when there is none. */
export function textAt(value: unknown, ...path: readonly string[]): string {
  const found = at(value, ...path);
  if (typeof found === "string") return found;
  throw new Error(`no text at ${path.join(".")} of ${JSON.stringify(value)}`);
}

/** The array at a path; throws when there is none. */
export function listAt(value: unknown, ...path: readonly string[]): readonly unknown[] {
  const found = at(value, ...path);
  if (Array.isArray(found)) return found;
  throw new Error(`no list at ${path.join(".")} of ${JSON.stringify(value)}`);
}
