/** One forward and what passed through it, whichever side listens. */
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { BridgeObserver } from "./bridge.ts";
import { formatTarget } from "./destination.ts";
import type { ForwardDirection, ForwardSpec, ForwardTarget } from "./destination.ts";

/** A forward as `tunnel list` shows it. */
export interface ForwardRow {
  readonly direction: ForwardDirection;
  readonly bind: string;
  /** The port that really listens. */
  readonly port: number;
  readonly target: string;
  readonly activeConnections: number;
  readonly totalConnections: number;
  /** Bytes from the side that listens to the target. */
  readonly bytesIn: number;
  /** Bytes from the target to the side that listens. */
  readonly bytesOut: number;
}

/** A forward with its counters. It outlives the connections it is offered over, and keeps its port. */
export class Forward {
  readonly spec: ForwardSpec;
  /** The port that listens: the one asked for, or the one that was chosen for 0. */
  port: number;
  #activeConnections = 0;
  #totalConnections = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(spec: ForwardSpec) {
    this.spec = spec;
    this.port = spec.port;
  }

  row(): ForwardRow {
    const { direction, bind, target } = this.spec;
    return {
      direction,
      bind,
      port: this.port,
      target: formatTarget(target),
      activeConnections: this.#activeConnections,
      totalConnections: this.#totalConnections,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }

  /** Counts a connection from now on. */
  count(): BridgeObserver {
    this.#activeConnections++;
    this.#totalConnections++;
    const into = (bytes: number) => void (this.#bytesIn += bytes);
    const out = (bytes: number) => void (this.#bytesOut += bytes);
    const closed = () => void this.#activeConnections--;
    return this.spec.direction === "local"
      ? { fromLocal: into, fromChannel: out, closed }
      : { fromLocal: out, fromChannel: into, closed };
  }
}

/** A socket on its way to a target on this side, ready to be bridged once it is connected. */
export function dialTarget(target: ForwardTarget): Socket {
  return target.type === "unix"
    ? connect({ path: target.path, allowHalfOpen: true })
    : connect({ host: target.host, port: target.port, noDelay: true, allowHalfOpen: true });
}
