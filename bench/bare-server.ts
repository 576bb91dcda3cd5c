/** The reference: a bare `ws` server that sends a greeting, and answers each message with the text it was told, or with the message itself. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import * as v from "valibot";
import { WebSocketServer } from "ws";
import { serve } from "./server-process.ts";

const task = v.object({
  greeting: v.optional(v.string()),
  reply: v.optional(v.string()),
});

serve(async (message) => {
  const { greeting, reply } = v.parse(task, message);
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on("connection", (socket) => {
    socket.on("error", () => socket.terminate());
    socket.on("message", (data) => {
      socket.send(reply ?? String(data));
    });
    if (greeting !== undefined) socket.send(greeting);
  });
  await new Promise<void>((resolve) => {
    server.listen({ port: 0, host: "127.0.0.1", noDelay: true, backlog: 1024 }, resolve);
  });
  return { port: (server.address() as AddressInfo).port };
});
