/** One connection that got in: who it is, what it may, and how to reach it. */
import type { DeclaredSurface } from "../pairing/command-policy.ts";
import type { WireError } from "../protocol/frame.ts";
import type { RpcFault } from "../protocol/json-rpc.ts";
import type { AuthMethod } from "../pairing/decide-auth.ts";
import type { Role } from "../protocol/vocabulary.ts";
import type { CredentialDigest } from "../secret.ts";
import type { Outlet } from "./dialect.ts";
import type { Peer } from "./arrival/peer.ts";

export interface SessionFacts {
  readonly connId: string;
  readonly role: Role;
  readonly scopes: readonly string[];
  /** Undefined for the gateway's own callers, which come without a device key. */
  readonly deviceId: string | undefined;
  readonly authenticatedBy: AuthMethod;
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
  /** What new rules may ask about. Of most sessions they ask nothing, and those hold on to nothing. */
  readonly standing: Standing | undefined;
}

export interface Standing {
  /** Where it came from: of pages, and of whom somebody vouches for. */
  readonly arrivedBy: ArrivedBy | undefined;
  /** Who somebody in front of the gateway says it is, where that let it in. */
  readonly user: string | undefined;
  /** Digests of what it showed, where that is in the configuration, which may change. */
  readonly shown: readonly CredentialDigest[] | undefined;
}

export type ArrivedBy = Pick<Peer, "address" | "isLoopback" | "isProxied" | "host" | "origin" | "isFromTailnet">;

/** What was asked for and not granted, and why. */
export interface RemovedScopes {
  readonly scopes: readonly string[];
  readonly why: string;
}

export class Session {
  readonly facts: SessionFacts;
  readonly removedScopes: RemovedScopes | undefined;
  readonly #outlet: Outlet;
  #seq = 0;
  /** The hash of the device token that this session hangs on: it ends with it. Undefined when another credential opened it. */
  tokenHash: string | undefined;
  /** The client has said that it takes new tokens of its device in. */
  takesTokens = false;
  /** Calls of methods that this role may never call; too many of them end the session. */
  unauthorizedCalls = 0;

  constructor(facts: SessionFacts, outlet: Outlet, removedScopes?: RemovedScopes) {
    this.facts = facts;
    this.removedScopes = removedScopes;
    this.#outlet = outlet;
  }

  respond(id: string, payload: unknown): void {
    this.#outlet.respond(id, payload);
  }

  /** The same with a payload that is JSON text already. */
  respondJson(id: string, payloadJson: string): void {
    this.#outlet.respondJson(id, payloadJson);
  }

  /** `fault` says what went wrong where that is not the method's own decision. */
  refuse(id: string, error: WireError, fault?: RpcFault): void {
    this.#outlet.refuse(id, error, fault);
  }

  /** Sends an event to this session alone. False when it is not open any more. */
  event(name: string, payload: unknown): boolean {
    return this.#outlet.event(name, JSON.stringify(payload));
  }

  /** Sends an event that others get too; `payloadJson` is encoded once for all of them, and `seq` shows a lost one. */
  broadcast(name: string, payloadJson: string, stateVersion?: { presence: number; health: number }): void {
    this.#outlet.event(name, payloadJson, { seq: ++this.#seq, stateVersion });
  }

  close(code: number, reason: string): void {
    this.#outlet.close(code, reason);
  }
}
