/** How a gateway stops: everybody is told, nothing is left open, and stopping twice is stopping once. */
import { once } from "node:events";
import { connect as connectTcp, createServer } from "node:net";
import { expect, test } from "vitest";
import { createGateway } from "../../src/gateway/index.ts";
import { makeDevice, UpgradeRefused } from "../support/raw-client.ts";
import { sharedToken, startGateway, temporaryStore, tokenKey } from "../support/world.ts";

test("operators and nodes are told, then closed with 1012", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { client: node } = await world.node();
  const silent = await world.open();
  await world.gateway.close("update");
  for (const client of [operator, node]) {
    expect((await client.event("shutdown")).payload).toEqual({ reason: "update" });
    expect(await client.closed).toEqual({ code: 1012, reason: "service restart" });
  }
  expect((await silent.closed).code).toBe(1012);
});

test("the port is free afterwards", async () => {
  await using world = await startGateway();
  await world.operator();
  await world.gateway.close();
  const next = createServer().listen(world.gateway.port, "127.0.0.1");
  await once(next, "listening");
  expect(next.listening).toBe(true);
  next.close();
});

test("closing twice is closing once", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  await Promise.all([world.gateway.close(), world.gateway.close()]);
  await world.gateway.close();
  expect(operator.messages.items.filter(({ event }) => event === "shutdown")).toHaveLength(1);
});

test("an invoke that waits does not keep the gateway, and fails for the operator", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const { client: node, device } = await world.node();
  const call = operator.request("node.invoke", { nodeId: device.id, command: "system.which", idempotencyKey: "k" });
  const outcome = call.then(
    ({ ok, error }) => ({ ok, error }),
    (error: unknown) => String(error),
  );
  await node.event("node.invoke.request");
  await world.gateway.close();
  expect(await outcome).toContain("1012");
});

test("peers that never answer the close frame are dropped after the grace", async () => {
  await using world = await startGateway({ limits: { shutdownGraceMs: 50 } });
  const operator = await world.operator();
  Reflect.get(operator.socket, "_receiver").removeAllListeners("conclude");
  const idle = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  idle.on("error", () => {});
  await once(idle, "connect");
  idle.write("GET / HTTP/1.1\r\n"); // and never finishes
  const gone = once(idle, "close");
  await world.gateway.close();
  await gone;
  expect((await operator.closed).code).toBe(1006);
});

test("a connection that comes while the gateway stops is turned away", async () => {
  await using world = await startGateway({ limits: { shutdownGraceMs: 200 } });
  const operator = await world.operator();
  Reflect.get(operator.socket, "_receiver").removeAllListeners("conclude"); // keeps it stopping for the grace
  // An open HTTP connection is the only way in: the port itself no longer takes new ones.
  const socket = connectTcp({ host: "127.0.0.1", port: world.gateway.port });
  await once(socket, "connect");
  socket.write("GET /ready HTTP/1.1\r\n");
  await fetch(`${world.httpUrl}/health`); // by now the line above was read
  const closing = world.gateway.close();
  socket.write(`Host: x\r\nAuthorization: Bearer ${sharedToken}\r\n\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(String(answer)).toMatch(/^HTTP\/1\.1 503 [\s\S]*"failing":\["stopping"\]/u);
  socket.destroy();
  await closing;
  await expect(world.open()).rejects.not.toBeInstanceOf(UpgradeRefused);
});

test("when devices were last seen is written down before the store is closed", async () => {
  using store = temporaryStore();
  await using world = await startGateway({ store: store.path });
  const { device } = await world.node();
  await world.gateway.close();
  await using next = await createGateway({ store: store.path, tokenKey });
  expect(next.devices()).toMatchObject([{ deviceId: device.id, lastSeenAtMs: expect.any(Number), connected: false }]);
});

test("a port that is taken is a failure that names it", async () => {
  await using world = await startGateway();
  await expect(createGateway({ port: world.gateway.port })).rejects.toMatchObject({
    code: "port-in-use",
    message: expect.stringContaining(String(world.gateway.port)),
  });
});

test("a gateway that could not start leaves its store to the next one", async () => {
  using store = temporaryStore();
  await using world = await startGateway();
  await expect(createGateway({ port: world.gateway.port, store: store.path })).rejects.toMatchObject({
    code: "port-in-use",
  });
  await using next = await startGateway({ store: store.path });
  expect((await next.connect({ device: makeDevice(), auth: { token: sharedToken } })).response.error?.code).toBe(
    "NOT_PAIRED",
  );
});
