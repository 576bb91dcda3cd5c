/** A tunnel that this process owns, with all that lets other commands find it: its name, record, control socket and log. */
import { OpenClawError, isFailure } from "../errors.ts";
import { withLog } from "../runtime.ts";
import type { LogFields, LogLevel, Runtime } from "../runtime.ts";
import { TunnelLog, tunnelLogPath } from "../state/tunnel-log.ts";
import {
  leaveSeat,
  nameForTunnel,
  prepareSeat,
  publishTunnel,
  type TunnelRecord,
  type TunnelSeat,
  withdrawTunnel,
} from "../state/tunnel-record.ts";
import { type ControlMethods, ownerMethods, serveControl, type TunnelOwner } from "../tunnel/control-server.ts";
import { type ForwardSpec, formatDestination } from "../ssh/destination.ts";
import { Forward } from "../tunnel/forward.ts";
import { ConnectionLimits, type LimitOptions } from "../tunnel/limits.ts";
import type { TunnelReport, TunnelSummary } from "../tunnel/report.ts";
import { openTunnel, type Tunnel, type TunnelEvent, type TunnelOptions } from "../tunnel/tunnel.ts";
import type { Context } from "./context.ts";

export interface TunnelHostOptions extends Omit<TunnelOptions, "signal" | "runtime" | "name" | "limits"> {
  /** As a person wrote it; what SSH was given when absent. */
  readonly destination?: string;
  /** What people call it; a free name made of the destination when absent. */
  readonly name: string | undefined;
  readonly limits?: Omit<LimitOptions, "runtime">;
  /** What its control socket answers besides what every tunnel's does. */
  readonly methods?: ControlMethods;
  readonly onEvent: (event: TunnelEvent) => void;
}

/** A tunnel that is up. Disposing of it closes it and takes down all that was put up for it. */
export interface HostedTunnel extends AsyncDisposable {
  readonly tunnel: Tunnel;
  /** As `Tunnel.closed`; what it rejects with is in the log by then. */
  readonly closed: Promise<void>;
  /** Writes down what ended whoever uses the tunnel. */
  readonly noteFailure: (error: unknown) => void;
}

/**
 * Opens a tunnel; resolves once it is up. Throws what `openTunnel` throws, and `conflict` when a tunnel of this name runs. Other
 * commands see it from the first moment: one that never gets its connection can be closed too.
 */
export async function hostTunnel(context: Context, options: TunnelHostOptions): Promise<HostedTunnel> {
  const { runDir, logDir } = context.paths();
  await using undo = new AsyncDisposableStack();
  const stop = new AbortController();
  const destination = options.destination ?? formatDestination(options.ssh);
  const owner = new Owner(destination, options.forwards, context.runtime, stop);

  // The socket first: whoever finds the record can ask.
  const seat = await prepareSeat(runDir, context.runtime);
  const leave = () => leaveSeat(runDir, seat);
  undo.defer(leave);
  const methods = {
    ...ownerMethods(owner, context.runtime),
    ...drillMethod(options, context.runtime),
    ...options.methods,
  };
  undo.use(await serveControl({ path: seat.socket, nonce: seat.nonce, methods, runtime: context.runtime }));
  // Also before the last client is hung up on: who asked for the end finds nothing left.
  undo.defer(leave);
  const record = await publish(runDir, options.name, { destination, ...seat }, context.runtime);
  const { name } = record;
  undo.defer(() => withdrawTunnel(runDir, record));
  owner.name = name;

  const log = new TunnelLog(tunnelLogPath(logDir, name), context.runtime);
  undo.use(log);
  const runtime = withLog(context.runtime, (level, message, fields) => {
    context.runtime.log(level, message, fields);
    noteLine(log, level, message, fields);
  });
  const { limits, destination: _written, methods: _more, ...rest } = options;
  try {
    owner.tunnel = await openTunnel({
      ...rest,
      limits: new ConnectionLimits({ ...limits, runtime }),
      name,
      runtime,
      signal: AbortSignal.any([context.options.signal, stop.signal]),
      onEvent: (event) => {
        const { event: word, ...facts } = event;
        log.write(word, facts);
        options.onEvent(event);
      },
    });
  } catch (error) {
    noteFailure(log, error);
    throw error;
  }
  const tunnel = undo.use(owner.tunnel);
  const closed = tunnel.closed.catch((error: unknown) => {
    noteFailure(log, error);
    throw error;
  });
  closed.catch(() => {}); // nobody has to wait for the end
  const steps = undo.move();
  return {
    tunnel,
    closed,
    noteFailure: (error) => noteFailure(log, error),
    [Symbol.asyncDispose]: () => steps.disposeAsync(),
  };
}

/** Takes the name that was asked for, or the first free one: others may take names at the same time. */
async function publish(
  runDir: string,
  wanted: string | undefined,
  facts: Pick<TunnelRecord, "destination"> & TunnelSeat,
  runtime: Runtime,
): Promise<TunnelRecord> {
  for (;;) {
    const name = await nameForTunnel(runDir, wanted, facts.destination, runtime);
    try {
      return await publishTunnel(runDir, { name, ...facts }, runtime);
    } catch (error) {
      if (wanted !== undefined || !isFailure(error, "conflict")) throw error;
    }
  }
}

/** What the control socket asks: the tunnel once it is up, and until then what is known of it. */
class Owner implements TunnelOwner {
  name = "";
  tunnel: Tunnel | undefined;
  readonly #destination: string;
  readonly #waiting: () => TunnelReport;
  readonly #stop: AbortController;

  constructor(destination: string, forwards: readonly ForwardSpec[], runtime: Runtime, stop: AbortController) {
    this.#destination = destination;
    const startedAtMs = runtime.now();
    this.#stop = stop;
    this.#waiting = () => ({
      name: this.name,
      destination,
      state: "reconnecting",
      pid: process.pid,
      uptimeMs: runtime.now() - startedAtMs,
      reconnects: 0,
      forwards: forwards.map((spec) => new Forward(spec).row()),
      startedAtMs,
      errors: [],
      history: [],
      draining: 0,
      connections: [],
    });
  }

  summary(): TunnelSummary {
    if (this.tunnel !== undefined) return { ...this.tunnel.summary(), destination: this.#destination };
    const { name, destination, state, pid, uptimeMs, reconnects, forwards } = this.#waiting();
    return { name, destination, state, pid, uptimeMs, reconnects, forwards };
  }

  report(): TunnelReport {
    if (this.tunnel === undefined) return this.#waiting();
    return { ...this.tunnel.report(), destination: this.#destination };
  }

  check() {
    return this.#up().check();
  }

  reopen(reason: string) {
    return this.#up().reopen(reason);
  }

  async close(): Promise<void> {
    this.#stop.abort(new OpenClawError("failed", "the tunnel was closed before it was up"));
    await this.tunnel?.close();
  }

  #up(): Tunnel {
    if (this.tunnel !== undefined) return this.tunnel;
    throw new OpenClawError("ssh", "the tunnel is not up yet", { hint: "try again in a moment" });
  }
}

/** `tunnel drill` runs where the credentials are; one at a time, or they would measure each other. */
function drillMethod({ ssh, hotSpare = false }: TunnelHostOptions, runtime: Runtime): ControlMethods {
  let isRunning = false;
  return {
    drill: async ({ params, signal, row }) => {
      if (isRunning) throw new OpenClawError("conflict", "a drill of this tunnel is under way");
      isRunning = true;
      try {
        const { drillTunnel, readFaults } = await import("../tunnel/drill.ts");
        const names = Array.isArray(params["faults"]) ? params["faults"].map(String) : undefined;
        const faults = readFaults(names);
        return { drills: await drillTunnel({ ssh, hotSpare, faults, runtime, signal, onRow: row }) };
      } finally {
        isRunning = false;
      }
    },
  };
}

/** Levels below `info` stay out: what was said is for who debugs now. */
function noteLine(log: TunnelLog, level: LogLevel, message: string, fields: LogFields = {}): void {
  if (level !== "debug") log.write("log", { level, message, ...fields });
}

function noteFailure(log: TunnelLog, error: unknown): void {
  if (isFailure(error)) log.write("failed", { code: error.code, message: error.message });
  else log.write("failed", { message: error instanceof Error ? error.message : String(error) });
}
