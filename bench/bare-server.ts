/** The reference: a bare `ws` server that sends a greeting, and answers each message with the text it was told, or with the message itself. */
import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import * as v from "valibot";
import { WebSocketServer } from "ws";
import { serve } from "./server-process.ts";

const task = v.object({
  greeting: v.optional(v.string()),
  reply: v.optional(v.string()),
  /** Verify an Ed25519 signature before every answer: what no gateway can do without. */
  verifies: v.optional(v.boolean(), false),
});

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
/** As long as what a device signs. */
const signed = randomBytes(320);
const signature = sign(null, signed, privateKey);

serve(async (message) => {
  const { greeting, reply, verifies } = v.parse(task, message);
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on("connection", (socket) => {
    socket.on("error", () => socket.terminate());
    socket.on("message", (data) => {
      if (verifies && !verify(null, signed, publicKey, signature)) throw new Error("the signature does not hold");
      socket.send(reply ?? String(data));
    });
    if (greeting !== undefined) socket.send(greeting);
  });
  await new Promise<void>((resolve) => {
    server.listen({ port: 0, host: "127.0.0.1", noDelay: true, backlog: 1024 }, resolve);
  });
  return { port: (server.address() as AddressInfo).port };
});
