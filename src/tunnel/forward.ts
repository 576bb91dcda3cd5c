/** One forward and what passed through it, whichever side listens. */
import type { Socket } from "node:net";
import type { BridgeEnd, BridgeObserver } from "../ssh/bridge.ts";
import { connectLending } from "../ssh/lend-reads.ts";
import { formatTarget } from "../ssh/destination.ts";
import type { ForwardDirection, ForwardSpec, ForwardTarget } from "../ssh/destination.ts";
import type { ConnectionRow } from "./report.ts";

/**
 * `listening`: whoever dials is passed on. `target-down`: nobody listens, because nobody would answer. `refused`: the port could not be
 * had, which is tried again. `waiting`: there is no SSH connection.
 */
export type ForwardState = "waiting" | "listening" | "target-down" | "refused";

/** A forward as `tunnel list` shows it. */
export interface ForwardRow {
  readonly direction: ForwardDirection;
  readonly bind: string;
  /** The port that really listens. */
  readonly port: number;
  readonly target: string;
  readonly state: ForwardState;
  /** Why it does not listen. */
  readonly problem?: string;
  readonly activeConnections: number;
  readonly totalConnections: number;
  /** Connections that were turned away: over a limit, or their target did not answer. */
  readonly refusedConnections: number;
  /** Bytes from the side that listens to the target. */
  readonly bytesIn: number;
  /** Bytes from the target to the side that listens. */
  readonly bytesOut: number;
}

/** A connection that passes through; the numbers grow. */
interface Passage {
  readonly id: number;
  readonly from: string;
  readonly openedAtMs: number;
  bytesIn: number;
  bytesOut: number;
}

/** A forward with its counters. It outlives the connections it is offered over, and keeps its port. */
export class Forward {
  readonly spec: ForwardSpec;
  /** The port that listens: the one asked for, or the one that was chosen for 0. */
  port: number;
  #state: ForwardState = "waiting";
  #problem: string | undefined;
  readonly #passages = new Set<Passage>();
  #totalConnections = 0;
  #refusedConnections = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(spec: ForwardSpec) {
    this.spec = spec;
    this.port = spec.port;
  }

  get state(): ForwardState {
    return this.#state;
  }

  /** Notes where it stands, and why when it does not listen. */
  is(state: ForwardState, problem?: string): void {
    this.#state = state;
    this.#problem = problem;
  }

  /** Notes that nobody listens, because nobody would answer. */
  isWithoutTarget(): void {
    this.is("target-down", `${formatTarget(this.spec.target)} does not answer`);
  }

  row(): ForwardRow {
    return {
      ...this.address(),
      state: this.#state,
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
      activeConnections: this.#passages.size,
      totalConnections: this.#totalConnections,
      refusedConnections: this.#refusedConnections,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }

  /** Where it listens and where it leads. */
  address(): Pick<ForwardRow, "direction" | "bind" | "port" | "target"> {
    const { direction, bind, target } = this.spec;
    return { direction, bind, port: this.port, target: formatTarget(target) };
  }

  connections(): ConnectionRow[] {
    const { direction, port, target } = this.address();
    return [...this.#passages].map((passage) => ({ ...passage, direction, port, target }));
  }

  /** Counts a connection that was turned away. */
  refuse(): void {
    this.#refusedConnections++;
  }

  /** Counts a connection from now on. `from` is who dialled, `address:port`; `closed` is told whether the target hung up first. */
  count(from: string, nowMs: number, closed: (byTarget: boolean) => void): BridgeObserver {
    const id = ++this.#totalConnections;
    const passage: Passage = { id, from, openedAtMs: nowMs, bytesIn: 0, bytesOut: 0 };
    this.#passages.add(passage);
    const into = (bytes: number) => {
      this.#bytesIn += bytes;
      passage.bytesIn += bytes;
    };
    const out = (bytes: number) => {
      this.#bytesOut += bytes;
      passage.bytesOut += bytes;
    };
    const targetEnd: BridgeEnd = this.spec.direction === "local" ? "channel" : "local";
    const end = (first: BridgeEnd | undefined) => {
      this.#passages.delete(passage);
      closed(first === targetEnd);
    };
    return targetEnd === "channel"
      ? { fromLocal: into, fromChannel: out, closed: end }
      : { fromLocal: out, fromChannel: into, closed: end };
  }
}

/** A socket on its way to a target on this side, ready to be bridged once it is connected. */
export function dialTarget(target: ForwardTarget): Socket {
  return target.type === "unix"
    ? connectLending({ path: target.path, allowHalfOpen: true })
    : connectLending({ host: target.host, port: target.port, noDelay: true, allowHalfOpen: true });
}
