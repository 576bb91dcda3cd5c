/** createNodeHost: keeps one session with a gateway for as long as it may, and serves the invokes that come through it. */
import { type ClientDescription, type GatewayAddress } from "../client/connect-gateway.ts";
import { CodeAgreement } from "../client/code-agreement.ts";
import type { GatewaySession, Liveness } from "../client/gateway-session.ts";
import { openSession, originOf, type SessionOptions, type TokenMemory } from "../client/open-session.ts";
import { outcomeOf, outcomeOfClose } from "../client/outcome.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import type { DeviceIdentity } from "../identity/device-identity.ts";
import { fingerprint } from "../identity/fingerprint.ts";
import { closeCodes } from "../protocol/close.ts";
import type { EventFrame } from "../protocol/frame.ts";
import type { PairingCode } from "../protocol/pairing-code.ts";
import { type Runtime, systemRuntime } from "../runtime.ts";
import { reconnectBackoff, retryDelay } from "../transport/backoff.ts";
import type { CloseInfo } from "../transport/frame-socket.ts";
import { version } from "../version.ts";
import { askSurface } from "./ask-surface.ts";
import type { InvokeHandler } from "./handlers/index.ts";
import { EventInbox } from "./event-inbox.ts";
import { finalFailure, isRevocation, notApprovedInTime, revoked } from "./final-failure.ts";
import type { NodeEvent } from "./node-event.ts";
import { InvokeServer } from "./serve.ts";
import { SurfaceWatch } from "./surface-watch.ts";
import { describePlatform } from "./platform.ts";

export { type NodeEvent, stateAfter } from "./node-event.ts";

export interface NodeHostOptions {
  readonly gateway: GatewayAddress;
  readonly identity: DeviceIdentity;
  /** The identity that this gateway (`ws(s)://host:port`) knows now, asked before each connection: another process may have rotated the key. */
  readonly identityAt?: ((gateway: string) => Promise<DeviceIdentity | undefined>) | undefined;
  readonly handlers: Readonly<Record<string, InvokeHandler>>;
  readonly credentials?: Pick<SessionOptions, "explicit" | "configured" | "bootstrap">;
  readonly memory?: TokenMemory | undefined;
  readonly displayName?: string | undefined;
  /** The node's own id for its instance, stable over restarts. */
  readonly instanceId?: string | undefined;
  readonly pathEnv?: string | undefined;
  /** True ends the run once the node could be asked something, and at the first failure that another attempt might heal. */
  readonly once?: boolean;
  /** False ends the run at the first request for approval. */
  readonly wait?: boolean;
  /** Milliseconds to wait for approvals before the first `ready`; five minutes unless told otherwise. */
  readonly approvalTimeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly runtime?: Runtime;
  /** When silence counts as the connection's end. */
  readonly liveness?: Liveness | undefined;
  readonly onEvent?: (event: NodeEvent) => void;
}

/** Approvals are asked for again this often: soon enough for a person who watches, seldom enough for the gateway. */
const approvalBackoff = { firstMs: 1000, capMs: 4000 };
/** Milliseconds that a stopping node waits for its commands to end: they are killed well within. */
const stopGraceMs = 3000;
/** Milliseconds that a gateway which does not answer may take to say goodbye to a stopping node. */
const goodbyeMs = 500;
/** Milliseconds between two questions about a command list that is neither approved nor asked for. */
const surfaceDelayMs = 250;
/** So often it is asked before the gateway is taken for one that has nothing to say. */
const maxSurfaceQuestions = 8;
const connectTimeoutMs = 20_000;
const defaultApprovalTimeoutMs = 5 * 60_000;

/** Runs until the signal is aborted (then it resolves) or until something happened that no waiting can heal (then it rejects). */
export async function runNode(options: NodeHostOptions): Promise<void> {
  await new NodeHost(options).run();
}

class NodeHost {
  readonly #options: NodeHostOptions;
  readonly #runtime: Runtime;
  readonly #signal: AbortSignal;
  readonly #giveUpAtMs: number;
  #identity: DeviceIdentity;
  #failedAttempts = 0;
  #approvalAttempts = 0;
  /** The request that was shown last and is not known to be granted. */
  #shownRequest: { readonly requestId: string; readonly layer: "device" | "surface" } | undefined;
  readonly #codes: CodeAgreement;
  #wasReady = false;
  /** The gateway has issued this device a token, and it is written down: an invite has done its work. */
  #hasOwnToken = false;
  readonly #done = new AbortController();
  /** The end of every invoke so far. */
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: NodeHostOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#runtime = options.runtime ?? systemRuntime;
    this.#codes = new CodeAgreement(this.#runtime);
    const { signal: stop } = options;
    this.#signal = stop === undefined ? this.#done.signal : AbortSignal.any([stop, this.#done.signal]);
    this.#giveUpAtMs = this.#runtime.now() + (options.approvalTimeoutMs ?? defaultApprovalTimeoutMs);
  }

  async run(): Promise<void> {
    try {
      while (!this.#signal.aborted) await this.#connectionOnce();
      await this.#stopped("asked to stop");
    } catch (error) {
      if (this.#signal.aborted) return this.#stopped("asked to stop");
      await this.#stopped(error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  /** Says so when what still ran is over: a process that ends before its children leaves them behind. */
  async #stopped(reason: string): Promise<void> {
    const { promise: graceIsOver, resolve: endGrace } = Promise.withResolvers<void>();
    const cancel = this.#runtime.after(stopGraceMs, endGrace);
    await Promise.race([this.#running, graceIsOver]);
    cancel();
    this.#tell({ event: "stopped", reason });
  }

  /** One attempt and, if it succeeds, the whole session; then the wait that its end asks for. */
  async #connectionOnce(): Promise<void> {
    this.#tell({ event: "connecting", url: this.#options.gateway.url });
    const inbox = new EventInbox();
    let session: GatewaySession;
    try {
      session = await this.#open(inbox);
    } catch (error) {
      return this.#afterFailure(error);
    }
    this.#failedAttempts = 0;
    this.#approvalAttempts = 0;
    this.#hasOwnToken ||= session.hello.auth?.deviceToken !== undefined && this.#options.memory !== undefined;
    const { code, reason } = await this.#serve(session, inbox);
    if (this.#signal.aborted) return undefined;
    if (outcomeOfClose(code, reason).kind === "stop") {
      throw new OpenClawError("conflict", "another connection took this node's place at the gateway", {
        hint: "the same identity runs in another process; stop one of them, or give one its own state directory (--profile)",
        details: { closeCode: code },
      });
    }
    // A changed credential is answered by using the new one, at once; anything else may need a moment.
    const backoff = code === closeCodes.credentialChanged ? { firstMs: 100, capMs: 100 } : reconnectBackoff;
    return this.#pause(retryDelay(backoff, 0, this.#chance()), code, reason);
  }

  async #open(inbox: EventInbox): Promise<GatewaySession> {
    const { gateway, credentials = {}, memory, handlers, pathEnv, displayName, instanceId, liveness } = this.#options;
    const client: ClientDescription = {
      id: "node-host",
      mode: "node",
      version,
      ...describePlatform(process.platform),
      displayName,
      instanceId,
    };
    await this.#learnIdentity();
    return openSession({
      gateway,
      client,
      role: "node",
      scopes: [],
      caps: ["system"],
      commands: Object.keys(handlers).toSorted(),
      pathEnv,
      identity: this.#identity,
      ...credentials,
      bootstrap: this.#hasOwnToken ? undefined : credentials.bootstrap,
      memory,
      followRotations: true,
      timeoutMs: connectTimeoutMs,
      codes: this.#codes,
      signal: this.#signal,
      runtime: this.#runtime,
      liveness,
      onEvent: (event) => inbox.push(event),
    });
  }

  /** Who this node is to its gateway now. What cannot be read now is as it was: a session is worth more than a file. */
  async #learnIdentity(): Promise<void> {
    const { identityAt, gateway } = this.#options;
    try {
      this.#identity = (await identityAt?.(originOf(gateway.url))) ?? this.#identity;
    } catch (error) {
      this.#runtime.log("warn", "the device key is used as it was read before", { why: String(error) });
    }
  }

  async #serve(session: GatewaySession, inbox: EventInbox): Promise<CloseInfo> {
    const server = new InvokeServer({
      session,
      handlers: this.#options.handlers,
      runtime: this.#runtime,
      report: (report) => this.#tell({ event: "invoke", ...report }),
    });
    const surface = new SurfaceWatch(session, Object.keys(this.#options.handlers));
    this.#tellApproved("device", surface.deviceApprovedBy);
    const stop = () => {
      void session.close(closeCodes.normal, "node stopped");
      this.#runtime.after(goodbyeMs, () => session.terminate());
      this.#running = Promise.all([this.#running, server.stop()]);
    };
    this.#signal.addEventListener("abort", stop, { once: true });
    const failure = Promise.withResolvers<never>();
    failure.promise.catch(() => {});
    let isAsking = !surface.isKnown;
    const hear = (event: EventFrame) => {
      try {
        server.hear(event);
        if (surface.hear(event) && !isAsking) this.#tellSurface(session, surface);
      } catch (error) {
        failure.reject(error);
      }
    };
    try {
      // An answer may have come already, while the token of hello was written down: first what hello says, or nobody was seen waiting.
      if (!isAsking) this.#tellSurface(session, surface);
      inbox.listen(hear);
      if (isAsking) {
        await this.#askSurface(session, surface);
        this.#tellSurface(session, surface);
      }
      const followed = isAsking ? this.#followSurface(session, surface) : session.closed;
      isAsking = false;
      const giveUp = surface.isReady ? session.closed : this.#approvalDeadline(session, surface);
      return await Promise.race([session.closed, failure.promise, followed, giveUp]);
    } catch (error) {
      await session.close();
      throw error;
    } finally {
      this.#signal.removeEventListener("abort", stop);
      this.#running = Promise.all([this.#running, server.stop()]);
    }
  }

  /** Learns how the command list stands. A gateway that is still about to write the request down is asked again. */
  async #askSurface(session: GatewaySession, surface: SurfaceWatch): Promise<void> {
    try {
      for (let attempt = 0; !surface.isKnown; attempt++) {
        if (attempt > 0) await this.#runtime.sleep(surfaceDelayMs, this.#signal);
        const answer = await askSurface(session);
        surface.learn(answer.kind === "none" && attempt >= maxSurfaceQuestions ? { kind: "unknown" } : answer);
      }
    } catch (error) {
      if (!isFailure(error, "unreachable")) throw error;
      await session.closed;
    }
  }

  /** Asks until the command list is approved: 2026.9.6 tells a node of an approval, and not of a rejection. Resolves with the session's end. */
  async #followSurface(session: GatewaySession, surface: SurfaceWatch): Promise<CloseInfo> {
    try {
      for (let attempt = 0; !surface.isReady; attempt++) {
        await this.#runtime.sleep(retryDelay(approvalBackoff, attempt, this.#chance()), this.#signal);
        const answer = surface.isReady ? undefined : await askSurface(session);
        if (surface.isReady || answer === undefined) break; // an event was faster
        surface.learn(answer);
        this.#tellSurface(session, surface);
      }
    } catch (error) {
      if (!isFailure(error, "unreachable")) throw error;
    }
    return session.closed;
  }

  #tellSurface(session: GatewaySession, surface: SurfaceWatch): void {
    const { deviceId } = this.#identity;
    if (surface.rejection !== undefined) {
      throw new OpenClawError("pairing-rejected", `the command list of this node was rejected${surface.rejection}`, {
        hint: "ask the gateway's owner; then start this node again to make a new request",
      });
    }
    if (surface.requestId !== undefined)
      this.#mustWait(surface.requestId, "surface", `openclaw nodes approve ${surface.requestId}`);
    if (!surface.isReady) return;
    this.#tellApproved("surface", surface.surfaceApprovedBy);
    const { protocol, server } = session.hello;
    this.#wasReady = true;
    const { connId, version: gatewayVersion } = server;
    this.#tell({ event: "ready", deviceId, connId, protocol, gatewayVersion, commands: surface.commands });
    if (this.#options.once === true) this.#done.abort();
  }

  /** Rejects when the command list was not approved in time. Never resolves. */
  async #approvalDeadline(session: GatewaySession, surface: SurfaceWatch): Promise<never> {
    const left = Math.max(0, this.#giveUpAtMs - this.#runtime.now());
    const { promise, reject } = Promise.withResolvers<never>();
    const cancel = this.#runtime.after(left, () => {
      if (!surface.isReady) reject(notApprovedInTime(surface.requestId, "surface"));
    });
    void session.closed.then(cancel);
    return promise;
  }

  async #afterFailure(error: unknown): Promise<void> {
    if (this.#signal.aborted) return;
    const outcome = outcomeOf(error);
    if (!isFailure(error) || outcome.kind === "stop") throw finalFailure(error);
    if (outcome.kind === "wait") {
      if (this.#wasReady && isRevocation(error)) throw revoked(error);
      this.#waitForApproval(error);
      await this.#runtime.sleep(retryDelay(approvalBackoff, this.#approvalAttempts++, this.#chance()), this.#signal);
      return;
    }
    if (this.#options.once === true && error.code !== "starting") throw error;
    const delay = outcome.afterMs ?? retryDelay(reconnectBackoff, this.#failedAttempts++, this.#chance());
    await this.#pause(delay, error.code, error.message);
  }

  #waitForApproval(error: OpenClawError): void {
    const given = error.details?.["requestId"];
    const requestId = typeof given === "string" ? given : "";
    // Agreed on by this very process (client/code-agreement.ts).
    const sas = error.details?.["sas"] as PairingCode | undefined;
    this.#mustWait(requestId, "device", `openclaw devices approve ${requestId}`, sas);
    if (this.#runtime.now() >= this.#giveUpAtMs) throw notApprovedInTime(requestId, "device");
  }

  /** Shows a request once. With `wait` off the first one is the end. */
  #mustWait(requestId: string, layer: "device" | "surface", approve: string, sas?: PairingCode): void {
    if (requestId !== this.#shownRequest?.requestId) {
      this.#shownRequest = { requestId, layer };
      const { deviceId } = this.#identity;
      this.#tell({
        event: "pairing-required",
        requestId,
        deviceId,
        fingerprint: fingerprint(deviceId),
        layer,
        ...(sas === undefined ? {} : { sas }),
        approve,
      });
    }
    if (this.#options.wait !== false) return;
    throw new OpenClawError(
      layer === "device" ? "pairing-required" : "surface-approval-required",
      layer === "device" ? "this device waits for approval" : "this node's command list waits for approval",
      {
        hint: `on the gateway's host: ${approve}`,
        fix: approve,
        details: { requestId, layer, deviceId: this.#identity.deviceId, ...(sas === undefined ? {} : { sas }) },
      },
    );
  }

  /** What was shown as waiting on this layer is granted. */
  #tellApproved(layer: "device" | "surface", by: string | undefined): void {
    if (this.#shownRequest?.layer !== layer) return;
    const { requestId } = this.#shownRequest;
    this.#shownRequest = undefined;
    this.#tell({ event: "approved", layer, requestId, ...(by === undefined ? {} : { by }) });
  }

  async #pause(retryInMs: number, code: number | string, reason: string): Promise<void> {
    this.#tell({ event: "disconnected", code, reason, retryInMs });
    await this.#runtime.sleep(retryInMs, this.#signal);
  }

  #tell(event: NodeEvent): void {
    this.#options.onEvent?.(event);
  }

  #chance(): number {
    return Buffer.from(this.#runtime.random(4)).readUInt32BE() / 2 ** 32;
  }
}
