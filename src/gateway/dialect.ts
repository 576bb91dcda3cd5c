/** What a connection speaks: how its messages are read, and how answers, refusals and events are written. */
import { closeCodes } from "../protocol/close.ts";
import { decodeFrame, type RequestFrame, type WireError } from "../protocol/frame.ts";
import { type ConnectParams, readConnectParams } from "../protocol/handshake.ts";
import type { RpcFault } from "../protocol/json-rpc.ts";
import { maxBytesBeforeHello } from "../protocol/limits.ts";
import { isFailure } from "../errors.ts";
import type { FrameSocket } from "../transport/frame-socket.ts";
import type { FurtherMethods } from "./dispatch.ts";
import type { Admission, Arrival, Gatehouse } from "./gatehouse.ts";
import { admit } from "./handshake.ts";
import type { GatewayPolicy } from "./options.ts";
import type { ConnectRefusal } from "./refusal.ts";
import type { Gate, TraceStep } from "./trace.ts";

/** Where a session's words go. Ids are the ones that the dialect gave its requests. */
export interface Outlet {
  respond(id: string, payload: unknown): void;
  respondJson(id: string, payloadJson: string): void;
  refuse(id: string, error: WireError, fault?: RpcFault): void;
  /** False when nothing was sent. `order` numbers what others are sent too. */
  event(name: string, payloadJson: string, order?: EventOrder): boolean;
  close(code: number, reason: string): void;
}

export interface EventOrder {
  readonly seq: number;
  readonly stateVersion?: { readonly presence: number; readonly health: number } | undefined;
}

export interface Dialect extends Outlet {
  /** Methods that only this dialect has. */
  readonly further: FurtherMethods | undefined;
  /** The first message. */
  first(text: string): First;
  /** What came together with the connect, once that was answered. */
  opened(request: (frame: RequestFrame) => void): void;
  /** Any later message; what cannot be read is answered here. */
  hear(text: string, request: (frame: RequestFrame) => void): void;
}

/** What the first message is. */
export type First =
  | {
      readonly kind: "connect";
      readonly id: string;
      readonly params: ConnectParams;
      /** What the trace says of it. */
      readonly said: string;
      readonly admit: (house: Gatehouse, arrival: Arrival, trace: TraceStep[]) => Promise<Admission>;
    }
  | { readonly kind: "refused"; readonly id: string; readonly gate: Gate; readonly refusal: ConnectRefusal }
  | { readonly kind: "garbage"; readonly why: string };

/** The dialect of the product, which is ours too. */
export class NativeDialect implements Dialect {
  readonly #socket: FrameSocket;
  readonly #policy: Pick<GatewayPolicy, "pairing">;

  /** The policy may add client ids to the product's. */
  constructor(socket: FrameSocket, policy: Pick<GatewayPolicy, "pairing">) {
    this.#socket = socket;
    this.#policy = policy;
  }

  first(text: string): First {
    let id = "invalid";
    try {
      const frame = decodeFrame(text, "closed", maxBytesBeforeHello);
      if (frame.type !== "event") id = frame.id;
      if (frame.type !== "req" || frame.method !== "connect") {
        return { kind: "refused", gate: "frame", id, refusal: invalid("the first request must be connect") };
      }
      const furtherIds = this.#policy.pairing.trustedLocalServices.map((service) => service.id);
      const read = readConnectParams(frame.params, furtherIds);
      if ("problem" in read) {
        return { kind: "refused", gate: "params", id, refusal: invalid(`invalid connect params: ${read.problem}`) };
      }
      return { kind: "connect", id, params: read.params, said: "connect", admit };
    } catch (error) {
      if (isNotJson(error)) return { kind: "garbage", why: "the first message is not JSON" };
      return { kind: "refused", gate: "frame", id: idOf(error) ?? id, refusal: invalidFrame(error) };
    }
  }

  /** On the class: a field would cost every connection. */
  get further(): undefined {
    return undefined;
  }

  opened(): void {}

  hear(text: string, request: (frame: RequestFrame) => void): void {
    let frame: RequestFrame;
    try {
      const decoded = decodeFrame(text, "closed");
      if (decoded.type !== "req") throw new TypeError("only requests come from clients");
      frame = decoded;
    } catch (error) {
      if (isNotJson(error)) return;
      return this.refuse(idOf(error) ?? "invalid", invalidFrame(error).error);
    }
    request(frame);
  }

  respond(id: string, payload: unknown): void {
    this.#socket.send(JSON.stringify({ type: "res", id, ok: true, payload }));
  }

  respondJson(id: string, payloadJson: string): void {
    this.#socket.send(`{"type":"res","id":${JSON.stringify(id)},"ok":true,"payload":${payloadJson}}`);
  }

  refuse(id: string, error: WireError): void {
    this.#socket.send(JSON.stringify({ type: "res", id, ok: false, error }));
  }

  event(name: string, payloadJson: string, order?: EventOrder): boolean {
    const { seq, stateVersion } = order ?? {};
    const version = stateVersion === undefined ? "" : `,"stateVersion":${JSON.stringify(stateVersion)}`;
    const place = seq === undefined ? "" : `,"seq":${seq}${version}`;
    return this.#socket.send(`{"type":"event","event":"${name}","payload":${payloadJson}${place}}`);
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }
}

/** The refusal of a message that makes no sense. */
export function invalid(message: string): ConnectRefusal {
  return { error: { code: "INVALID_REQUEST", message }, closeCode: closeCodes.policy, closeReason: message };
}

function invalidFrame(error: unknown): ConnectRefusal {
  return invalid(isFailure(error) ? error.message : "invalid frame: only requests come from clients");
}

function isNotJson(error: unknown): boolean {
  return isFailure(error) && error.details?.["notJson"] === true;
}

/** The id of the frame that could not be read, where that much could. */
function idOf(error: unknown): string | undefined {
  const id = isFailure(error) ? error.details?.["id"] : undefined;
  return typeof id === "string" ? id : undefined;
}
