/** A local HTTP service for the gateway to stand in front of: each request is kept, and answered by the test or by the answer it was started with. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Recorder } from "./recorder.ts";

export interface UpstreamExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Resolves when the connection of this exchange is over, answered or not. */
  readonly closed: Promise<unknown>;
}

export interface Upstream extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly exchanges: Recorder<UpstreamExchange>;
  /** The exchange that comes as number `index`, from 0. */
  exchange(index?: number): Promise<UpstreamExchange>;
}

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** Starts a service on a free port of loopback. Without an answer, the tests give it. */
export async function startUpstream(answer: Answer = () => {}): Promise<Upstream> {
  const exchanges = new Recorder<UpstreamExchange>();
  const take: Answer = (request, response) => {
    request.on("error", () => {}); // told as a close
    exchanges.push({ request, response, closed: once(response, "close") });
    answer(request, response);
  };
  const server = createServer({ requestTimeout: 0 }, take).on("checkContinue", take);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    exchanges,
    async exchange(index = 0) {
      const seen = await exchanges.find((item) => exchanges.items.indexOf(item) === index);
      return seen;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** An answer as OpenAI-style services stream it: one event for each word, and the mark of the end. */
export const streamWords =
  (...words: readonly string[]): Answer =>
  (request, response) => {
    request.resume();
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (const content of words) response.write(event({ choices: [{ delta: { content } }] }));
    response.end("data: [DONE]\n\n");
  };

/** One server-sent event. */
export function event(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}
