/** What a running tunnel tells about itself: the shapes behind `tunnel list`, `tunnel inspect` and `tunnel check`. */
import type { ForwardDirection } from "../ssh/destination.ts";
import type { ForwardRow } from "./forward.ts";

/** `up`: connected and every forward asked for; `reconnecting`: the next try is under way; `down`: closed, or given up. */
export type TunnelState = "up" | "reconnecting" | "down";

/** One line of `tunnel list`. */
export interface TunnelSummary {
  readonly name: string;
  /** `user@host:port` as it was given. */
  readonly destination: string;
  readonly state: TunnelState;
  readonly pid: number;
  readonly uptimeMs: number;
  /** Connections that were lost and replaced. */
  readonly reconnects: number;
  readonly forwards: readonly ForwardRow[];
}

/** Everything of `tunnel inspect`. */
export interface TunnelReport extends TunnelSummary {
  readonly startedAtMs: number;
  /** The SSH connection in use; absent while there is none. */
  readonly ssh?: SshReport;
  /** Absent until the first answer came. */
  readonly roundTrip?: RoundTrip;
  /** The last failures, oldest first. */
  readonly errors: readonly { readonly atMs: number; readonly message: string }[];
  /** The last connections and losses, oldest first. */
  readonly history: readonly HistoryRow[];
  /** Streams that still pass over connections that were replaced. */
  readonly draining: number;
  /** What is open now. */
  readonly connections: readonly ConnectionRow[];
}

export interface SshReport {
  /** `SHA256:…` of the server's host key. */
  readonly hostKeyFingerprint: string;
  readonly connectedAtMs: number;
  /** The process that serves us over there, once the server said so; what a later connection ends when the network has lost it. */
  readonly serverPid?: number | undefined;
  readonly keyExchange?: string | undefined;
  readonly hostKeyAlgorithm?: string | undefined;
  /** What encrypts and protects, from us to the server and back. */
  readonly cipher?: { readonly out: string; readonly in: string };
  readonly mac?: { readonly out: string; readonly in: string };
  /** Whether the library's native addon encrypts; without it Node.js does, and bulk is slower. */
  readonly nativeCrypto: boolean;
  /** Whether a second connection stands by. */
  readonly hotSpare: boolean;
}

/** Milliseconds from a question to the server's answer, over the last samples. */
export interface RoundTrip {
  readonly lastMs: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly samples: number;
}

export interface HistoryRow {
  readonly atMs: number;
  readonly what: "connected" | "lost" | "failed" | "reconnected" | "replaced";
  readonly reason?: string;
  /** How long nothing passed. */
  readonly downMs?: number;
}

/** One forwarded connection. */
export interface ConnectionRow {
  readonly id: number;
  readonly direction: ForwardDirection;
  /** The port that was dialled. */
  readonly port: number;
  /** Who dialled it, `address:port` as the listening side saw it. */
  readonly from: string;
  readonly target: string;
  readonly openedAtMs: number;
  /** Bytes from who dialled to the target, and back. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** One forward of `tunnel check`: whether a connection made at its listening end reached its target. */
export interface ForwardCheck {
  readonly direction: ForwardDirection;
  readonly bind: string;
  readonly port: number;
  readonly target: string;
  readonly ok: boolean;
  /** From dialling to the target's acceptance. */
  readonly latencyMs?: number;
  readonly problem?: string;
  /** What could not be tried, though nothing failed. */
  readonly note?: string;
}
