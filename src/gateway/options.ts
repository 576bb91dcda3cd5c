/** What a gateway can be told, and what it does when it is told nothing. */
import type { PublicIdentity } from "../identity/device-identity.ts";
import type { AuthMode, AuthPolicy } from "../pairing/decide-auth.ts";
import type { PairingPolicy } from "../pairing/decide-pairing.ts";
import type { ProxyPolicy, TailscaleMode } from "../pairing/vouched.ts";
import type { CommandPolicy } from "../pairing/command-policy.ts";
import { defaultInvokeTimeoutMs, handshakeDeadlineMs, pingIntervalMs, tickIntervalMs } from "../protocol/limits.ts";
import type { Runtime } from "../runtime.ts";
import { Secret } from "../secret.ts";
import type { RecordStore } from "../store/record-store.ts";
import { AddressList } from "./arrival/address-list.ts";
import type { AttemptLimits } from "./arrival/attempt-limit.ts";
import type { HttpRoute } from "./http/routes.ts";
import type { NewcomerLimits } from "./arrival/newcomers.ts";
import type { TraceStep } from "./trace.ts";
import type { Trust, Whois } from "./arrival/vouching.ts";

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
    /** False: proven local callers need a credential too. */
    readonly loopback?: boolean;
    /** Whose word on their users is taken: proxies at `trustedProxies` (auth.md § 3). */
    readonly trustedProxy?: Partial<ProxyPolicy> & {
      /** Operators with a key that a proxy vouches for are enrolled without a person; `scopes` caps what users get who are not named. */
      readonly deviceAutoApprove?: { readonly enabled?: boolean; readonly scopes?: readonly string[] };
    };
    /** Operator scopes by user, for users that somebody vouches for. */
    readonly identityScopes?: Readonly<Record<string, readonly string[]>>;
    /** `required` answers 401 to an upgrade that carries no right credential; `deferred` waits for the connect frame. */
    readonly upgrade?: "required" | "deferred";
  };
  /** Addresses and ranges of proxies whose headers are believed. */
  readonly trustedProxies?: readonly string[];
  /** Whether users of a tailnet come in through Tailscale Serve; `whois` asks the tailnet who has an address. */
  readonly tailscale?: { readonly mode?: TailscaleMode; readonly whois?: Whois };
  readonly pairing?: Partial<Omit<PairingPolicy, "vouched">> & {
    /** Addresses from which first-time nodes need no approval; never loopback. */
    readonly autoApproveCidrs?: readonly string[];
  };
  readonly commands?: Partial<CommandPolicy>;
  /** Browser origins that may connect, besides the gateway's own. */
  readonly allowedOrigins?: readonly string[];
  /** Local HTTP services that the gateway stands in front of (auth.md § 7). */
  readonly http?: { readonly routes?: readonly HttpRoute[] };
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

/** What may change while a gateway runs. */
export type GatewayRules = Pick<
  GatewayOptions,
  "auth" | "trustedProxies" | "tailscale" | "pairing" | "commands" | "allowedOrigins" | "limits" | "http"
>;

export type GatewayAuthOptions = NonNullable<GatewayOptions["auth"]>;

export interface GatewayLimits extends AttemptLimits, NewcomerLimits {
  readonly handshakeDeadlineMs: number;
  readonly tickIntervalMs: number;
  readonly pingIntervalMs: number;
  readonly invokeTimeoutMs: number;
  /** WebSockets of one client that have not said who they are yet; behind a trusted proxy, the client is who the proxy says. */
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
  maxNewcomersPerAddress: 64,
  maxNewcomers: 1024,
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
  readonly trust: Trust;
  readonly whois: Whois | undefined;
  readonly autoApprove: AddressList;
  readonly limits: GatewayLimits;
}

/** The policy that the options describe. */
export function policyOf(options: GatewayOptions): GatewayPolicy {
  const { auth = {}, pairing = {}, commands = {}, limits = {}, tailscale = {} } = options;
  const { deviceAutoApprove = {}, ...proxy } = auth.trustedProxy ?? {};
  const { autoApproveCidrs = [], ...pairingRules } = pairing;
  return {
    auth: {
      mode: auth.mode,
      token: asSecret(auth.token),
      password: asSecret(auth.password),
      internalSecret: auth.internalSecret,
      loopback: auth.loopback ?? true,
      tailscale: tailscale.mode ?? "disabled",
    },
    upgrade: auth.upgrade ?? "deferred",
    pairing: {
      autoApproveOperators: "proven-local",
      trustedLocalServices: [],
      ...pairingRules,
      vouched: {
        scopesOf: auth.identityScopes ?? {},
        cap: deviceAutoApprove.scopes,
        enrolDevices: deviceAutoApprove.enabled ?? false,
      },
    },
    commands: { allow: [], deny: [], ...commands },
    allowedOrigins: options.allowedOrigins ?? [],
    trust: {
      proxies: new AddressList(options.trustedProxies ?? []),
      proxy: {
        userHeader: proxy.userHeader?.toLowerCase(),
        requiredHeaders: (proxy.requiredHeaders ?? []).map((name) => name.toLowerCase()),
        allowUsers: proxy.allowUsers ?? [],
        allowLoopback: proxy.allowLoopback,
      },
      tailscale: tailscale.mode ?? "disabled",
    },
    whois: tailscale.whois,
    autoApprove: new AddressList(autoApproveCidrs),
    limits: { ...defaultLimits, ...limits },
  };
}

function asSecret(value: string | Secret | undefined): Secret | undefined {
  return typeof value === "string" ? new Secret(value) : value;
}
