/**
 * One connection's life on the gateway: challenge, connect, gates, hello-ok, then requests until it ends. It owns the socket;
 * what it may do is decided elsewhere.
 */
import { closeCodes } from "../protocol/close.ts";
import { isObject, type RequestFrame } from "../protocol/frame.ts";
import { selectsJsonRpc } from "../protocol/json-rpc.ts";
import { toWireError, unavailable } from "../protocol/wire-error.ts";
import type { CloseInfo, FrameSocket, FrameSocketListener } from "../transport/frame-socket.ts";
import type { OpenSocket } from "../transport/accept.ts";
import { type Dialect, type First, NativeDialect } from "./dialect.ts";
import type { Dispatcher } from "./dispatch.ts";
import type { Admission } from "./gatehouse.ts";
import { helloFor, type HelloHouse } from "./hello.ts";
import type { Invokes } from "./invokes.ts";
import { JsonRpcDialect } from "./json-rpc/dialect.ts";
import type { KeylessPairing } from "./json-rpc/keyless-pairing.ts";
import type { ConnectionDecision } from "./options.ts";
import type { Peer } from "./arrival/peer.ts";
import type { ConnectRefusal } from "./refusal.ts";
import { Session, type SessionFacts } from "./session.ts";
import {
  accepted,
  type DecisionListeners,
  type Gate,
  passed,
  refused,
  reportRefusal,
  type TraceStep,
  traceText,
  upgradeStep,
  whereFields,
} from "./trace.ts";

/** Frames a client may send behind its connect without waiting for hello-ok. */
const maxEarlyFrames = 15;

/** Calls of methods that the role may never call, before the session ends. */
const maxUnauthorizedCalls = 10;

export interface ConnectionHouse extends HelloHouse {
  readonly invokes: Invokes;
  readonly dispatcher: Dispatcher;
  readonly keyless: KeylessPairing;
  readonly onDecision: (decision: ConnectionDecision) => void;
  /** Called once a session is in, and once when it is gone. */
  readonly onSeen: (session: Session, reason: "connect" | "disconnect") => void;
  readonly gone: (connection: Connection) => void;
  /** Another number after every change of the rules. */
  readonly rulesVersion: () => number;
}

/** What is there until the decision. A session that lasts for weeks does not hold on to how it came about. */
interface Handshake {
  readonly peer: Peer;
  readonly header: string | undefined;
  readonly nonce: string;
  /** What the gates have said so far. */
  readonly trace: TraceStep[];
  /** What the client sent behind its connect. */
  readonly early: string[];
  /** What only holds until hello, each as how to end it. */
  readonly limits: readonly (() => void)[];
  /** Called with hello. */
  readonly said: () => void;
}

/** What waits for the end of a handshake. */
export interface HelloListeners {
  /** Called once there was a decision, or none will come. */
  readonly over: () => void;
  /** Called when it has shown who it is. */
  readonly said: () => void;
}

export class Connection implements FrameSocketListener {
  readonly #house: ConnectionHouse;
  readonly #connId: string;
  readonly #socket: FrameSocket;
  #handshake: Handshake | undefined;
  #state: "waiting" | "deciding" | "open" | "closed" = "waiting";
  /** Known by the first message. */
  #dialect: Dialect | undefined;
  #session: Session | undefined;
  #isAlive = true;

  constructor(
    house: ConnectionHouse,
    peer: Peer,
    header: string | undefined,
    open: OpenSocket,
    { over, said }: HelloListeners,
  ) {
    this.#house = house;
    const { runtime, policy } = house;
    const nonce = runtime.uuid();
    this.#connId = runtime.uuid();
    this.#socket = open(this);
    const missDeadline = () => this.abandon(closeCodes.normal, "", this.#missed());
    const limits = [runtime.after(policy.limits.handshakeDeadlineMs, missDeadline), over];
    this.#handshake = { peer, header, nonce, trace: [upgradeStep(header)], early: [], limits, said };
    const payload = { nonce, ts: runtime.now() };
    this.#socket.send(JSON.stringify({ type: "event", event: "connect.challenge", payload }));
  }

  /** True once hello-ok was sent. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  close(code: number, reason: string): void {
    (this.#dialect ?? this.#socket).close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }

  /** Called at every ping interval: a peer that gave no sign of life since the last one is gone. */
  checkAlive(): void {
    if (!this.isOpen) return;
    if (!this.#isAlive) return this.#socket.terminate();
    this.#isAlive = false;
    this.#socket.ping();
  }

  /** Gives up on a handshake that cannot come to a decision any more; the close frame says `reason`, the log `why`. */
  abandon(code: number, reason: string, why = reason): void {
    if (this.#state === "closed" || this.#state === "open") return;
    const error = { code: "INVALID_REQUEST", message: why };
    this.#handshake?.trace.push(refused("frame", why));
    this.#report({ ok: false, refusal: { error, closeCode: code, closeReason: reason } }, this.#endHandshake());
    this.#state = "closed";
    this.#socket.close(code, reason);
  }

  /** What the socket tells, this and the next three: a message. */
  text(text: string): void {
    // Behind our close frame nothing is heard: a session that lost its rights must not use the moments until it is gone.
    if (!this.#socket.isOpen) return undefined;
    switch (this.#state) {
      case "waiting":
        return this.#hearFirst(text);
      case "deciding":
        this.#hearEarly(text);
        return undefined;
      case "open":
        return this.#hearRequest(text);
      case "closed":
        return undefined;
    }
  }

  binary(): void {
    this.text("");
  }

  alive(): void {
    this.#isAlive = true;
  }

  closed({ code, reason }: CloseInfo): void {
    this.#endHandshake();
    this.#state = "closed";
    const session = this.#session;
    if (session !== undefined) {
      this.#house.sessions.remove(session);
      this.#house.invokes.nodeGone(session);
      this.#house.onSeen(session, "disconnect");
      this.#house.runtime.log("debug", "disconnected", { conn: this.#connId, code, reason });
    }
    this.#house.gone(this);
  }

  #missed(): string {
    return `no ${this.#state === "waiting" ? "connect" : "decision"} within the handshake deadline`;
  }

  /** Lets go of what the handshake held, and gives it back for the last time. */
  #endHandshake(): Handshake | undefined {
    const handshake = this.#handshake;
    this.#handshake = undefined;
    for (const end of handshake?.limits ?? []) end();
    return handshake;
  }

  #hearEarly(text: string): void {
    const early = this.#handshake?.early.push(text) ?? 0;
    if (early > maxEarlyFrames) this.abandon(closeCodes.policy, "too many frames before hello-ok");
  }

  #hearFirst(text: string): void {
    const handshake = this.#handshake;
    if (handshake === undefined) return undefined;
    const { peer, header, nonce, trace } = handshake;
    this.#dialect = this.#dialectOf(text);
    const first: First = this.#dialect.first(text);
    switch (first.kind) {
      case "garbage":
        return this.abandon(closeCodes.normal, "", first.why);
      case "refused":
        if (first.gate === "params") trace.push(accepted("frame", "connect"));
        return this.#refuseAt(first.gate, first.id, first.refusal);
      case "connect": {
        const { id, params } = first;
        trace.push(accepted("frame", first.said), accepted("params", "valid"));
        this.#state = "deciding";
        const arrival = { connId: this.#connId, nonce, peer, header, params };
        this.#judge(id, () => first.admit(this.#house, arrival, trace));
      }
    }
  }

  /** Under the rules of this moment; where they have changed before it is in, under those that hold then. */
  #judge(id: string, admit: () => Promise<Admission>): void {
    const version = this.#house.rulesVersion();
    const again = () => {
      if (version === this.#house.rulesVersion()) return false;
      this.#handshake?.trace.push(passed("gateway", "the rules have changed meanwhile"));
      this.#judge(id, admit);
      return true;
    };
    admit().then(
      (admission) => this.#decided(id, admission, again),
      (error: unknown) => this.#failed(id, error),
    );
  }

  #dialectOf(text: string): Dialect {
    if (!selectsJsonRpc(text)) return new NativeDialect(this.#socket, this.#house.policy);
    const { keyless, tables } = this.#house;
    return new JsonRpcDialect(this.#socket, {
      furtherFor: (role) => keyless.methodsFor(role),
      isDeviceRequest: (requestId) => tables.deviceRequests.has(requestId),
    });
  }

  #refuseAt(gate: Gate, id: string, refusal: ConnectRefusal): void {
    this.#handshake?.trace.push(refused(gate, refusal.error.message));
    this.#refuse(id, refusal);
  }

  /** Says no, for what the last step of the trace says. */
  #refuse(id: string, refusal: ConnectRefusal): void {
    this.#report({ ok: false, refusal }, this.#endHandshake());
    this.#state = "closed";
    this.#dialect?.refuse(id, refusal.error);
    this.#dialect?.close(refusal.closeCode, refusal.closeReason);
  }

  /** A gate broke, which is no decision: the client may try again, and the log says what happened. */
  #failed(id: string, error: unknown): void {
    const handshake = this.#endHandshake();
    this.#state = "closed";
    const wire = toWireError(error);
    const { runtime, onDecision } = this.#house;
    const trace = [...(handshake?.trace ?? []), refused("gateway", wire.message)];
    const where = handshake === undefined ? { conn: this.#connId } : whereFields(this.#connId, handshake.peer);
    runtime.log("error", "connect failed", { ...where, error: String(error), trace: traceText(trace) });
    onDecision({ connId: this.#connId, outcome: "refused", code: wire.code, reason: wire.message, trace });
    this.#dialect?.refuse(id, wire);
    this.#dialect?.close(closeCodes.tryAgainLater, wire.message);
  }

  /** `again` has it judged once more where that is needed, and says so. */
  async #decided(id: string, admission: Admission, again: () => boolean): Promise<void> {
    if (this.#state !== "deciding") return; // the handshake was given up meanwhile
    if (!admission.ok) return this.#refuse(id, admission.refusal);
    const dialect = this.#dialect;
    if (dialect === undefined) return;
    try {
      const session = new Session(admission.facts, dialect, admission.removedScopes);
      session.tokenHash = admission.shown?.hash;
      const hello = await helloFor(this.#house, admission, dialect.further);
      if (!this.#socket.isOpen || this.#isClosed() || again()) return;
      this.#assertStillEnrolled(admission.facts);
      const { early = [], said } = this.#handshake ?? {};
      said?.();
      this.#report(admission, this.#endHandshake());
      this.#session = session;
      this.#state = "open";
      session.respondJson(id, hello);
      this.#house.sessions.add(session);
      this.#house.onSeen(session, "connect");
      dialect.opened((frame) => this.#request(session, frame));
      for (const text of early) this.#hearRequest(text);
    } catch (error) {
      this.#failed(id, error);
    }
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  /** The device may have been removed while its hello was made, before there was a session that could be closed. */
  #assertStillEnrolled({ deviceId, role }: SessionFacts): void {
    if (deviceId === undefined || this.#house.devices.isStillEnrolled(deviceId, role)) return;
    throw unavailable("the device's rights changed while it connected; connect again");
  }

  #hearRequest(text: string): void {
    const session = this.#session;
    if (session !== undefined) this.#dialect?.hear(text, (frame) => this.#request(session, frame));
  }

  #request(session: Session, frame: RequestFrame): void {
    this.#house.dispatcher.dispatch(session, frame, this.#dialect?.further);
    if (session.unauthorizedCalls > maxUnauthorizedCalls)
      session.close(closeCodes.policy, "repeated unauthorized calls");
  }

  /** The decision's one log line, and the same facts for who asked to be told. */
  #report(admission: Admission, handshake: Handshake | undefined): void {
    if (handshake === undefined) return;
    const { peer, trace } = handshake;
    if (!admission.ok) return reportRefused(this.#house, this.#connId, peer, admission.refusal, trace);
    const { runtime, onDecision } = this.#house;
    const { role, scopes, deviceId, clientId, clientMode, authenticatedBy } = admission.facts;
    runtime.log("info", "connected", {
      ...whereFields(this.#connId, peer),
      client: `${clientId}/${clientMode}`,
      role,
      device: deviceId,
      by: authenticatedBy,
      user: admission.facts.standing?.user,
      removed: admission.removedScopes?.scopes.join(","),
    });
    onDecision({
      connId: this.#connId,
      outcome: "admitted",
      authenticatedBy,
      role,
      scopes,
      ...(deviceId === undefined ? {} : { deviceId }),
      trace,
    });
  }
}

function reportRefused(
  listeners: DecisionListeners,
  connId: string,
  peer: Peer,
  { error, closeCode }: ConnectRefusal,
  trace: readonly TraceStep[],
): void {
  const details = isObject(error.details) ? error.details : {};
  const code = typeof details["code"] === "string" ? details["code"] : error.code;
  const reason = [details["authReason"], details["reason"], error.message].find((one) => typeof one === "string") ?? "";
  const request = typeof details["requestId"] === "string" ? details["requestId"] : undefined;
  const message = trace.at(-1)?.method === "enrolment" ? "enrolment refused" : "auth failed";
  reportRefusal(listeners, message, { connId, peer, code, reason, trace, fields: { close: closeCode, request } });
}
