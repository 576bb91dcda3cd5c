/** What a gateway can be told, and what it does when it is told nothing. */
import type { PublicIdentity } from "../identity/device-identity.ts";
import type { AuthMode, AuthPolicy } from "../pairing/decide-auth.ts";
import type { PairingPolicy } from "../pairing/decide-pairing.ts";
import type { CommandPolicy } from "../pairing/command-policy.ts";
import { defaultInvokeTimeoutMs, handshakeDeadlineMs, pingIntervalMs, tickIntervalMs } from "../protocol/limits.ts";
import type { Runtime } from "../runtime.ts";
import { Secret } from "../secret.ts";
import type { RecordStore } from "../store/record-store.ts";
import type { AttemptLimits } from "./attempt-limit.ts";
import type { TraceStep } from "./trace.ts";

export interface GatewayOptions {
  /** Address to listen on; 127.0.0.1 unless told otherwise. */
  readonly host?: string;
  /** Port to listen on; 0, the default, takes a free one. */
  readonly port?: number;
  /** PEM texts; with them the gateway speaks wss and https. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly auth?: {
    readonly mode?: AuthMode;
    readonly token?: string | Secret;
    readonly password?: string | Secret;
    readonly internalSecret?: Secret;
    /** `required` answers 401 to an upgrade that carries no right credential; `deferred` waits for the connect frame. */
    readonly upgrade?: "required" | "deferred";
  };
  readonly pairing?: Partial<PairingPolicy>;
  readonly commands?: Partial<CommandPolicy>;
  /** Browser origins that may connect, besides the gateway's own. */
  readonly allowedOrigins?: readonly string[];
  /** A path to a database file, a store of your own, or nothing: then everything is forgotten at the end. */
  readonly store?: string | RecordStore;
  /** 32 bytes that device tokens are derived with; keep them, or tokens cannot be handed out again after a restart. */
  readonly tokenKey?: Uint8Array;
  /** Who the gateway is; made up when left out. */
  readonly identity?: PublicIdentity;
  readonly limits?: Partial<GatewayLimits>;
  readonly runtime?: Runtime;
  /** Told of every decision about a connection, refused or not: what logs and inspectors are made of. */
  readonly onDecision?: (decision: ConnectionDecision) => void;
}

export interface GatewayLimits extends AttemptLimits {
  readonly handshakeDeadlineMs: number;
  readonly tickIntervalMs: number;
  readonly pingIntervalMs: number;
  readonly invokeTimeoutMs: number;
  /** Sockets of one address that have not said who they are yet. */
  readonly maxUnauthenticatedPerAddress: number;
  /** Pairing requests waiting at once, of one address and in all. */
  readonly maxRequestsPerAddress: number;
  readonly maxRequests: number;
  /** Milliseconds that the sessions get to leave when the gateway stops. */
  readonly shutdownGraceMs: number;
}

const defaultLimits: GatewayLimits = {
  handshakeDeadlineMs,
  tickIntervalMs,
  pingIntervalMs,
  invokeTimeoutMs: defaultInvokeTimeoutMs,
  maxUnauthenticatedPerAddress: 32,
  maxRequestsPerAddress: 16,
  maxRequests: 256,
  shutdownGraceMs: 1000,
  maxAttempts: 20,
  attemptWindowMs: 60_000,
  lockoutMs: 300_000,
};

/** One connection's way through the gates, for people and programs that ask why. No secrets in it. */
export interface ConnectionDecision {
  readonly connId: string;
  readonly outcome: "admitted" | "refused";
  /** `details.code` of a refused connect, `error.code` where it has none, `HTTP <status>` of what was refused before. */
  readonly code?: string;
  readonly reason?: string;
  readonly authenticatedBy?: string;
  readonly role?: string;
  readonly scopes?: readonly string[];
  readonly deviceId?: string;
  /** Every gate on the way; of a refusal, the last one is where it ended. */
  readonly trace: readonly TraceStep[];
}

/** The rules of one gateway, with every default filled in. */
export interface GatewayPolicy {
  readonly auth: AuthPolicy;
  readonly upgrade: "required" | "deferred";
  readonly pairing: PairingPolicy;
  readonly commands: CommandPolicy;
  readonly allowedOrigins: readonly string[];
  readonly limits: GatewayLimits;
}

/** The policy that the options describe. */
export function policyOf(options: GatewayOptions): GatewayPolicy {
  const { auth = {}, pairing = {}, commands = {}, limits = {} } = options;
  return {
    auth: {
      mode: auth.mode,
      token: asSecret(auth.token),
      password: asSecret(auth.password),
      internalSecret: auth.internalSecret,
    },
    upgrade: auth.upgrade ?? "deferred",
    pairing: { autoApproveOperators: "proven-local", trustedLocalServices: [], ...pairing },
    commands: { allow: [], deny: [], ...commands },
    allowedOrigins: options.allowedOrigins ?? [],
    limits: { ...defaultLimits, ...limits },
  };
}

function asSecret(value: string | Secret | undefined): Secret | undefined {
  return typeof value === "string" ? new Secret(value) : value;
}
