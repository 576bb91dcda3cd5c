/** A gateway that goes only so far: it opens, challenges, says hello, and then answers what it was given answers for. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import { Recorder } from "../support/recorder.ts";
import { everyScope } from "../support/world.ts";
import { emptySnapshot } from "./scripted-gateway.ts";

export interface HalfGateway extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** The methods that were called, `connect` among them. */
  readonly called: Recorder<string>;
}

interface HalfGatewayOptions {
  readonly says: "nothing" | "challenge" | "hello";
  /** What calls are answered with, by their method; the others never are. */
  readonly answers?: Readonly<Record<string, unknown>>;
}

export async function startHalfGateway({ says, answers = {} }: HalfGatewayOptions): Promise<HalfGateway> {
  const called = new Recorder<string>();
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  const replies: Readonly<Record<string, unknown>> = says === "hello" ? { connect: hello, ...answers } : {};
  server.on("connection", (socket) => {
    socket.on("message", (data: Buffer) => {
      const { id, method } = JSON.parse(data.toString()) as { id: string; method: string };
      called.push(method);
      if (Object.hasOwn(replies, method))
        socket.send(JSON.stringify({ type: "res", id, ok: true, payload: replies[method] }));
    });
    if (says !== "nothing") socket.send(challenge);
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `ws://127.0.0.1:${port}`,
    called,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        for (const client of server.clients) client.terminate();
        server.close(() => resolve());
      }),
  };
}

const challenge = JSON.stringify({ type: "event", event: "connect.challenge", payload: { nonce: "n", ts: 1 } });
const hello = {
  type: "hello-ok",
  protocol: 4,
  server: { version: "1", connId: "c" },
  features: { methods: [], events: [] },
  snapshot: emptySnapshot,
  auth: { role: "operator", scopes: everyScope },
  policy: { maxPayload: 1, maxBufferedBytes: 1, tickIntervalMs: 1 },
};
