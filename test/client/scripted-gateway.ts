/** A gateway that answers each request with what a test's function says, right or wrong. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";

export interface ScriptedGateway extends AsyncDisposable {
  readonly url: string;
}

export type Answer =
  | { readonly ok: true; readonly payload: unknown }
  | {
      readonly ok: false;
      readonly error: {
        readonly code: string;
        readonly message: string;
        readonly details?: unknown;
        readonly retryAfterMs?: number;
      };
    };

export async function startScriptedGateway(
  answer: (method: string, params: unknown) => Answer,
): Promise<ScriptedGateway> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", (socket) => {
    socket.on("message", (data: Buffer) => {
      const { id, method, params } = JSON.parse(data.toString()) as { id: string; method: string; params: unknown };
      socket.send(JSON.stringify({ type: "res", id, ...answer(method, params) }));
    });
    socket.send(JSON.stringify({ type: "event", event: "connect.challenge", payload: { nonce: "n", ts: 1 } }));
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `ws://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        for (const client of server.clients) client.terminate();
        server.close(() => resolve());
      }),
  };
}

/** What a gateway says of itself before anything has happened. */
export const emptySnapshot = { presence: [], health: {}, stateVersion: { presence: 0, health: 0 }, uptimeMs: 0 };

/** The hello-ok of a gateway of this version that has these methods. */
export function hello(methods: readonly string[], auth?: unknown, version = "2026.3.8"): Answer {
  return {
    ok: true,
    payload: {
      type: "hello-ok",
      protocol: 3,
      server: { version, connId: "c" },
      features: { methods, events: [] },
      snapshot: emptySnapshot,
      policy: { maxPayload: 1, maxBufferedBytes: 1, tickIntervalMs: 1 },
      auth,
    },
  };
}
