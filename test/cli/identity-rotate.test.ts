import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { at, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { startScript } from "../support/run-script.ts";
import { NodeHome, startGatewayHome, succeed } from "./world.ts";

const rotationFile = ".openclaw/toolkit/identity/rotation.json";
const identityFile = ".openclaw/toolkit/identity/device.json";

test("a node keeps its approvals under a new key, and comes back by itself", async () => {
  await using world = await startGatewayHome();
  const node = await world.node("kitchen");
  const before = textAt((await node.run("identity show --json")).json, "deviceId");
  const seen = node.running.events.items.length;
  const rotated = await node.run("identity rotate --json");
  const after = textAt((await node.run("identity show --json")).json, "deviceId");
  expect(rotated).toMatchObject({
    code: 0,
    json: {
      ok: true,
      deviceId: after,
      previousDeviceId: before,
      complete: true,
      gateways: [{ url: world.url, state: "moved" }],
    },
  });
  expect(after).not.toBe(before);
  expect(await node.running.event("ready", seen)).toMatchObject({ deviceId: after });
  expect(await world.ask('nodes invoke kitchen system.which --params \'{"bins":["sh"]}\' --json')).toMatchObject({
    code: 0,
  });
  const { json } = await world.ask("devices list --json");
  expect(json).toMatchObject({ pending: [], paired: [{ deviceId: after, displayName: "kitchen", roles: ["node"] }] });
  expect(
    readdirSync(dirname(node.path(identityFile)))
      .filter((name) => name.endsWith(".json"))
      .toSorted(),
  ).toEqual(["device-tokens.json", "device.json", "former-ids.json"]);
  expect(readFileSync(node.path(".openclaw/toolkit/identity/device-tokens.json"), "utf8")).not.toContain(before);
});

test("a machine that no gateway knows has a new key at once", async () => {
  using home = new CliHome();
  const before = textAt((await home.run("identity create --json")).json, "deviceId");
  const { code, json } = await home.run("identity rotate --json");
  expect({ code, json }).toMatchObject({ code: 0, json: { previousDeviceId: before, gateways: [], complete: true } });
  expect(await home.run("identity show --json")).toMatchObject({ json: { deviceId: at(json, "deviceId") } });
});

test("without an identity there is nothing to rotate", async () => {
  using home = new CliHome();
  expect(await home.run("identity rotate --json")).toMatchObject({ code: 9, json: { error: { code: "not-found" } } });
  expect(existsSync(home.path(identityFile))).toBe(false);
});

test("without a rotation under way there is nothing to finish", async () => {
  using home = new CliHome();
  const { json } = await home.run("identity create --json");
  expect(await home.run("identity rotate --finish --json")).toMatchObject({
    code: 9,
    json: { error: { code: "conflict" } },
  });
  expect(await home.run("identity show --json")).toMatchObject({ json: { deviceId: at(json, "deviceId") } });
});

test("a gateway that cannot be reached stops it before anything is written, and --yes leaves it the old key until it is back", async () => {
  await using world = await startGatewayHome();
  const node = await world.node("kitchen");
  const before = textAt((await node.run("identity show --json")).json, "deviceId");
  await node.running.stop();
  const { port } = world;
  await world.gateway.stop();
  const refused = await node.run("identity rotate --json");
  expect(refused).toMatchObject({
    code: 9,
    json: { error: { code: "conflict", details: { gateways: [{ url: world.url, state: "pending" }] } } },
  });
  expect(textAt((await node.run("identity show --json")).json, "deviceId")).toBe(before);
  expect(existsSync(node.path(rotationFile))).toBe(false);

  const going = await node.run("identity rotate --yes --json");
  const after = textAt(going.json, "deviceId");
  expect(going).toMatchObject({ code: 0, json: { complete: false, gateways: [{ url: world.url, state: "pending" }] } });
  const listed = await node.run("identity list --json");
  expect(at(listed.json, "identities")).toMatchObject([
    { source: "toolkit", deviceId: after, inUse: true },
    { source: "toolkit, before the rotation", deviceId: before, inUse: true },
  ]);

  await using again = world.start(`gateway run --port ${port} --json`);
  await again.event("ready");
  const finished = await node.run("identity rotate --json");
  expect(finished).toMatchObject({
    code: 0,
    json: { deviceId: after, previousDeviceId: before, complete: true, gateways: [{ url: world.url, state: "moved" }] },
  });
  expect(at((await node.run("identity list --json")).json, "identities")).toMatchObject([{ deviceId: after }]);
  await succeed(world.ask("devices list --json"));
});

test("a gateway that is gone for good is given up with --finish", async () => {
  await using world = await startGatewayHome();
  const node = await world.node("kitchen");
  await node.running.stop();
  await world.gateway.stop();
  const { json } = await node.run("identity rotate --yes --json");
  expect(await node.run("identity rotate --json")).toMatchObject({ code: 0, json: { complete: false } });
  const finished = await node.run("identity rotate --finish --json");
  expect(finished).toMatchObject({ code: 0, json: { deviceId: at(json, "deviceId"), complete: true } });
  expect(at((await node.run("identity list --json")).json, "identities")).toMatchObject([
    { deviceId: at(json, "deviceId") },
  ]);
  expect((await node.run("node status --json")).json).toMatchObject({ gateways: [] });
});

test("a gateway that knows no rotation of keys goes on with the old one until the new one is approved there", async () => {
  await using world = await startGatewayHome();
  await using product = await startOlderGateway(world.port);
  await using node = new NodeHome({ port: product.port, token: world.token }, "--display-name kitchen");
  const { requestId } = await node.running.event("pairing-required");
  await succeed(world.ask(`pair approve ${String(requestId)} --surface`));
  await node.running.event("ready");
  const before = textAt((await node.run("identity show --json")).json, "deviceId");
  expect(await node.run("identity rotate --json")).toMatchObject({
    code: 9,
    json: { error: { code: "conflict", fix: "openclaw identity rotate --yes" } },
  });

  const rotated = await node.run("identity rotate --yes --json");
  const deviceId = textAt(rotated.json, "deviceId");
  const commands = [
    `openclaw pair request --role node --url ${product.url}`,
    `openclaw devices approve ${deviceId}`,
    `openclaw devices remove ${before}`,
    "openclaw identity rotate",
  ];
  expect(rotated).toMatchObject({
    code: 0,
    json: {
      previousDeviceId: before,
      complete: false,
      gateways: [{ url: product.url, state: "unsupported", commands }],
    },
  });
  expect((await world.ask("devices list --json")).json).toMatchObject({ paired: [{ deviceId: before }] });

  // The node goes on as it was, and as often as it comes back.
  const seen = node.running.events.items.length;
  product.cut();
  expect(await node.running.event("ready", seen)).toMatchObject({ deviceId: before });

  const token = `--token-file ${node.path("token")}`;
  await succeed(node.run(`pair request --role node --url ${product.url} ${token} --json`));
  await succeed(world.ask(`devices approve ${deviceId}`));
  await succeed(node.run(`pair request --role node --url ${product.url} ${token} --json`));
  await succeed(world.ask(`devices remove ${before}`));
  expect(await node.run("identity rotate --json")).toMatchObject({
    code: 0,
    json: { deviceId, complete: true, gateways: [{ url: product.url, state: "approved" }] },
  });
});

/** The way to a gateway, on which its word that it can rotate keys is lost. */
async function startOlderGateway(targetPort: number) {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ host: "127.0.0.1", port: targetPort });
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      sockets.add(from);
      from.on("error", () => to.destroy()).on("close", () => to.destroy());
    }
    near.pipe(far);
    far.on("data", (chunk) => {
      near.write(Buffer.from(chunk.toString("latin1").replace("device-key-rotate", "device-key-retain"), "latin1"));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    port,
    url: `ws://127.0.0.1:${port}`,
    cut,
    async [Symbol.asyncDispose]() {
      server.close();
      cut();
    },
  };
}

test.each(["begun", "sent", "answered", "moved", "switched", "forgotten"])(
  "killed when it is %s, the node is served all the while, and the next run ends it",
  async (step) => {
    await using world = await startGatewayHome();
    const node = await world.node("kitchen");
    const before = textAt((await node.run("identity show --json")).json, "deviceId");
    const seen = node.running.events.items.length;
    expect(await rotateAndDie(node.directory, step)).toBe("SIGKILL");
    const rotated = await node.run("identity rotate --json");
    expect(rotated).toMatchObject({
      code: 0,
      json: { previousDeviceId: before, complete: true, gateways: [{ url: world.url, state: "moved" }] },
    });
    const deviceId = textAt(rotated.json, "deviceId");
    await node.running.event("ready", seen, { deviceId });
    expect((await world.ask("devices list --json")).json).toMatchObject({ pending: [], paired: [{ deviceId }] });
    expect(at((await node.run("identity list --json")).json, "identities")).toMatchObject([{ deviceId }]);
    expect(node.running.events.items.slice(seen).map(({ event }) => event)).not.toContain("pairing-required");
  },
);

async function rotateAndDie(home: string, step: string): Promise<NodeJS.Signals | null> {
  const child = startScript("stopped-rotation.ts", home, step);
  child.stdout.resume();
  const [, signal] = await once(child, "exit");
  return signal;
}
