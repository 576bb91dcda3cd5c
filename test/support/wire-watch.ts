/**
 * Every text that the WebSockets of this process send and receive, whoever owns them: gateways and clients of ours, and what tests put
 * in the place of either. A text is kept as it is and judged when the test is over, so that watching costs a test next to nothing.
 */
import { WebSocket } from "ws";
import { FrameSocket } from "../../src/transport/frame-socket.ts";

/** One end of a connection; the other one is in this process or in another. */
export interface WireEnd {
  readonly side: "client" | "gateway";
  /** Whether our code sends through it, or a test does. Undefined until it has sent something. */
  owner?: "us" | "test";
}

export interface WireText {
  readonly end: WireEnd;
  readonly from: "client" | "gateway";
  readonly text: string;
}

/** Calls `hear` for every text from now on. To be called once a process. */
export function watchWires(hear: (said: WireText) => void): void {
  const ends = new WeakMap<WebSocket, WireEnd>();
  const endOf = (socket: WebSocket): WireEnd => {
    const end = ends.get(socket) ?? { side: isClient(socket) ? "client" : "gateway" };
    ends.set(socket, end);
    return end;
  };
  let owner: "us" | "test" = "test";

  wrap(FrameSocket.prototype, "send", (send) => {
    owner = "us";
    try {
      return send();
    } finally {
      owner = "test";
    }
  });
  wrap(WebSocket.prototype, "send", (send, socket, [data]) => {
    const end = endOf(socket);
    end.owner ??= owner;
    if (typeof data === "string") hear({ end, from: end.side, text: data });
    return send();
  });
  wrap(WebSocket.prototype, "emit", (emit, socket, [event, data, isBinary]) => {
    if (event === "message" && isBinary === false) {
      const end = endOf(socket);
      hear({ end, from: end.side === "client" ? "gateway" : "client", text: String(data) });
    }
    return emit();
  });
}

/** Only the end that dialled has an address. */
function isClient(socket: WebSocket): boolean {
  return typeof socket.url === "string" && socket.url !== "";
}

/** Puts `around` in the place of a method; its first argument runs the method as it was called. */
function wrap<Name extends string, Self extends Readonly<Record<Name, unknown>>>(
  prototype: Self,
  name: Name,
  around: (original: () => unknown, self: Self, args: readonly unknown[]) => unknown,
): void {
  const original = prototype[name];
  if (typeof original !== "function") throw new TypeError(`${name} is no method`);
  Object.defineProperty(prototype, name, {
    configurable: true,
    writable: true,
    value(this: Self, ...args: readonly unknown[]): unknown {
      return around(() => Reflect.apply(original, this, args), this, args);
    },
  });
}
