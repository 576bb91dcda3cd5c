// The reference for a gateway that has just started: node:http and `ws`, listening, and a line that says so. JavaScript, because what
// the package ships is JavaScript too: stripping types costs 20 MiB.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const server = createServer();
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
server.listen(0, "127.0.0.1", () => process.stdout.write("ready\n"));
