/** The real command line on our gateway: what an operator who has it installed sees and does, with a node host of ours to do it to. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { startNode, type TestNode } from "../support/node-host.ts";
import { at, listAt, makeDevice, textAt } from "../support/raw-client.ts";
import { startRelay } from "../support/relay.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";
import { ProductHome, type ProductResult } from "./product.ts";
import { interopVersions } from "./versions.ts";

const name = "kitchen";

describe.each(interopVersions)("%s", (version) => {
  const isOld = version === "2026.3.8";

  describe("its CLI -> our gateway", () => {
    let world: World;
    let home: ProductHome;
    let node: TestNode;

    beforeAll(async () => {
      world = await startGateway();
      home = new ProductHome(version);
      home.writeConfig({});
      node = startNode(world.url, { displayName: name, runtime: systemRuntime });
      await node.event("pairing-required");
    });

    afterAll(async () => {
      await node?.[Symbol.asyncDispose]();
      home?.[Symbol.dispose]();
      await world?.[Symbol.asyncDispose]();
    });

    /** Runs it with the gateway named on its command line. */
    const run = (words: string, ...more: string[]): Promise<ProductResult> =>
      home.cli([...words.split(" "), ...more, "--json", "--url", world.url, "--token", sharedToken]);

    /** What a command that must work prints. */
    const ask = async (words: string, ...more: string[]): Promise<unknown> => {
      const result = await run(words, ...more);
      expect(result).toMatchObject({ code: 0, json: expect.anything() });
      return result.json;
    };

    const nodeId = () => textAt(world.gateway.devices().find(isNode), "deviceId");

    test("devices list shows who waits; being local and holding the token, it needs no approval of its own", async ({
      annotate,
    }) => {
      const list = await ask("devices list");
      expect(listAt(list, "pending")).toMatchObject([{ displayName: name, role: "node", platform: "linux" }]);
      const own = isOld ? [{ clientId: "cli", approvedVia: "local", roles: ["operator"] }] : [];
      expect(world.gateway.devices()).toMatchObject(own);
      const known = isOld ? "brings a device key, which is enrolled" : "brings no device key to a loopback address";
      await annotate(`${version} ${known}`);
    });

    test("devices reject turns a device away", async () => {
      const { response } = await world.connect({ device: makeDevice(), auth: { token: sharedToken } });
      const requestId = textAt(response.error?.details, "requestId");
      expect(await ask("devices reject", requestId)).toMatchObject({ requestId, deviceId: expect.any(String) });
      expect(world.gateway.pending().devices.map((request) => request.requestId)).not.toContain(requestId);
    });

    test("devices approve lets a node in, which goes on by itself", async () => {
      const [request] = world.gateway.pending().devices;
      const requestId = textAt(request, "requestId");
      expect(await ask("devices approve", requestId)).toMatchObject({
        requestId,
        device: { displayName: name, roles: ["node"], approvedVia: "owner", tokens: [{ role: "node" }] },
      });
      await node.events.find((event) => event.event === "pairing-required" && event.layer === "surface");
    });

    test("nodes pending and nodes approve are the second approval", async () => {
      const [pending] = listAt({ list: await ask("nodes pending") }, "list");
      expect(pending).toMatchObject({ nodeId: nodeId(), displayName: name, commands: ["system.which"] });
      const requestId = textAt(pending, "requestId");
      expect(await ask("nodes approve", requestId)).toMatchObject({ requestId, node: { nodeId: nodeId() } });
      await node.event("ready");
    });

    test("nodes status, nodes list and nodes describe show the node", async () => {
      const shown = { nodeId: nodeId(), displayName: name, connected: true, paired: true, commands: ["system.which"] };
      expect(await ask("nodes status")).toMatchObject({ nodes: [shown] });
      expect(listAt(await ask("nodes list"), "paired")).toMatchObject([{ nodeId: nodeId(), displayName: name }]);
      expect(await ask("nodes describe", "--node", name)).toMatchObject(shown);
    });

    test("nodes invoke gets the node's answer", async () => {
      const params = ["--params", '{"bins":["sh"]}'];
      const answer = await ask("nodes invoke", "--node", name, "--command", "system.which", ...params);
      expect(answer).toMatchObject({
        ok: true,
        nodeId: nodeId(),
        command: "system.which",
        payload: { bins: ["sh"] },
        payloadJSON: '{"bins":["sh"]}',
      });
    });

    test("nodes invoke says why a command is not to be had", async () => {
      const refused = await run("nodes invoke", "--node", name, "--command", "camera.snap");
      expect(refused).toMatchObject({ code: 1 });
      expect(said(refused)).toContain("this gateway's policy has no camera.snap for platform linux");
    });

    test("nodes rename gives the node another name, and commands find it under that", async () => {
      expect(await ask("nodes rename", "--node", name, "--name", "pantry")).toMatchObject({ displayName: "pantry" });
      expect(await ask("nodes describe", "--node", "pantry")).toMatchObject({ nodeId: nodeId() });
    });

    test("devices rename labels a device", async ({ annotate }) => {
      if (isOld) return void (await annotate(`${version} has no devices rename`, "no"));
      const renamed = await ask("devices rename", "--device", nodeId(), "--name", "cellar");
      expect(renamed).toEqual({ deviceId: nodeId(), label: "cellar" });
      return undefined;
    });

    test("devices rotate replaces a token at once, keeps it to itself, and the node comes back", async () => {
      const from = node.events.items.length;
      const rotated = await ask("devices rotate", "--device", nodeId(), "--role", "node");
      expect(rotated).toMatchObject({ deviceId: nodeId(), role: "node", tokenDelivery: "withheld-cross-device" });
      expect(at(rotated, "token")).toBeUndefined();
      expect(await node.event("disconnected", from)).toMatchObject({ code: 4001 });
      await node.event("ready", from);
    });

    test("devices revoke ends the node's session", async () => {
      const revoked = await ask("devices revoke", "--device", nodeId(), "--role", "node");
      expect(revoked).toMatchObject({ deviceId: nodeId(), role: "node", revokedAtMs: expect.any(Number) });
      await node.ended;
      expect(await ask("nodes status")).toMatchObject({ nodes: [{ nodeId: nodeId(), connected: false }] });
    });

    test("devices remove forgets the device", async () => {
      const deviceId = nodeId();
      expect(await ask("devices remove", deviceId)).toMatchObject({ deviceId });
      expect(world.gateway.devices().filter(isNode)).toEqual([]);
    });

    test("what is wrong is said in our gateway's words", async () => {
      const unknown = await run("devices revoke", "--device", "00".repeat(32), "--role", "node");
      expect([unknown.code, said(unknown)]).toEqual([1, expect.stringContaining("unknown deviceId")]);
      const wrong = await home.cli(["devices", "list", "--json", "--url", world.url, "--token", "wrong"]);
      expect([wrong.code, said(wrong)]).toEqual([1, expect.stringContaining("gateway token mismatch")]);
    });

    test("it finds our gateway through its environment and through its own openclaw.json", async () => {
      const { port } = world.gateway;
      const list = ["devices", "list", "--json"];
      const token = { OPENCLAW_GATEWAY_TOKEN: sharedToken };
      const isIn = { code: 0, json: { pending: expect.any(Array), paired: expect.any(Array) } };
      expect(await home.cli(list, { OPENCLAW_GATEWAY_URL: world.url, ...token })).toMatchObject(isIn);
      expect(await home.cli(list, { OPENCLAW_GATEWAY_PORT: String(port), ...token })).toMatchObject(isIn);
      home.writeConfig({ gateway: { mode: "remote", remote: { url: world.url, token: sharedToken } } });
      expect(await home.cli(list)).toMatchObject(isIn);
      home.writeConfig({ gateway: { mode: "local", port, auth: { mode: "token", token: sharedToken } } });
      expect(await home.cli(list)).toMatchObject(isIn);
    });

    test("health, status and gateway probe find our gateway well", async () => {
      expect(await home.cli(["health"])).toMatchObject({ code: 0 });
      expect(await home.cli(["health", "--json"])).toMatchObject({ code: 0, json: { ok: true } });
      const status = await home.cli(["status", "--timeout", "30000"]);
      expect([status.code, status.stdout]).toEqual([0, expect.stringMatching(/local loopback\) · reachable/u)]);
      expect(await home.cli(["gateway", "probe", "--json", "--timeout", "30000"])).toMatchObject({
        code: 0,
        json: { ok: true },
      });
    });

    test("through a forwarded port the token alone is not enough", async ({ annotate }) => {
      await using relay = await startRelay(world.gateway.port);
      using stranger = new ProductHome(version);
      stranger.writeConfig({});
      const list = ["devices", "list", "--json", "--url", relay.url, "--token", sharedToken];
      const refused = await stranger.cli(list);
      const why = isOld
        ? "pairing required: device is not approved yet"
        : "missing scope: operator.pairing (without a device key only direct loopback";
      expect([refused.code, said(refused)]).toEqual([1, expect.stringContaining(why)]);
      for (const { requestId } of world.gateway.pending().devices) await world.gateway.approve(requestId);
      expect(await stranger.cli(list)).toMatchObject({ code: isOld ? 0 : 1 });
      const way = isOld
        ? "gets in there once approved"
        : "brings no device key to a loopback address, so nobody can approve it";
      await annotate(`${version} ${way}`);
    });
  });
});

function isNode(device: unknown): boolean {
  return listAt(device, "roles").includes("node") || at(device, "clientId") === "node-host";
}

function said({ stdout, stderr }: ProductResult): string {
  return stdout + stderr;
}
