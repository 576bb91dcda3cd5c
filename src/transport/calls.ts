/** Requests that wait for their responses, matched by id. */
import { OpenClawError } from "../errors.ts";
import { encodeFrame, type ResponseFrame } from "../protocol/frame.ts";
import { fromWireError } from "../protocol/wire-error.ts";

interface Waiting {
  readonly method: string;
  readonly settle: (response: ResponseFrame) => void;
  readonly fail: (error: unknown) => void;
}

export class Calls {
  readonly #send: (text: string) => boolean;
  readonly #waiting = new Map<string, Waiting>();
  #lastId = 0;

  /** `send` puts one message on the wire and says whether it could. */
  constructor(send: (text: string) => boolean) {
    this.#send = send;
  }

  /** Sends a request and resolves with its payload; fails with what the gateway's error means, `timeout`, or the connection's end. */
  call(method: string, params: unknown, timeoutMs: number, signal?: AbortSignal): Promise<unknown> {
    const id = String(++this.#lastId);
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#waiting.delete(id);
      };
      const fail = (error: unknown) => {
        done();
        reject(error);
      };
      const abort = () => fail(signal?.reason);
      const timer = setTimeout(() => fail(noAnswer(method, timeoutMs)), timeoutMs);
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.set(id, {
        method,
        fail,
        settle: (response) => {
          done();
          if (response.ok) resolve(response.payload);
          else reject(fromWireError(response.error ?? { code: "UNAVAILABLE", message: "no reason given" }, method));
        },
      });
      if (!this.#send(encodeFrame({ type: "req", id, method, params }))) {
        fail(new OpenClawError("unreachable", `${method}: the connection to the gateway is closed`));
      }
    });
  }

  /** Hands a response to whoever waits for it; late and unknown ones are ignored. */
  settle(response: ResponseFrame): void {
    this.#waiting.get(response.id)?.settle(response);
  }

  /** Fails everything that waits: the connection is gone. */
  failAll(error: unknown): void {
    for (const waiting of this.#waiting.values()) waiting.fail(error);
  }
}

function noAnswer(method: string, timeoutMs: number): OpenClawError {
  return new OpenClawError("timeout", `${method}: the gateway did not answer within ${timeoutMs} ms`, {
    hint: "give it longer with --timeout",
    details: { timeoutMs },
  });
}
