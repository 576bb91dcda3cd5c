/** What a gateway says before there is a session: the challenge, then the response to connect. */
import { OpenClawError } from "../errors.ts";
import { closeCodes } from "../protocol/close.ts";
import { decodeFrame, type ResponseFrame } from "../protocol/frame.ts";
import { type Challenge, readChallenge } from "../protocol/handshake.ts";
import type { CloseInfo } from "../transport/frame-socket.ts";

/** The id of the connect request, the only one before hello-ok. */
export const connectId = "connect";

/** What comes in before there is a session: the challenge, then the response to connect. Later messages go to the session. */
export class HandshakeInbox {
  readonly #challenge = Promise.withResolvers<Challenge>();
  readonly #response = Promise.withResolvers<ResponseFrame>();
  #forward: { text(text: string): void; alive(): void; closed(info: CloseInfo): void } | undefined;
  #isAnswered = false;
  #late: string[] = [];
  #closed: CloseInfo | undefined;

  constructor() {
    // Nobody may be waiting when the connection breaks; the failure is told to whoever asks next.
    this.#challenge.promise.catch(() => {});
    this.#response.promise.catch(() => {});
  }

  challenge(): Promise<Challenge> {
    return this.#challenge.promise;
  }

  response(): Promise<ResponseFrame> {
    return this.#response.promise;
  }

  /** Hands over what came behind hello-ok, and everything from now on. */
  handOver(receiver: { text(text: string): void; alive(): void; closed(info: CloseInfo): void }): void {
    this.#forward = receiver;
    for (const text of this.#late.splice(0)) receiver.text(text);
    if (this.#closed !== undefined) receiver.closed(this.#closed);
  }

  text(text: string): void {
    if (this.#forward !== undefined) return this.#forward.text(text);
    if (this.#isAnswered) return void this.#late.push(text);
    try {
      const frame = decodeFrame(text);
      if (frame.type === "event" && frame.event === "connect.challenge") {
        const challenge = readChallenge(frame.payload);
        if (challenge !== undefined) this.#challenge.resolve(challenge);
      } else if (frame.type === "res" && frame.id === connectId) {
        this.#isAnswered = true;
        this.#response.resolve(frame);
      } else {
        this.#late.push(text);
      }
    } catch (error) {
      this.#fail(
        new OpenClawError("not-a-gateway", "what answers there does not speak the gateway protocol", { cause: error }),
      );
    }
    return undefined;
  }

  pinged(): void {
    this.#forward?.alive();
  }

  alive(): void {
    this.#forward?.alive();
  }

  closed(info: CloseInfo): void {
    this.#closed = info;
    if (this.#forward !== undefined) return this.#forward.closed(info);
    this.#fail(closedEarly(info));
    return undefined;
  }

  #fail(error: OpenClawError): void {
    this.#challenge.reject(error);
    this.#response.reject(error);
  }
}

/** The connection ended before hello-ok, and without an error frame that would say why. */
function closedEarly({ code, reason, cause }: CloseInfo): OpenClawError {
  const details = { closeCode: code, closeReason: reason };
  switch (code) {
    case closeCodes.tryAgainLater:
    case closeCodes.serviceRestart:
      return new OpenClawError("starting", `the gateway is restarting (${reason || code})`, { details });
    case closeCodes.protocolMismatch:
      return new OpenClawError("incompatible", "the gateway speaks another version of the protocol", { details });
    case closeCodes.policy:
      return new OpenClawError("unauthorized", `the gateway closed the connection: ${reason || "no reason given"}`, {
        details,
      });
    default:
      return new OpenClawError(
        "unreachable",
        `the connection ended before the gateway said hello (close code ${code})`,
        {
          hint: "if it goes through a tunnel, check that the gateway behind the tunnel runs",
          details,
          cause,
        },
      );
  }
}
