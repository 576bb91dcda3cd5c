/** The set-up of the bug report: a gateway, an SSH server, our tunnel between them, and a node that knows only the tunnel's end. */
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { at, listAt, textAt } from "../support/raw-client.ts";
import { CliHome, type RunningCli } from "../support/run-cli.ts";
import { type Sshd, startSshd } from "../support/sshd.ts";
import { approveNode, asksTwice, askNode, startOurNode, withToken } from "./node-at-product.ts";
import { OurGateway, ourToken } from "./our-gateway.ts";
import { openTunnel } from "./our-tunnel.ts";
import { ProductGateway, ProductHome, productToken, type ProductResult, startProductNode } from "./product.ts";
import { interopVersions } from "./versions.ts";

/** Where the gateway of the bug report listens, unless somebody else does here. */
const reportedPort = 18789;

let sshd: Sshd;
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(() => sshd[Symbol.asyncDispose]());

describe.each(interopVersions)("%s", (version) => {
  const bins = { bins: { sh: expect.stringMatching(/\/sh$/u) } };

  describe("our node -> its gateway, through our tunnel", () => {
    let gateway: ProductGateway;
    beforeAll(async () => {
      gateway = await ProductGateway.start({
        version,
        ...((await isFree(reportedPort)) ? { port: reportedPort } : {}),
      });
    });
    afterAll(() => gateway[Symbol.asyncDispose]());

    test("the bug report's set-up: gateway A on 18789, -R to it, and node run of either program with its token", async ({
      annotate,
    }) => {
      if (gateway.port !== reportedPort) await annotate(`something else listens on ${reportedPort} of this machine`);
      using onA = new CliHome();
      using onB = new CliHome();
      await using tunnel = await openTunnel(sshd, onA, `-R 0:127.0.0.1:${gateway.port}`);
      await using ours = startOurNode(onB, tunnel.port);
      const { deviceId } = asksTwice(version) ? await approveNode(gateway, ours) : await ours.event("ready");
      expect(await which(deviceId)).toEqual(bins);

      using home = new ProductHome(version);
      home.writeConfig({});
      const start = () =>
        startProductNode(home, { port: tunnel.port, token: productToken, displayName: "EC2-Gateway" });
      if (asksTwice(version)) {
        await using first = start(); // its own gateway does not tell it to go on by itself
        const refused = await first.line(/pairing required: .*\(requestId: \S+\)/u);
        await gateway.call("device.pair.approve", { requestId: requestIdIn(refused) });
      }
      await using _node = start();
      const nodeId = await nodeNamed(gateway, "EC2-Gateway");
      expect(await which(nodeId)).toEqual(bins);
    });

    const which = (nodeId: unknown) => askNode(gateway, nodeId, "system.which", { bins: ["sh"] });

    test.each([
      ["a remote forward", "-R"],
      ["a local forward", "-L"],
    ])("with the token in the environment, through %s", async (_name, flag) => {
      using here = new CliHome();
      using there = new CliHome();
      await using tunnel = await openTunnel(sshd, here, `${flag} 0:127.0.0.1:${gateway.port}`);
      await using node = startOurNode(there, tunnel.port);
      const { deviceId } = asksTwice(version) ? await approveNode(gateway, node) : await node.event("ready");
      expect(await which(deviceId)).toEqual(bins);
    });

    test("whether the tunnel's end counts as local", async ({ annotate }) => {
      using here = new CliHome();
      using there = new CliHome();
      await using tunnel = await openTunnel(sshd, here, `-R 0:127.0.0.1:${gateway.port}`);
      await using node = startOurNode(there, tunnel.port);
      await annotate(
        asksTwice(version)
          ? `${version} asks for an approval because gateway.nodes.pairing.autoApproveLocal is false here`
          : `${version} takes a tunnel's end for local and pairs it silently; by a foreign Host header it asks`,
      );
      const first = await node.events.find(({ event }) => event !== "connecting");
      expect(first).toMatchObject(
        asksTwice(version) ? { event: "pairing-required", layer: "device" } : { event: "ready" },
      );
    });

    test("a tunnel that breaks is crossed again, with nothing to approve anew", async () => {
      using here = new CliHome();
      using there = new CliHome();
      await using tunnel = await openTunnel(sshd, here, `-R 0:127.0.0.1:${gateway.port}`);
      await using node = startOurNode(there, tunnel.port);
      const { deviceId } = asksTwice(version) ? await approveNode(gateway, node) : await node.event("ready");
      const from = node.events.items.length;
      await sshd.killSessions();
      await node.event("disconnected", from);
      await tunnel.event("reconnected");
      await node.event("ready", from);
      expect(await which(deviceId)).toEqual(bins);
      expect(node.events.items.slice(from).some(({ event }) => event === "pairing-required")).toBe(false);
    });

    test("our CLI lists and asks the node through the same tunnel", async () => {
      using here = new CliHome();
      using there = new CliHome();
      await using tunnel = await openTunnel(sshd, here, `-R 0:127.0.0.1:${gateway.port}`);
      await using node = startOurNode(there, tunnel.port);
      const { deviceId } = asksTwice(version) ? await approveNode(gateway, node) : await node.event("ready");
      const ask = (line: string) =>
        there.run(`${line} --json --host 127.0.0.1 --port ${tunnel.port}`, { env: withToken });
      const listed = await ask("nodes list");
      expect(listed).toMatchObject({ code: 0, json: { ok: true } });
      expect(listAt(listed.json, "nodes")).toContainEqual(
        expect.objectContaining({ nodeId: deviceId, displayName: "kitchen", connected: true }),
      );
      const asked = await ask(`nodes invoke ${String(deviceId)} system.which --params '{"bins":["sh"]}'`);
      expect(asked).toMatchObject({ code: 0, json: { ok: true, payload: bins } });
    });
  });

  describe("both gateways, nodes of each other, through one tunnel", () => {
    test("both nodes are asked at the same time, and are back after the tunnel was cut", async ({ annotate }) => {
      await using a = await ProductGateway.start({ version });
      await using b = await OurGateway.start();
      await using tunnel = await openTunnel(sshd, b.home, `-R 0:127.0.0.1:${a.port} -L 0:127.0.0.1:${b.port}`);
      const [portOfA = 0, portOfB = 0] = tunnel.ports;

      await using nodeOfB = startOurNode(b.home, portOfA);
      const { deviceId } = asksTwice(version) ? await approveNode(a, nodeOfB) : await nodeOfB.event("ready");

      const startNodeOfA = () => startProductNode(a.home, { port: portOfB, token: ourToken, displayName: "product" });
      let from = b.now;
      await using first = startNodeOfA();
      const refused = await first.line(/pairing required: .*\(requestId: \S+\)/u);
      await b.ask(`pair approve ${requestIdIn(refused)}`);
      const endsByItself = version === "2026.3.8";
      if (endsByItself) await first.ended;
      await using second = endsByItself ? startNodeOfA() : first;
      await b.nodeCameIn(from);
      await b.approveSurfaces();

      const askBoth = async () => {
        const [fromA, fromB] = await Promise.all([
          askNode(a, deviceId, "system.which", { bins: ["sh"] }),
          b.ask(`nodes invoke product system.which --params '{"bins":["sh"]}'`),
        ]);
        expect([fromA, at(fromB, "payload")]).toEqual([bins, bins]);
      };
      await askBoth();

      from = b.now;
      const seen = nodeOfB.events.items.length;
      await sshd.killSessions();
      await tunnel.event("reconnected");
      if (endsByItself) {
        await annotate(`${version}'s node ends with code 0 when it is refused or cut off, and is started again`);
        await second.ended;
      }
      await using third = endsByItself ? startNodeOfA() : second;
      await Promise.all([nodeOfB.event("ready", seen), b.nodeCameIn(from)]);
      await askBoth();
      expect(third.child.exitCode).toBeNull();
      expect(nodeOfB.events.items.slice(seen).some(({ event }) => event === "pairing-required")).toBe(false);
    });
  });

  describe("its CLI -> our gateway, through our tunnel", () => {
    const isOld = version === "2026.3.8";

    test("the tunnel's end is not local: without a device key it may nothing, with one it is approved", async ({
      annotate,
    }) => {
      await using gateway = await OurGateway.start();
      using here = new CliHome();
      using there = new CliHome();
      using home = new ProductHome(version);
      home.writeConfig({});
      await using tunnel = await openTunnel(sshd, here, `-R 0:127.0.0.1:${gateway.port}`);
      const run = (words: string) =>
        home.cli([...words.split(" "), "--json", "--url", `ws://127.0.0.1:${tunnel.port}`, "--token", ourToken]);
      const refused = await run("devices list");
      const why = isOld
        ? "pairing required: device is not approved yet"
        : "missing scope: operator.pairing (without a device key only direct loopback";
      expect([refused.code, said(refused)]).toEqual([1, expect.stringContaining(why)]);
      const pending = listAt(await gateway.ask("devices list"), "pending");
      expect(pending).toHaveLength(isOld ? 1 : 0);
      if (!isOld) {
        await annotate(`${version} brings no device key to a loopback address, so nobody can approve it there`, "no");
        return;
      }
      await gateway.ask(`devices approve ${textAt(pending[0], "requestId")}`);
      await using node = startOurNode(there, gateway.port, { env: { OPENCLAW_GATEWAY_TOKEN: ourToken } });
      await approveRotateRevoke(run, gateway, node);
    });
  });

  describe("its node -> our gateway, through our tunnel", () => {
    test("with the token in the environment, through a remote forward", async ({ annotate }) => {
      await using gateway = await OurGateway.start();
      using here = new CliHome();
      using home = new ProductHome(version);
      home.writeConfig({});
      await using tunnel = await openTunnel(sshd, here, `-R 0:127.0.0.1:${gateway.port}`);
      const target = { port: tunnel.port, token: ourToken, displayName: "pantry" };
      let from = gateway.now;
      await using first = startProductNode(home, target);
      const refused = await first.line(/pairing required: .*\(requestId: \S+\)/u);
      await gateway.ask(`pair approve ${requestIdIn(refused)}`);
      const endsByItself = version === "2026.3.8";
      if (endsByItself) {
        await annotate(`${version}'s node ends with code 0 when it is refused or cut off, and is started again`);
        await first.ended;
      }
      await using second = endsByItself ? startProductNode(home, target) : first;
      await gateway.nodeCameIn(from);
      await gateway.approveSurfaces();
      const asked = await gateway.ask(`nodes invoke pantry system.which --params '{"bins":["sh"]}'`);
      expect(at(asked, "payload")).toEqual(bins);

      from = gateway.now;
      await sshd.killSessions();
      await tunnel.event("reconnected");
      if (endsByItself) await second.ended;
      await using third = endsByItself ? startProductNode(home, target) : second;
      await gateway.nodeCameIn(from);
      expect(third.child.exitCode).toBeNull();
      const again = await gateway.ask(`nodes invoke pantry system.which --params '{"bins":["sh"]}'`);
      expect(at(again, "payload")).toEqual(bins);
      expect(textAt(again, "nodeId")).toBe(textAt(asked, "nodeId"));
    });
  });
});

/** With its CLI, for a node that waits: list, approve, rotate, revoke. */
async function approveRotateRevoke(
  run: (words: string) => Promise<ProductResult>,
  gateway: OurGateway,
  node: RunningCli,
): Promise<void> {
  const ask = async (words: string): Promise<unknown> => {
    const result = await run(words);
    expect(result).toMatchObject({ code: 0, json: expect.anything() });
    return result.json;
  };
  const { requestId, deviceId } = await node.event("pairing-required", 0, { layer: "device" });
  expect(await ask("devices list")).toMatchObject({ pending: [{ requestId, deviceId }] });
  expect(await ask(`devices approve ${String(requestId)}`)).toMatchObject({ requestId });
  await node.event("pairing-required", 0, { layer: "surface" });
  await gateway.approveSurfaces();
  await node.event("ready");
  const from = node.events.items.length;
  expect(await ask(`devices rotate --device ${String(deviceId)} --role node`)).toMatchObject({ deviceId });
  await node.event("disconnected", from, { code: 4001 });
  await node.event("ready", from);
  expect(await ask(`devices revoke --device ${String(deviceId)} --role node`)).toMatchObject({ deviceId });
  expect((await node.ended).code).toBe(4);
}

/** Waits until the node of this name is connected and may be asked; approves its command list where that waits. */
async function nodeNamed(gateway: ProductGateway, name: string): Promise<unknown> {
  for (;;) {
    for (const request of listAt(await gateway.call("node.pair.list"), "pending"))
      await gateway.call("node.pair.approve", { requestId: textAt(request, "requestId") });
    const nodes = listAt(await gateway.call("node.list"), "nodes");
    const node = nodes.find((one) => at(one, "displayName") === name && at(one, "connected") === true);
    if (node !== undefined && listAt(node, "commands").includes("system.which")) return at(node, "nodeId");
    await delay(100); // the gateway tells nobody that is not a client of it
  }
}

function requestIdIn(line: string): string {
  return /requestId: ([\w-]+)/u.exec(line)?.[1] ?? "";
}

function said({ stdout, stderr }: ProductResult): string {
  return stdout + stderr;
}

/** Whether nobody listens on a loopback port. */
async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  const isOurs = await once(server, "listening").then(
    () => true,
    () => false,
  );
  await new Promise((resolve) => server.close(resolve));
  return isOurs;
}
