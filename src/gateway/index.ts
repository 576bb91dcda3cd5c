/** createGateway: a gateway in this process, listening when the promise resolves, gone when `close` does. */
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { once } from "node:events";
import { type AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { OpenClawError, systemCode } from "../errors.ts";
import { createIdentity, type PublicIdentity } from "../identity/device-identity.ts";
import type { PairedDevice, PendingDevice, PendingSurface } from "../protocol/methods.ts";
import { closeCodes } from "../protocol/close.ts";
import { handshakeDeadlineMs } from "../protocol/limits.ts";
import { maxBytesBeforeHello } from "../protocol/limits.ts";
import { type Runtime, systemRuntime } from "../runtime.ts";
import type { RecordStore } from "../store/record-store.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import { Acceptor, limitBytes } from "../transport/accept.ts";
import { AttemptLimit } from "./arrival/attempt-limit.ts";
import { Connection, type ConnectionHouse } from "./connection.ts";
import { Dispatcher } from "./dispatch.ts";
import type { Decider } from "./records/change-parts.ts";
import { DeviceTokens } from "./records/device-tokens.ts";
import { Devices } from "./records/devices.ts";
import { certificateFingerprint } from "./endpoint.ts";
import { answerHttp, type HttpHouse } from "./http/api.ts";
import { compileRoutes, type Route } from "./http/routes.ts";
import { refuseUpgrade } from "./http/answers.ts";
import { Invites } from "./records/invites.ts";
import { Invokes } from "./invokes.ts";
import { createMethods } from "./methods/index.ts";
import { type Gauges, Metrics } from "./http/metrics.ts";
import { OpenRequests } from "./http/open-requests.ts";
import { type GatewayOptions, type GatewayPolicy, type GatewayRules, policyOf } from "./options.ts";
import { type HttpRequest, isLoopbackAddress, type Peer, readPeer } from "./arrival/peer.ts";
import { KeylessPairing } from "./json-rpc/keyless-pairing.ts";
import { LastSeen } from "./records/last-seen.ts";
import { Newcomers } from "./arrival/newcomers.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import { lostUnder } from "./standing.ts";
import { Surfaces } from "./records/surfaces.ts";
import { deviceSummary, surfaceSummary } from "./records/summaries.ts";
import { portHolder } from "./arrival/system-sockets.ts";
import { Tables } from "./records/tables.ts";
import { refused, reportRefusal } from "./trace.ts";
import { decideUpgrade, reportHttp, type UpgradeHouse } from "./arrival/upgrade.ts";

/** A running gateway. `await using` it, or call `close`. */
export interface Gateway extends AsyncDisposable {
  /** `ws://host:port`, or `wss://` with TLS. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly identity: PublicIdentity;
  /** Requests that wait for approval: devices, and the command lists of nodes. */
  pending(): { readonly devices: readonly PendingDevice[]; readonly surfaces: readonly PendingSurface[] };
  devices(): readonly PairedDevice[];
  /** Approves a request of either layer by its id, with the owner's rights. Fails like the method would. */
  approve(requestId: string): Promise<void>;
  /**
   * Puts other rules in the place of those that were given: who gets in, with what and how often. They hold for new connections at once, and
   * sessions that they would not let in are closed, with the reason. Address, certificate and store stay as they are.
   */
  setRules(rules: GatewayRules): void;
  /** Tells every session, closes them with 1012, writes down what is left and lets go of the port. */
  close(reason?: string): Promise<void>;
}

/** Starts a gateway. Fails with `port-in-use`, `state-unreadable`, or `usage` for a bind that would be open to everyone. */
export async function createGateway(options: GatewayOptions = {}): Promise<Gateway> {
  const runtime = options.runtime ?? systemRuntime;
  const policy = policyOf(options);
  const host = options.host ?? "127.0.0.1";
  const store = await openStore(options.store, runtime);
  try {
    const tables = await Tables.open(store, runtime);
    const running = new RunningGateway({ options, policy, runtime, tables, host });
    await running.listen(host, options.port ?? 0);
    return running;
  } catch (error) {
    await store.close();
    throw error;
  }
}

interface Parts {
  readonly options: GatewayOptions;
  readonly policy: GatewayPolicy;
  readonly runtime: Runtime;
  readonly tables: Tables;
  readonly host: string;
}

/** How often what other processes changed in the store is taken over. */
const housekeepingMs = 500;

/** How often last-seen times are written: seldom, because each is a record of its own when a thousand nodes come back at once. */
const lastSeenMs = 15_000;

/** Bytes that WebSocket framing adds to what may be sent before hello-ok (RFC 6455 § 5.2: 14 for each frame). */
const frameOverheadBytes = 14 * 16;

/** A request's header has a minute to arrive; its body, on the way to a service that may be slow, has any time. */
const serverLimits = { headersTimeout: handshakeDeadlineMs, connectionsCheckingInterval: 1_000, requestTimeout: 0 };

/** A socket may end while it is being judged. */
const endsUnheard = (): void => {};

/** Who approves when the embedding program itself does. */
const owner: Decider = { connId: "owner", address: "local", name: "the gateway's owner" };

class RunningGateway implements Gateway {
  readonly identity: PublicIdentity;
  readonly host: string;
  /** One object for everybody who asks it: its fields are what changes. */
  readonly #policy: { -readonly [Field in keyof GatewayPolicy]: GatewayPolicy[Field] };
  readonly #rules: GatewayOptions;
  readonly #runtime: Runtime;
  readonly #tables: Tables;
  readonly #devices: Devices;
  readonly #tokens: DeviceTokens;
  readonly #surfaces: Surfaces;
  readonly #sessions: Sessions;
  readonly #server: Server;
  readonly #acceptor = new Acceptor();
  readonly #connections = new Set<Connection>();
  readonly #unauthenticated = new Map<string, number>();
  readonly #newcomers: Newcomers;
  readonly #house: ConnectionHouse & UpgradeHouse;
  readonly #http: HttpHouse;
  #routes: readonly Route[];
  readonly #requests = new OpenRequests();
  readonly #lastSeen: LastSeen;
  readonly #scheme: "ws" | "wss";
  readonly #stopTimers: (() => void)[] = [];
  #port = 0;
  #seenGeneration = 0;
  #rulesVersion = 0;
  #closing: Promise<void> | undefined;

  constructor({ options, policy, runtime, tables, host }: Parts) {
    this.host = host;
    this.identity = options.identity ?? createIdentity(runtime.random(32), runtime.now());
    this.#policy = { ...policy };
    this.#rules = options;
    this.#runtime = runtime;
    this.#tables = tables;
    this.#scheme = options.tls === undefined ? "ws" : "wss";
    const startedAtMs = runtime.now();
    const { limits } = policy;
    this.#sessions = new Sessions(runtime);
    const metrics = new Metrics();
    const invokes = new Invokes(runtime, (outcome) => metrics.invoked(outcome));
    const tokenKey = options.tokenKey ?? runtime.random(32);
    const base = { tables, sessions: this.#sessions, runtime };
    const tokens = new DeviceTokens({ ...base, tokenKey, isBusy: (session) => invokes.isBusy(session) });
    this.#tokens = tokens;
    this.#devices = new Devices({ ...base, tokens, limits, publicKey: this.identity.publicKey });
    this.#surfaces = new Surfaces({ ...base, policy: this.#policy });
    this.#lastSeen = new LastSeen(this.#devices, runtime);
    const shared = {
      tables,
      devices: this.#devices,
      surfaces: this.#surfaces,
      invites: new Invites({ ...base, tokens }),
      attempts: new AttemptLimit(limits, runtime),
      tokens,
      sessions: this.#sessions,
      invokes,
      keyless: new KeylessPairing({ ...base, tokens, devices: this.#devices }),
      policy: this.#policy,
      runtime,
      startedAtMs,
    };
    const tlsFingerprint = options.tls === undefined ? undefined : certificateFingerprint(options.tls.cert);
    const endpoint = () => ({ host, port: this.#port, scheme: this.#scheme, tlsFingerprint });
    const onDecision = options.onDecision ?? (() => {});
    this.#house = {
      ...shared,
      ownPort: () => this.#port,
      dispatcher: new Dispatcher(createMethods({ ...shared, identity: this.identity, endpoint }), runtime),
      onDecision: (decision) => {
        metrics.decided(decision);
        onDecision(decision);
      },
      onSeen: (session, reason) => this.#lastSeen.note(session, reason),
      gone: (connection) => void this.#connections.delete(connection),
      rulesVersion: () => this.#rulesVersion,
      isStopping: () => this.#closing !== undefined,
      unauthenticated: (address) => this.#unauthenticated.get(address) ?? 0,
    };
    const uptimeMs = () => runtime.now() - startedAtMs;
    this.#routes = compileRoutes(options.http?.routes ?? []);
    tables.onDevices(() => this.#requests.review());
    this.#http = {
      ...shared,
      onDecision,
      ownPort: () => this.#port,
      routes: () => this.#routes,
      requests: this.#requests,
      metrics,
      metricsText: () => metrics.text({ uptimeMs: uptimeMs(), ...this.#gauges() }),
      isReady: () => this.#closing === undefined,
      uptimeMs,
      peerOf: (request) => readPeer(request, this.#port, this.#policy.trust),
      known: ({ socket }) => this.#newcomers.known(socket),
    };
    const lastAnswers = new WeakMap<Duplex, ServerResponse>();
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      lastAnswers.set(request.socket, response);
      answerHttp(this.#http, request, response);
    };
    this.#server =
      options.tls === undefined
        ? createHttpServer(serverLimits, answer)
        : createHttpsServer({ ...options.tls, ...serverLimits, handshakeTimeout: limits.handshakeDeadlineMs }, answer);
    this.#newcomers = new Newcomers({
      limits: () => this.#policy.limits,
      standsForMany: (address) => isLoopbackAddress(address) || this.#policy.trust.proxies.has(address),
      runtime,
      cut: (limit) => metrics.wasCut(limit),
      tell: (socket, limit, count) => {
        const peer = readPeer({ socket, headers: {} }, this.#port, this.#policy.trust);
        const reason = limit === "address" ? "too_many_connections_of_address" : "too_many_connections";
        const trace = [refused("capacity", reason)];
        const facts = { connId: runtime.uuid(), peer, code: "CONNECTION_CUT", reason, trace, fields: { count } };
        reportRefusal({ runtime, onDecision }, "connections cut", facts);
      },
    });
    this.#newcomers.guard(this.#server);
    // Who asks before it sends its body is told no before it has sent it.
    this.#server.on("checkContinue", answer).on("checkExpectation", answer);
    this.#server.on("connect", (request: IncomingMessage, socket: Duplex) => {
      this.#refusedHttp(request, 405, "method_not_allowed");
      const message = "CONNECT is not possible here";
      refuseUpgrade(socket, 405, { message, type: "method_not_allowed", code: "method_not_allowed" }, { Allow: "GET" });
    });
    this.#server.on("upgrade", (request, socket, head) => {
      socket.on("error", endsUnheard);
      this.#upgrade(request, socket, head).catch((error: unknown) => {
        runtime.log("error", "upgrade failed", { why: String(error) });
        socket.destroy();
      });
    });
    // Behind a TLS handshake that failed, words of ours would wait for it for ever.
    this.#server.on("tlsClientError", (_error: Error, socket: Duplex) => socket.destroy());
    this.#server.on("clientError", (error, socket) => {
      if (!socket.writable) return;
      if (socket instanceof Socket) this.#refusedHttp({ socket, headers: {} }, 400, systemCode(error) ?? "malformed");
      // In the middle of an answer, these words would be taken for a part of it.
      if (lastAnswers.get(socket)?.writableFinished === false) socket.destroy();
      else socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    const host = this.host === "0.0.0.0" || this.host === "::" ? "127.0.0.1" : this.host;
    return `${this.#scheme}://${host.includes(":") ? `[${host}]` : host}:${this.#port}`;
  }

  async listen(host: string, port: number): Promise<void> {
    try {
      this.#server.listen({ host, port, noDelay: true, backlog: 1024 });
      await once(this.#server, "listening");
    } catch (error) {
      throw await cannotListen(host, port, error);
    }
    this.#server.removeAllListeners("error");
    this.#server.on("error", (error) => this.#runtime.log("error", "server error", { error: String(error) }));
    this.#port = (this.#server.address() as AddressInfo).port;
    const { tickIntervalMs, pingIntervalMs } = this.#policy.limits;
    this.#every(tickIntervalMs, () => this.#sessions.tellAll("tick", { ts: this.#runtime.now() }));
    this.#every(pingIntervalMs, () => this.#connections.forEach((connection) => connection.checkAlive()));
    this.#every(housekeepingMs, () => this.#guarded(() => this.#takeOver()));
    this.#every(lastSeenMs, () => this.#guarded(() => this.#lastSeen.write()));
  }

  pending(): ReturnType<Gateway["pending"]> {
    const nowMs = this.#runtime.now();
    return {
      devices: this.#devices.open(nowMs).map((request) => this.#devices.shown(request)),
      surfaces: this.#surfaces.open().map(surfaceSummary),
    };
  }

  devices(): readonly PairedDevice[] {
    return [...this.#tables.devices.values()].map((device) =>
      deviceSummary(device, this.#sessions.isConnected(device.deviceId)),
    );
  }

  async approve(requestId: string): Promise<void> {
    await this.#tables.refresh();
    if (this.#tables.surfaceRequests.has(requestId)) await this.#surfaces.approve(requestId, owner, () => {});
    else await this.#devices.approve(requestId, "owner", owner, () => {});
  }

  setRules(rules: GatewayRules): void {
    // First, for it may say that the routes cannot work.
    if (rules.http !== undefined) this.#routes = compileRoutes(rules.http.routes ?? []);
    Object.assign(this.#policy, policyOf({ ...this.#rules, ...rules }));
    this.#rulesVersion++;
    this.#surfaces.policyChanged();
    this.#house.attempts.limitTo(this.#policy.limits);
    for (const session of this.#sessions) this.#closeIfLost(session);
    this.#requests.review();
  }

  #closeIfLost(session: Session): void {
    const { authenticatedBy: by, standing, deviceId, clientId, clientMode, scopes } = session.facts;
    const { arrivedBy, user, shown = [] } = standing ?? {};
    const who = { by, shown, user, hasDevice: deviceId !== undefined, clientId, clientMode, scopes };
    const why = lostUnder(this.#policy, who, arrivedBy);
    if (why === undefined) return;
    this.#runtime.log("info", "session closed by new rules", { conn: session.facts.connId, why });
    session.close(closeCodes.credentialChanged, `rules changed: ${why}`);
  }

  close(reason = "gateway stopping"): Promise<void> {
    this.#closing ??= this.#close(reason);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(reason: string): Promise<void> {
    for (const stop of this.#stopTimers) stop();
    this.#sessions.tellAll("shutdown", { reason });
    for (const connection of this.#connections) connection.close(closeCodes.serviceRestart, "service restart");
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const stopWaiting = this.#runtime.after(this.#policy.limits.shutdownGraceMs, () => {
      for (const connection of this.#connections) connection.terminate();
      this.#server.closeAllConnections();
    });
    this.#server.closeIdleConnections();
    await closed;
    stopWaiting();
    try {
      await this.#lastSeen.write();
    } finally {
      await this.#tables.close();
    }
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const peer = readPeer(request, this.#port, this.#policy.trust);
    const decision = await decideUpgrade(this.#house, peer, request, socket);
    if (!decision.ok) return;
    socket.off("error", endsUnheard);
    let isAccepted = false;
    this.#acceptor.accept(request, socket, head, (open) => {
      isAccepted = true;
      const isKnown = this.#countUnauthenticated(peer);
      const stopCounting = limitBytes(socket, maxBytesBeforeHello + frameOverheadBytes, () =>
        connection.abandon(closeCodes.tooBig, "", "too many bytes before hello-ok"),
      );
      const hello = {
        over: () => {
          stopCounting();
          isKnown();
        },
        said: () => this.#newcomers.known(request.socket),
      };
      const connection: Connection = new Connection(this.#house, peer, decision.header, open, hello);
      this.#connections.add(connection);
    });
    if (!isAccepted) this.#refusedHttp(request, 400, "not_a_websocket_upgrade");
  }

  /** The line and the decision of a request that was answered over HTTP and turned away. The query stays out: people put secrets there. */
  #refusedHttp(request: HttpRequest, status: number, reason: string): void {
    const path = request.url?.split("?")[0]?.slice(0, 100);
    const peer = readPeer(request, this.#port, this.#policy.trust);
    reportHttp(this.#http, peer, status, reason, [refused("http", reason)], { method: request.method, path });
  }

  #gauges(): Omit<Gauges, "uptimeMs"> {
    const sessionsByRole = { operator: 0, node: 0 };
    for (const { facts } of this.#sessions) sessionsByRole[facts.role]++;
    return {
      connections: this.#connections.size,
      sessionsByRole,
      devices: this.#tables.devices.size,
      pairingRequests: this.#devices.open(this.#runtime.now()).length,
    };
  }

  /** Counts a socket that has not said who it is; the returned function counts it out, once. */
  #countUnauthenticated({ clientAddress: address }: Peer): () => void {
    const counts = this.#unauthenticated;
    counts.set(address, (counts.get(address) ?? 0) + 1);
    let isCounted = true;
    return () => {
      if (!isCounted) return;
      isCounted = false;
      const left = (counts.get(address) ?? 1) - 1;
      if (left === 0) counts.delete(address);
      else counts.set(address, left);
    };
  }

  /** Decisions made on the store by somebody else, such as an owner without a connection, take effect on live sessions too. */
  async #takeOver(): Promise<void> {
    await this.#tables.refresh();
    await this.#tokens.handovers.keepUp();
    if (this.#tables.generation === this.#seenGeneration) return;
    this.#seenGeneration = this.#tables.generation;
    this.#tokens.handovers.pushUndelivered();
    this.#devices.closeOutdated();
    this.#surfaces.actOnForeignChanges();
    this.#house.keyless.tellResolved();
  }

  /** Housekeeping that fails is logged and tried again at its next turn. */
  #guarded(work: () => Promise<void>): void {
    work().catch((error: unknown) => this.#runtime.log("error", "store not reachable", { error: String(error) }));
  }

  #every(ms: number, action: () => void): void {
    const timer = setInterval(action, ms).unref();
    this.#stopTimers.push(() => clearInterval(timer));
  }
}

async function openStore(store: string | RecordStore | undefined, runtime: Runtime): Promise<RecordStore> {
  if (store === undefined) return openSqliteStore(":memory:", { runtime });
  return typeof store === "string" ? openSqliteStore(store, { runtime }) : store;
}

async function cannotListen(host: string, port: number, cause: unknown): Promise<OpenClawError> {
  const code = systemCode(cause);
  const details = { host, port, systemCode: code };
  switch (code) {
    case "EADDRINUSE": {
      const holder = await portHolder(port);
      const by = holder === undefined ? "" : ` by ${holder.name} (pid ${holder.pid})`;
      return new OpenClawError("port-in-use", `port ${port} on ${host} is taken${by}`, {
        hint: "another gateway may run there already (openclaw gateway status); or take another port with --port",
        details: { ...details, ...(holder === undefined ? {} : { holder }) },
        cause,
      });
    }
    case "EADDRNOTAVAIL":
      return new OpenClawError("usage", `${host} is not an address of this machine`, { details, cause });
    case "EACCES":
      return new OpenClawError("usage", `port ${port} needs rights that this user does not have`, {
        hint: "take a port from 1024 up",
        details,
        cause,
      });
    default:
      return new OpenClawError("failed", `cannot listen on ${host}:${port} (${code ?? String(cause)})`, {
        details,
        cause,
      });
  }
}
