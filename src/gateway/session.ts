/** One connection that got in: who it is, what it may, and how to reach it. */
import type { DeclaredSurface } from "../pairing/command-policy.ts";
import type { WireError } from "../protocol/frame.ts";
import type { Role } from "../protocol/vocabulary.ts";
import type { FrameSocket } from "../transport/frame-socket.ts";

export interface SessionFacts {
  readonly connId: string;
  readonly role: Role;
  readonly scopes: readonly string[];
  /** Undefined for the gateway's own callers, which come without a device key. */
  readonly deviceId: string | undefined;
  readonly authenticatedBy: string;
  readonly clientId: string;
  readonly clientMode: string;
  readonly clientVersion: string;
  readonly displayName: string | undefined;
  readonly platform: string;
  readonly deviceFamily: string | undefined;
  readonly modelIdentifier: string | undefined;
  readonly instanceId: string | undefined;
  readonly pathEnv: string | undefined;
  readonly protocol: number;
  /** What a node offers, cut to the policy. */
  readonly declared: DeclaredSurface | undefined;
  readonly remoteAddress: string;
  readonly connectedAtMs: number;
}

/** What was asked for and not granted, and why. */
export interface RemovedScopes {
  readonly scopes: readonly string[];
  readonly why: string;
}

export class Session {
  readonly facts: SessionFacts;
  readonly removedScopes: RemovedScopes | undefined;
  readonly #socket: FrameSocket;
  #seq = 0;
  /** The hash of the device token that this session hangs on: it ends with it. Undefined when another credential opened it. */
  tokenHash: string | undefined;
  /** The client has said that it takes new tokens of its device in. */
  takesTokens = false;
  /** Calls of methods that this role may never call; too many of them end the session. */
  unauthorizedCalls = 0;

  constructor(facts: SessionFacts, socket: FrameSocket, removedScopes?: RemovedScopes) {
    this.facts = facts;
    this.removedScopes = removedScopes;
    this.#socket = socket;
  }

  respond(id: string, payload: unknown): void {
    this.#socket.send(JSON.stringify({ type: "res", id, ok: true, payload }));
  }

  /** The same with a payload that is JSON text already. */
  respondJson(id: string, payloadJson: string): void {
    this.#socket.send(`{"type":"res","id":${JSON.stringify(id)},"ok":true,"payload":${payloadJson}}`);
  }

  refuse(id: string, error: WireError): void {
    this.#socket.send(JSON.stringify({ type: "res", id, ok: false, error }));
  }

  /** Sends an event to this session alone. */
  event(name: string, payload: unknown): boolean {
    return this.#socket.send(JSON.stringify({ type: "event", event: name, payload }));
  }

  /** Sends an event that others get too; `payloadJson` is encoded once for all of them, and `seq` shows a lost one. */
  broadcast(name: string, payloadJson: string, stateVersion?: { presence: number; health: number }): void {
    const version = stateVersion === undefined ? "" : `,"stateVersion":${JSON.stringify(stateVersion)}`;
    this.#socket.send(`{"type":"event","event":"${name}","payload":${payloadJson},"seq":${++this.#seq}${version}}`);
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }
}
