/** What a tunnel tells while it runs (cli.md § 3, tunnel). */
import type { ForwardRow, ForwardState } from "./forward.ts";

type ForwardAddress = Pick<ForwardRow, "direction" | "bind" | "port" | "target">;

export type TunnelEvent =
  | { readonly event: "connecting"; readonly destination: string }
  | ({ readonly event: "forward" } & ForwardAddress)
  /** A forward stopped listening, or listens again: see `ForwardState`. */
  | ({ readonly event: "forward-changed"; readonly state: ForwardState; readonly problem?: string } & ForwardAddress)
  | { readonly event: "ready"; readonly name: string; readonly pid: number; readonly forwards: readonly ForwardRow[] }
  /** Also after a try to come back that failed. Without `retryInMs` there is no further one. */
  | { readonly event: "disconnected"; readonly reason: string; readonly retryInMs?: number }
  | { readonly event: "reconnected"; readonly downMs: number }
  /** The connection was replaced while it still worked; `draining` connections end on the old one. */
  | { readonly event: "renewed"; readonly reason: string; readonly draining: number }
  | { readonly event: "stopped" };
