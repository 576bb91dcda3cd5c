/** JSON-RPC 2.0 on a connection (auth.md § 6): the same requests, answers and events as in our own dialect, in other words. */
import type { RequestFrame, WireError } from "../../protocol/frame.ts";
import {
  encodeBatch,
  encodeError,
  encodeNotification,
  encodeResult,
  readJsonRpc,
  type RpcFault,
  type RpcId,
  type RpcMessage,
} from "../../protocol/json-rpc.ts";
import { readRpcConnect, type RpcRole } from "../../protocol/json-rpc-connect.ts";
import { maxBytesBeforeHello } from "../../protocol/limits.ts";
import { findMethod } from "../../protocol/methods.ts";
import type { FrameSocket } from "../../transport/frame-socket.ts";
import { type Dialect, type First, invalid } from "../dialect.ts";
import type { FurtherMethods } from "../dispatch.ts";
import { admitRpc } from "./admission.ts";

export interface JsonRpcHouse {
  /** The methods that only this dialect has, for a client that came as `role`. */
  readonly furtherFor: (role: RpcRole) => FurtherMethods;
  /** True for a request of the first layer: a device that waits, and not the command list of a node. */
  readonly isDeviceRequest: (requestId: string) => boolean;
}

/** The answers to one batch, until all of them are there. */
interface Batch {
  readonly answers: string[];
  /** How many are still to come. */
  awaited: number;
}

/** A request whose answer is to come. */
interface Call {
  /** Undefined for a notification. */
  readonly id: RpcId | undefined;
  readonly batch: Batch | undefined;
  /** What a refusal of it is, where that is known beforehand. */
  readonly fault?: RpcFault | undefined;
}

/** What the members of a batch get whose connect was refused. */
const notConnected: WireError = { code: "INVALID_REQUEST", message: "the first request must be connect" };

export class JsonRpcDialect implements Dialect {
  readonly #socket: FrameSocket;
  readonly #house: JsonRpcHouse;
  readonly #calls = new Map<string, Call>();
  /** Batches that owe answers. */
  readonly #batches = new Set<Batch>();
  #lastId = 0;
  #further: FurtherMethods | undefined;
  /** What came in one batch with the connect. */
  #rest: { readonly messages: readonly RpcMessage[]; readonly batch: Batch } | undefined;

  constructor(socket: FrameSocket, house: JsonRpcHouse) {
    this.#socket = socket;
    this.#house = house;
  }

  get further(): FurtherMethods | undefined {
    return this.#further;
  }

  first(text: string): First {
    const reading = readJsonRpc(text, maxBytesBeforeHello);
    if (reading.kind === "unreadable") {
      const id = this.#expect({ id: null, batch: undefined, fault: reading.fault });
      return { kind: "refused", gate: "frame", id, refusal: invalid(reading.problem) };
    }
    const [message, ...rest] = reading.kind === "single" ? [reading.message] : reading.messages;
    const batch = reading.kind === "single" ? undefined : this.#newBatch(reading.messages);
    if (batch !== undefined) this.#rest = { messages: rest, batch };
    const problem = problemOfFirst(message);
    if (message?.kind !== "call" || message.id === undefined || problem !== undefined) {
      if (batch !== undefined && message?.id === undefined) batch.awaited++; // it is answered all the same
      const id = this.#expect({ id: message?.id ?? null, batch, fault: "invalid-request" });
      return { kind: "refused", gate: "frame", id, refusal: invalid(problem ?? notConnected.message) };
    }
    const read = readRpcConnect(message.params);
    const id = this.#expect({ id: message.id, batch, fault: "problem" in read ? "invalid-params" : undefined });
    if ("problem" in read) {
      return { kind: "refused", gate: "params", id, refusal: invalid(`invalid connect params: ${read.problem}`) };
    }
    const { role, params } = read;
    this.#further = this.#house.furtherFor(role);
    return {
      kind: "connect",
      id,
      params,
      said: `connect of JSON-RPC as ${role}`,
      admit: (house, arrival, trace) => admitRpc(house, arrival, role, trace),
    };
  }

  opened(request: (frame: RequestFrame) => void): void {
    const rest = this.#rest;
    this.#rest = undefined;
    for (const message of rest?.messages ?? []) this.#take(message, rest?.batch, request);
  }

  hear(text: string, request: (frame: RequestFrame) => void): void {
    const reading = readJsonRpc(text);
    switch (reading.kind) {
      case "unreadable":
        this.#socket.send(encodeError(null, invalid(reading.problem).error, reading.fault));
        return;
      case "single":
        this.#take(reading.message, undefined, request);
        return;
      case "batch": {
        const batch = this.#newBatch(reading.messages);
        for (const message of reading.messages) this.#take(message, batch, request);
      }
    }
  }

  respond(id: string, payload: unknown): void {
    this.respondJson(id, JSON.stringify(payload) ?? "null");
  }

  respondJson(id: string, payloadJson: string): void {
    this.#answer(id, (rpcId) => encodeResult(rpcId, payloadJson));
  }

  refuse(id: string, error: WireError, fault?: RpcFault): void {
    this.#answer(id, (rpcId, call) => encodeError(rpcId, error, fault ?? call.fault));
  }

  /** Whoever calls over this dialect counts nothing: what is lost is the whole connection. */
  event(name: string, payloadJson: string): boolean {
    return this.#socket.send(encodeNotification(name, payloadJson));
  }

  /** A batch that waits for other answers gives up those that it has. */
  close(code: number, reason: string): void {
    for (const message of this.#rest?.messages ?? []) {
      if (message.kind === "call" && message.id === undefined) continue;
      this.refuse(this.#expect({ id: message.id ?? null, batch: this.#rest?.batch }), notConnected, "invalid-request");
    }
    this.#rest = undefined;
    for (const { answers } of this.#batches) if (answers.length > 0) this.#socket.send(encodeBatch(answers));
    this.#batches.clear();
    this.#socket.close(code, reason);
  }

  #take(message: RpcMessage, batch: Batch | undefined, request: (frame: RequestFrame) => void): void {
    if (!this.#socket.isOpen) return; // a call of the same batch has ended the session
    if (message.kind === "invalid") {
      const id = this.#expect({ id: message.id, batch, fault: "invalid-request" });
      return this.refuse(id, invalid(`invalid request: ${message.problem}`).error);
    }
    const { id: rpcId, params } = message;
    const id = this.#expect({ id: rpcId, batch });
    const method = this.#methodOf(message.method, params);
    if (Array.isArray(params)) {
      const isKnown = findMethod(method) !== undefined || this.#further?.has(method) === true;
      if (params.length > 0 && isKnown) {
        return this.refuse(id, invalid(`invalid ${method} params: give them by name`).error, "invalid-params");
      }
      return request({ type: "req", id, method });
    }
    request({ type: "req", id, method, ...(params === undefined ? {} : { params }) });
  }

  /** What `node.pair.request` has asked for is approved and rejected under the names of its own family, too. */
  #methodOf(method: string, params: unknown): string {
    const own = deviceMethods.get(method);
    if (own === undefined || typeof params !== "object" || params === null || !("requestId" in params)) return method;
    return this.#house.isDeviceRequest(String(params.requestId)) ? own : method;
  }

  #expect(call: Call): string {
    const id = String(++this.#lastId);
    this.#calls.set(id, call);
    return id;
  }

  #answer(id: string, textFor: (id: RpcId, call: Call) => string): void {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (call?.id === undefined) return; // a notification
    const text = textFor(call.id, call);
    const { batch } = call;
    if (batch === undefined) return void this.#socket.send(text);
    batch.answers.push(text);
    if (--batch.awaited > 0) return;
    this.#batches.delete(batch);
    this.#socket.send(encodeBatch(batch.answers));
  }

  #newBatch(messages: readonly RpcMessage[]): Batch {
    const batch = { answers: [], awaited: messages.filter(({ id }) => id !== undefined).length };
    if (batch.awaited > 0) this.#batches.add(batch);
    return batch;
  }
}

const deviceMethods: ReadonlyMap<string, string> = new Map([
  ["node.pair.approve", "device.pair.approve"],
  ["node.pair.reject", "device.pair.reject"],
]);

function problemOfFirst(message: RpcMessage | undefined): string | undefined {
  if (message?.kind === "invalid") return `invalid request: ${message.problem}`;
  if (message?.method !== "connect") return notConnected.message;
  return message.id === undefined ? "connect needs an id: it is answered" : undefined;
}
