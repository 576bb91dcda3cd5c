/**
 * A fire drill: what a tunnel to this server does when the network fails. A second tunnel is opened with the same options, through a relay
 * in this process that fails on purpose, and carries only what the drill itself sends, so that nothing of the person's is touched.
 *
 * The drill's streams go round in a circle: to a local forward here, from there through the server to a remote forward, which leads back to
 * an echo here. So each byte crosses the connection four times, twice each way.
 */
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { OpenClawError, isFailure } from "../errors.ts";
import { systemRuntime, withLog } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { reset } from "../ssh/bridge.ts";
import { connectSsh, defaultKeepaliveMs } from "../ssh/connect.ts";
import type { SshConnection } from "../ssh/connect.ts";
import type { ForwardSpec } from "../ssh/destination.ts";
import { FaultRelay } from "./fault-relay.ts";
import { sshPort } from "../ssh/known-hosts.ts";
import { openTunnel } from "./tunnel.ts";
import type { Tunnel, TunnelEvent, TunnelOptions } from "./tunnel.ts";

/**
 * `cut`: the connection is reset. `freeze`: packets vanish both ways, and nobody is told. `half-open`: what the server sends vanishes.
 * `restart`: the connection is reset, and the server refuses others for a second.
 */
export type Fault = "cut" | "freeze" | "half-open" | "restart";

export const faults: readonly Fault[] = ["cut", "freeze", "half-open", "restart"];

/** The faults that a person named, all of them when none. Throws `usage` for one that there is not. */
export function readFaults(names: readonly string[] = faults): Fault[] {
  return names.map((name) => {
    const fault = faults.find((one) => one === name);
    if (fault !== undefined) return fault;
    throw new OpenClawError("usage", `there is no fault ${JSON.stringify(name)}`, {
      hint: `one of ${faults.join(", ")}`,
    });
  });
}

/** What one fault did. Milliseconds count from the fault; null: not within the drill's patience. */
export interface DrillRow {
  readonly fault: Fault;
  /** Until the tunnel knew that its connection was gone. */
  readonly noticedMs: number | null;
  /** Until a new stream went all the way again. */
  readonly recoveredMs: number | null;
  /** Streams that were open when it happened. */
  readonly streams: number;
  /** Those of them that ended with a reset. */
  readonly streamsLost: number;
  /** What was sent and never came back. */
  readonly bytesLost: number;
  /** What could not be tried, or why it did not recover. */
  readonly note?: string;
}

export interface DrillOptions {
  readonly ssh: TunnelOptions["ssh"];
  readonly hotSpare?: boolean;
  readonly faults?: readonly Fault[];
  readonly runtime?: Runtime;
  readonly signal?: AbortSignal;
  readonly onRow?: (row: DrillRow) => void;
}

const streamCount = 4;
const chunk = Buffer.alloc(1024, "openclaw tunnel drill\n");
const sendEveryMs = 10;
/** What one stream may have under way: a frozen network must not make the drill collect bytes. */
const underWayLimitBytes = 64 * 1024;
const restartDownMs = 1_000;
/** A connection that is lost had been there for a while: by then it also knows which process serves it over there. */
const settleMs = 1_500;
const roundTripPatienceMs = 500;
const retryMs = 10;
/** Noticing takes two keepalives at most, taking back a held port some more. */
const patienceKeepalives = 10;
const patienceMs = 20_000;

/** Runs the faults one after the other, each against a tunnel of its own. Throws what opening the first connection met. */
export async function drillTunnel(options: DrillOptions): Promise<DrillRow[]> {
  const { runtime = systemRuntime, faults: wanted = faults } = options;
  // What the drill breaks is no news of the tunnel.
  const quiet = withLog(runtime, () => {});
  const rows: DrillRow[] = [];
  await using echo = await startEcho();
  for (const fault of wanted) {
    const course = await layCourse(options, echo.port, quiet);
    const row = await runFault(fault, course, options, quiet);
    rows.push(row);
    options.onRow?.(row);
  }
  return rows;
}

/** The forwards of a drill, and why there are not all of them. */
interface Course {
  readonly forwards: readonly ForwardSpec[];
  /** Streams can go round. */
  readonly isCircle: boolean;
  readonly note?: string;
}

/** Asks the server what it permits: a port of its own to listen on, and dialling that port. */
async function layCourse({ ssh, signal }: DrillOptions, echoPort: number, runtime: Runtime): Promise<Course> {
  await using connection = await connectSsh({ ...ssh, runtime }, signal);
  const loopback = "127.0.0.1";
  const port = await freePortThere(connection);
  if (port === undefined) {
    return {
      forwards: [],
      isCircle: false,
      note: "the server permits no other listening port: only the connection was tried",
    };
  }
  const remote: ForwardSpec = {
    direction: "remote",
    bind: loopback,
    port,
    target: { type: "tcp", host: loopback, port: echoPort },
  };
  if (!(await mayDial(connection, port))) {
    const note =
      "the server does not permit dialling the drill's port: the connection and a remote forward were tried, without streams";
    return { forwards: [remote], isCircle: false, note };
  }
  const target = { type: "tcp", host: loopback, port } as const;
  return { forwards: [remote, { direction: "local", bind: loopback, port: 0, target }], isCircle: true };
}

async function runFault(fault: Fault, course: Course, options: DrillOptions, runtime: Runtime): Promise<DrillRow> {
  const { ssh, signal, hotSpare = false } = options;
  const { host, port = sshPort, family } = ssh.jumps?.[0] ?? ssh;
  await using relay = await FaultRelay.start({ host, port, ...(family !== undefined && { family }) }, runtime);
  const told = new Told();
  await using tunnel = await openTunnel({
    ssh: { ...ssh, dialAt: relay.address },
    forwards: course.forwards,
    hotSpare,
    runtime,
    ...(signal !== undefined && { signal }),
    onEvent: (event) => told.tell(event),
  });
  await using streams = new Streams(course.isCircle ? entryOf(tunnel) : undefined, runtime);
  await streams.allMoving();
  await runtime.sleep(settleMs, signal);

  const brokenAtMs = performance.now();
  const sinceThen = () => Math.round((performance.now() - brokenAtMs) * 10) / 10;
  const noticed = told.next(["disconnected", "renewed"]).then(sinceThen);
  const reconnected = told.next(["reconnected"]).then(sinceThen);
  const done = new AbortController();
  const until = AbortSignal.any([done.signal, ...(signal === undefined ? [] : [signal])]);
  const recovered = course.isCircle ? streams.comesRound(until).then(sinceThen) : reconnected;
  const damage = inflict(fault, relay, signal);
  const limitMs = patienceMs + patienceKeepalives * (ssh.keepaliveMs ?? defaultKeepaliveMs);
  try {
    const recoveredMs = await withinPatience(recovered, limitMs, runtime, signal);
    const noticedMs = await withinPatience(noticed, recoveredMs === null ? 0 : limitMs, runtime, signal);
    await damage;
    const problem = recoveredMs === null ? whyNot(tunnel, told, limitMs) : undefined;
    const note = [course.note, problem].filter((part) => part !== undefined).join("; ");
    return { fault, noticedMs, recoveredMs, ...streams.tally(), ...(note !== "" && { note }) };
  } finally {
    done.abort(new Error("the drill is over"));
    await Promise.allSettled([damage, ...(course.isCircle ? [recovered] : [])]);
  }
}

/** Why a tunnel is not what it was: a forward that does not listen, or a connection that does not come. */
function whyNot(tunnel: Tunnel, { lastReason }: Told, limitMs: number): string {
  const forward = tunnel.forwards().find(({ problem }) => problem !== undefined);
  return forward?.problem ?? lastReason ?? `not back within ${limitMs} ms`;
}

async function inflict(fault: Fault, relay: FaultRelay, signal: AbortSignal | undefined): Promise<void> {
  switch (fault) {
    case "cut":
      return relay.cut();
    case "freeze":
      return relay.freeze();
    case "half-open":
      return relay.halfOpen();
    case "restart":
      return relay.restart(restartDownMs, signal);
  }
}

/** Null when it takes longer; rejects when asked to stop. */
async function withinPatience(
  measured: Promise<number>,
  limitMs: number,
  runtime: Runtime,
  signal: AbortSignal | undefined,
): Promise<number | null> {
  const over = new AbortController();
  const limit = runtime.sleep(limitMs, AbortSignal.any([over.signal, ...(signal === undefined ? [] : [signal])]));
  try {
    return await Promise.race([measured, limit.then(() => null)]);
  } finally {
    over.abort(new Error("measured"));
    limit.catch(() => {});
  }
}

/** The events of the drill's tunnel. */
class Told {
  lastReason: string | undefined;
  readonly #waiting = new Set<(event: TunnelEvent) => void>();

  tell(event: TunnelEvent): void {
    if (event.event === "disconnected") this.lastReason = event.reason;
    for (const told of this.#waiting) told(event);
  }

  /** Resolves with the next event of these kinds. */
  next(kinds: readonly TunnelEvent["event"][]): Promise<TunnelEvent> {
    const { promise, resolve } = Promise.withResolvers<TunnelEvent>();
    const told = (event: TunnelEvent) => {
      if (!kinds.includes(event.event)) return;
      this.#waiting.delete(told);
      resolve(event);
    };
    this.#waiting.add(told);
    return promise;
  }
}

/** Streams that send without a pause and count what comes back. */
class Streams implements AsyncDisposable {
  readonly #entry: number | undefined;
  readonly #runtime: Runtime;
  readonly #streams: Stream[] = [];
  readonly #over = new AbortController();

  constructor(entry: number | undefined, runtime: Runtime) {
    this.#entry = entry;
    this.#runtime = runtime;
  }

  /** Opens them; resolves when each of them has heard its echo. */
  async allMoving(): Promise<void> {
    const entry = this.#entry;
    if (entry === undefined) return;
    this.#streams.push(
      ...Array.from({ length: streamCount }, () => new Stream(entry, this.#runtime, this.#over.signal)),
    );
    await Promise.all(this.#streams.map((stream) => stream.moving));
  }

  /** Resolves as soon as a new stream hears its echo. */
  async comesRound(until: AbortSignal): Promise<void> {
    while (!(await comesRoundOnce(this.#entry ?? 0, this.#runtime))) await this.#runtime.sleep(retryMs, until);
  }

  tally(): Pick<DrillRow, "streams" | "streamsLost" | "bytesLost"> {
    const lost = this.#streams.filter(({ isLost }) => isLost);
    return {
      streams: this.#streams.length,
      streamsLost: lost.length,
      bytesLost: lost.reduce((sum, { sentBytes, echoedBytes }) => sum + sentBytes - echoedBytes, 0),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new Error("the drill is over"));
    for (const stream of this.#streams) stream.end();
  }
}

class Stream {
  sentBytes = 0;
  echoedBytes = 0;
  isLost = false;
  /** Resolves with the first echo; rejects when the stream is lost before that. */
  readonly moving: Promise<void>;
  readonly #socket: Socket;

  constructor(entry: number, runtime: Runtime, over: AbortSignal) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.moving = promise;
    this.#socket = connect({ host: "127.0.0.1", port: entry, noDelay: true });
    this.#socket
      .on("data", (bytes: Buffer) => {
        this.echoedBytes += bytes.length;
        resolve();
      })
      .on("error", reject)
      .once("close", () => {
        this.isLost = !over.aborted;
        reject(new Error("the stream was closed"));
      });
    promise.catch(() => {});
    void this.#send(runtime, over).catch(() => {});
  }

  end(): void {
    this.#socket.destroy();
  }

  async #send(runtime: Runtime, over: AbortSignal): Promise<void> {
    while (!this.#socket.destroyed) {
      if (this.sentBytes - this.echoedBytes < underWayLimitBytes) {
        this.#socket.write(chunk);
        this.sentBytes += chunk.length;
      }
      await runtime.sleep(sendEveryMs, over);
    }
  }
}

async function comesRoundOnce(entry: number, runtime: Runtime): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: "127.0.0.1", port: entry, noDelay: true });
  const cancel = runtime.after(roundTripPatienceMs, () => resolve(false));
  socket.once("connect", () => socket.write("?")).once("data", () => resolve(true));
  socket.on("error", () => {}).once("close", () => resolve(false));
  return promise.finally(() => {
    cancel();
    socket.destroy();
  });
}

/** Where the drill's streams enter. */
function entryOf(tunnel: Tunnel): number {
  return tunnel.forwards().find(({ direction }) => direction === "local")?.port ?? 0;
}

/** A port that the server lets us listen on; undefined when there is none. */
async function freePortThere({ client, closed }: SshConnection): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  client.forwardIn("127.0.0.1", 0, (error, port) => {
    if (error !== undefined) return resolve(undefined);
    client.unforwardIn("127.0.0.1", port, () => resolve(port));
  });
  const port = await Promise.race([promise, closed]);
  if (isFailure(port)) throw port;
  return port;
}

/** SSH_OPEN_CONNECT_FAILED (RFC 4254 § 5.1): it would have been permitted. */
const connectFailed = 2;

/** Whether the server lets us dial a port of its own on which nobody listens now. */
async function mayDial({ client, closed }: SshConnection, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  client.forwardOut("127.0.0.1", 0, "127.0.0.1", port, (error, channel) => {
    channel?.on("error", () => {}).close();
    resolve(error === undefined || ("reason" in error && error.reason === connectFailed));
  });
  const permitted = await Promise.race([promise, closed]);
  if (isFailure(permitted)) throw permitted;
  return permitted === true;
}

async function startEcho(): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
    socket.pipe(socket);
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  return {
    port: portOf(server.address()),
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) reset(socket);
      await closed;
    },
  };
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === "object" && address !== null ? address.port : 0;
}
